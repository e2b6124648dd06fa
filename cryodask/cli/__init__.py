"""The command line: the only layer that knows click. Each command is one small module, imported when it is called."""

from cryodask.cli._main import main

__all__ = ["main"]
