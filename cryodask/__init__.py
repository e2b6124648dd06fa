"""Cryo-electron tomography from atoms to a scored list of particles: simulate, reconstruct, match and evaluate on Dask.

``import cryodask as cd`` is cheap: the functions below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from cryodask._version import __version__

_LAZY = {
    "simulate": "cryodask.api",
    "reconstruct": "cryodask.api",
    "match": "cryodask.api",
    "evaluate": "cryodask.api",
    "open": "cryodask.api",
}

__all__ = ["__version__", "evaluate", "match", "open", "reconstruct", "simulate"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (whatever the name stands for)
    if name not in _LAZY:
        raise AttributeError(f"module 'cryodask' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
