"""Progress: few plain lines in a log, bars on a terminal, nothing for the API."""

from __future__ import annotations

import io
import os
import pty
from typing import TextIO

import pytest

from cryodask.cli.progress import BarProgress, PlainProgress, make_progress
from cryodask.model.progress import NullProgress, Progress


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plain_lines(total: int | None, steps: int, seconds_a_step: float) -> list[str]:
    stream, clock = io.StringIO(), Clock()
    with PlainProgress(stream, clock).stage("simulate", total) as stage:
        for _ in range(steps):
            clock.now += seconds_a_step
            stage.advance()
    return stream.getvalue().splitlines()


def test_a_fast_stage_writes_a_line_each_tenth() -> None:
    lines = plain_lines(total=1000, steps=1000, seconds_a_step=0.001)
    assert len(lines) == 10
    assert lines[0] == "simulate: 100/1000 (10 %), 0 s, about 1 s left"
    assert lines[-1] == "simulate: done, 1000/1000 (100 %), 1 s"


def test_a_slow_stage_writes_now_and_then_and_knows_the_time_left() -> None:
    lines = plain_lines(total=20, steps=20, seconds_a_step=60)
    assert lines[2] == "simulate: 3/20 (15 %), 3 min 0 s, about 17 min 0 s left"
    assert lines[-1] == "simulate: done, 20/20 (100 %), 20 min 0 s"
    assert len(lines) == 20


def test_a_day_of_small_steps_writes_a_short_log() -> None:
    lines = plain_lines(total=86_400, steps=86_400, seconds_a_step=1)
    assert len(lines) < 200
    assert lines[0] == "simulate: 5/86400 (0 %), 5 s, about 23 h 59 min left"


def test_an_unknown_total_and_an_empty_stage() -> None:
    assert plain_lines(total=None, steps=7, seconds_a_step=1) == ["simulate: 5, 5 s", "simulate: done, 7, 7 s"]
    assert plain_lines(total=0, steps=0, seconds_a_step=1) == ["simulate: done, 0, 0 s"]


def test_a_failed_stage_is_not_done() -> None:
    stream = io.StringIO()

    def fail() -> None:
        with PlainProgress(stream, Clock()).stage("match", 4) as stage:
            stage.advance(2)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert stream.getvalue().splitlines()[-1] == "match: stopped, 2/4 (50 %), 0 s"


def test_bars_show_nested_stages_and_close() -> None:
    stream = io.StringIO()
    progress = BarProgress(stream)
    for _ in range(2):  # rich allows one live display at a time: the first must be closed
        with progress.stage("outer", 2) as outer:
            with progress.stage("inner") as inner:
                inner.advance()
            outer.advance(2)
    assert "outer" in stream.getvalue()
    assert "2/2" in stream.getvalue()


def test_a_terminal_gets_bars_and_a_file_gets_lines() -> None:
    leader, follower = pty.openpty()
    try:
        with os.fdopen(follower, "w") as terminal:
            assert isinstance(make_progress(terminal), BarProgress)
    finally:
        os.close(leader)
    assert isinstance(make_progress(io.StringIO()), PlainProgress)
    assert make_progress() is not None


def test_null_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress: Progress = NullProgress()
    with progress.stage("x", 3) as stage:
        stage.advance()
        stage.advance(2)
    assert capsys.readouterr() == ("", "")
    stream: TextIO = io.StringIO()
    kinds: list[Progress] = [progress, PlainProgress(stream), BarProgress(stream)]
    assert len(kinds) == 3
