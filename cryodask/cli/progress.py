"""Progress for people: bars with the time left on a terminal, a few plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from cryodask.model.progress import Progress, Stage

if TYPE_CHECKING:
    import rich.progress

LEAST_STEP = 0.1
"""A plain line is due when this fraction of the work is newly done ..."""
LEAST_SECONDS = 5.0
"""... or after this long ..."""
SHARE_OF_ELAPSED = 0.05
"""... or this fraction of the time so far, whichever is longer, so that a day's log stays short."""


def make_progress(stream: TextIO | None = None) -> Progress:
    """Bars if ``stream`` (default: standard error) is a terminal, plain lines otherwise."""
    stream = sys.stderr if stream is None else stream
    return BarProgress(stream) if stream.isatty() else PlainProgress(stream)


class PlainProgress:
    """Lines such as "simulate: 3/20 (15 %), 12 s, about 68 s left"."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        stage = _PlainStage(name, total, self._write, self._clock)
        try:
            yield stage
        except BaseException:
            stage.end("stopped")
            raise
        stage.end("done")

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class _PlainStage:
    def __init__(self, name: str, total: int | None, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._name, self._total, self._write, self._clock = name, total, write, clock
        self._done = 0
        self._start = clock()
        self._written_at, self._written_done = self._start, 0

    def advance(self, n: int = 1) -> None:
        self._done += n
        now = self._clock()
        elapsed = now - self._start
        finished = self._total is not None and self._done >= self._total  # the line at the end says so
        enough_done = bool(self._total) and self._done - self._written_done >= LEAST_STEP * (self._total or 0)
        long_ago = now - self._written_at >= max(LEAST_SECONDS, SHARE_OF_ELAPSED * elapsed)
        if (enough_done or long_ago) and not finished:
            self._written_at, self._written_done = now, self._done
            self._write(f"{self._name}: {self._count()}, {_duration(elapsed)}{self._left(elapsed)}")

    def end(self, how: str) -> None:
        self._write(f"{self._name}: {how}, {self._count()}, {_duration(self._clock() - self._start)}")

    def _count(self) -> str:
        if not self._total:
            return str(self._done)
        return f"{self._done}/{self._total} ({100 * self._done // self._total} %)"

    def _left(self, elapsed: float) -> str:
        if not self._total or not self._done:
            return ""
        return f", about {_duration(elapsed * (self._total - self._done) / self._done)} left"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class BarProgress:
    """One bar a stage, drawn by rich."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bars: rich.progress.Progress | None = None

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        outermost = self._bars is None
        bars = self._start() if self._bars is None else self._bars
        try:
            yield _BarStage(bars, bars.add_task(name, total=total))
        finally:
            if outermost:
                bars.stop()
                self._bars = None

    def _start(self) -> rich.progress.Progress:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=Console(file=self._stream))
        self._bars.start()
        return self._bars


class _BarStage:
    def __init__(self, bars: rich.progress.Progress, task: rich.progress.TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, n: int = 1) -> None:
        self._bars.advance(self._task, n)
