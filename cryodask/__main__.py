"""``python -m cryodask`` is the ``cryodask`` command."""

from __future__ import annotations

import sys

from cryodask.cli import main

if __name__ == "__main__":  # worker processes import this module too
    sys.exit(main())
