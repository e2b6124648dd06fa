"""A watched folder: what is whole is taken once, what is still being written is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cryodask.errors import DataError
from cryodask.io.mrc import write_volume
from cryodask.workflows.batch_manifest import Entry
from cryodask.workflows.batch_watch import WatchedFolder
from tests.workflows.conftest import Reference


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 2.0
        return self.now


def watch(folder: Path, told: list[str], known: tuple[Entry, ...] = (), settle: float = 10) -> WatchedFolder:
    return WatchedFolder(
        folder,
        known=known,
        stages=None,
        settle_seconds=settle,
        idle_exit_seconds=5,
        notice=told.append,
        clock=Clock(),
    )


def volume(path: Path) -> Path:
    write_volume(path, np.ones((4, 5, 6), np.float32), 10.0)
    return path


def taken(watched: WatchedFolder, looks: int = 10) -> list[str]:
    return [entry.name for _ in range(looks) for entry in watched.look()]


def test_a_whole_file_is_taken_once_after_it_has_settled(tmp_path: Path) -> None:
    told: list[str] = []
    watched = watch(tmp_path, told)
    assert taken(watched) == []
    volume(tmp_path / "one.mrc")
    assert taken(watched, 5) == []  # seen 2, 4 ... 8 s long unchanged
    (entry,) = watched.look()
    assert entry == Entry(name="one", stages=("match",), tomogram=str(tmp_path / "one.mrc"))
    assert taken(watched) == []
    assert told == []


def test_a_file_that_grows_is_not_taken_even_between_two_bursts(tmp_path: Path) -> None:
    told: list[str] = []
    watched = watch(tmp_path, told)
    whole = volume(tmp_path / ".hidden.mrc").read_bytes()
    growing = tmp_path / "two.mrc"
    growing.write_bytes(whole[:1100])
    assert taken(watched, 20) == []  # settled, but not as long as its header says
    (message,) = told
    assert "not taken yet" in message
    assert "1100 of the 1504 bytes" in message
    growing.write_bytes(whole)
    assert taken(watched, 20) == ["two"]


@pytest.mark.parametrize("name", [".two.mrc", "two.mrc.part", "two.mrc.tmp", "notes.txt"])
def test_names_of_unfinished_and_other_files(tmp_path: Path, name: str) -> None:
    volume(tmp_path / "x.mrc").rename(tmp_path / name)
    assert taken(watch(tmp_path, [], settle=0)) == []


def test_data_sets_are_taken_with_their_tilt_series_when_complete(reference: Reference, tmp_path: Path) -> None:
    told: list[str] = []
    watched = watch(tmp_path, told)
    copy = tmp_path / "session.zarr"
    shutil.copytree(reference.store.path, copy)
    record = copy / "model_000" / "search" / "zarr.json"
    text = record.read_text()
    record.write_text(text.replace('"complete": true', '"complete": false'))
    assert taken(watched, 20) == []
    assert any("model_000/search is not complete" in line for line in told)
    record.write_text(text)
    (entry,) = (entry for _ in range(20) for entry in watched.look())
    assert (entry.name, entry.stages, entry.tilt_series) == ("model_000", ("reconstruct", "match"), str(copy))


def test_a_stack_waits_for_its_angles_and_brings_its_alignment(tmp_path: Path) -> None:
    told: list[str] = []
    watched = watch(tmp_path, told)
    stack = tmp_path / "position_1.st"
    volume(tmp_path / "x.mrc").rename(stack)
    (tmp_path / "position_1.xf").write_text("1 0 0 1 0 0\n")
    assert taken(watched, 20) == []
    assert any("its tilt angles are not there yet" in line for line in told)
    (tmp_path / "position_1.st.mdoc").write_text("[ZValue = 0]\n")
    (entry,) = (entry for _ in range(20) for entry in watched.look())
    assert (entry.name, entry.stages, entry.tilt_series) == ("position_1", ("reconstruct", "match"), str(stack))
    assert entry.alignment == {
        "xf": str(tmp_path / "position_1.xf"),
        "mdoc": str(tmp_path / "position_1.st.mdoc"),
    }


def test_known_ones_are_not_taken_again_and_names_do_not_collide(tmp_path: Path) -> None:
    volume(tmp_path / "one.mrc")
    volume(tmp_path / "two.mrc")
    known = (
        Entry(name="one", stages=("match",), tomogram=str(tmp_path / "one.mrc")),
        Entry(name="two", stages=("match",), tomogram="/elsewhere/two.mrc"),
    )
    assert taken(watch(tmp_path, [], known)) == ["two_two"]


def test_idle_time_ends_the_watch(tmp_path: Path) -> None:
    watched = watch(tmp_path, [])
    assert watched.waiting(4.9)
    assert not watched.waiting(5)
    with pytest.raises(DataError, match="no such folder"):
        watch(tmp_path / "nowhere", [])
