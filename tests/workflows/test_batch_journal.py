"""The journal of a batch: it holds what was written, whatever ended the writing, and has one writer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cryodask.errors import ConfigError, DataError
from cryodask.workflows.batch_journal import JOURNAL, Failure, open_journal, read_state
from cryodask.workflows.batch_manifest import Entry
from cryodask.workflows.batch_stages import Outcome
from cryodask.workflows.batch_status import summarise

ENTRY = Entry(name="a", stages=("reconstruct", "match"), tilt_series="/data.zarr", model="model_000")
TOKENS = {"reconstruct": "r1", "match": "m1"}


def outcome(stage: str, reason: str | None = None, token: str | None = None) -> Outcome:
    return Outcome(name="a", stage=stage, token=token or TOKENS[stage], reason=reason, seconds=1.5, numbers={"n": 3})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.write("entry", name="a", entry=ENTRY.to_dict())
        journal.outcome(outcome("reconstruct"))
        journal.outcome(outcome("match", reason="no such file"))
    state = read_state(tmp_path)
    assert state.entries == {"a": ENTRY}
    assert state.done["a", "reconstruct"]["numbers"] == {"n": 3}
    assert state.failed == {"a": Failure(stage="match", reason="no such file")}
    assert state.pending(ENTRY, TOKENS) == ["match"]
    assert not state.is_done(ENTRY)
    with open_journal(tmp_path) as journal:
        journal.write("retry", name="a", fresh=False)
        assert journal.state.failed == {}
        assert journal.state.pending(ENTRY, TOKENS) == ["match"]
        journal.write("retry", name="a", fresh=True)
        assert journal.state.pending(ENTRY, TOKENS) == ["reconstruct", "match"]


def test_other_inputs_make_all_later_stages_pending(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.outcome(outcome("reconstruct"))
        journal.outcome(outcome("match"))
        assert journal.state.pending(ENTRY, TOKENS) == []
        assert journal.state.pending(ENTRY, {**TOKENS, "match": "m2"}) == ["match"]
        assert journal.state.pending(ENTRY, {**TOKENS, "reconstruct": "r2"}) == ["reconstruct", "match"]


def test_a_stage_that_fails_from_other_inputs_is_not_done_any_more(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.write("entry", name="a", entry=ENTRY.to_dict())
        journal.outcome(outcome("reconstruct"))
        journal.outcome(outcome("match"))
        assert journal.state.is_done(ENTRY)
        journal.outcome(outcome("reconstruct", reason="other parameters", token="r2"))
    state = read_state(tmp_path)
    assert state.done == {}
    stages = summarise(state)["stages"]
    assert [(s["done"], s["failed"], s["pending"]) for s in stages.values()] == [(0, 1, 0), (0, 0, 1)]


def test_a_line_cut_short_costs_only_itself(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.outcome(outcome("reconstruct"))
        journal.outcome(outcome("match"))
    path = tmp_path / JOURNAL
    path.write_bytes(path.read_bytes()[:-20])
    assert read_state(tmp_path).pending(ENTRY, TOKENS) == ["match"]
    with open_journal(tmp_path) as journal:
        journal.outcome(outcome("match"))
    assert read_state(tmp_path).pending(ENTRY, TOKENS) == []


def test_strange_lines(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text('{"event":"from the future","x":1}\n\n{"event":"done"}\n')
    with pytest.raises(DataError, match="line 3: not an event"):
        read_state(tmp_path)
    with pytest.raises(DataError, match="holds no batch"):
        read_state(tmp_path / "nothing")


HOLD = """
import os, sys
from pathlib import Path
from cryodask.workflows.batch_journal import open_journal
with open_journal(Path(sys.argv[1])) as journal:
    journal.write("retry", name="x")
    print("holding", flush=True)
    sys.stdin.read()
"""


def test_two_runs_on_one_folder_exclude_each_other_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "holding\n"
        with pytest.raises(ConfigError, match=f"in use by process {other.pid} on "), open_journal(tmp_path):
            pass
        assert read_state(tmp_path).failed == {}  # reading needs no lock
        os.kill(other.pid, signal.SIGKILL)
        other.wait(10)
    with open_journal(tmp_path) as journal:
        journal.write("retry", name="y")
    assert [json.loads(line)["name"] for line in (tmp_path / JOURNAL).read_text().splitlines()] == ["x", "y"]


def test_a_full_disk_is_named() -> None:
    from io import FileIO

    from cryodask.workflows.batch_journal import BatchState, Journal

    with FileIO("/dev/full", "a") as full, pytest.raises(DataError, match=r"/dev/full.*No space left.*resume"):
        Journal(full, BatchState()).write("retry", name="a")
