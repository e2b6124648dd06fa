"""How a workflow says how far it is, without knowing who listens: a terminal, a log file or nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Stage(Protocol):
    """One counted piece of work that is under way."""

    def advance(self, n: int = 1) -> None:
        """``n`` more units are done. Call it from the thread that entered the stage."""
        ...


class Progress(Protocol):
    """Where stages are shown."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Stage]:
        """Show ``name`` for the length of a ``with`` block; ``total`` units of work, None if that is not known.

        Stages may be nested. Leaving the block by an exception is shown as stopped, not as done.
        """
        ...


class NullProgress:
    """Shows nothing: for the Python API and for tests."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        del name, total
        yield _NullStage()


class _NullStage:
    def advance(self, n: int = 1) -> None:
        del n
