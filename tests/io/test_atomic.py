"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from cryodask.errors import DataError, NotInStoreError
from cryodask.io.atomic import replacing


def fail_while_writing(path: Path, error: BaseException) -> None:
    with replacing(path) as partial:
        partial.write_text("half")
        raise error


def test_a_file_appears_at_the_end_in_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.parent == tmp_path
        assert partial.suffix == ".txt"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), NotInStoreError("x")])
def test_a_failure_leaves_the_old_file_and_passes_on(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)):
        fail_while_writing(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "No space left on device; free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "Permission denied; choose another place"),
    ],
)
def test_refusals_of_the_system_name_file_reason_and_remedy(code: int, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(DataError, match=rf"cannot write {path}: .*{words}"):
        fail_while_writing(path, OSError(code, os.strerror(code)))
    assert not list(tmp_path.iterdir())


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, words in (
        (tmp_path, "a folder has this name"),
        (tmp_path / "none" / "a.txt", "there is no folder .*none; make it first"),
        (tmp_path / "file" / "a.txt", "a file is in the way"),
    ):
        with pytest.raises(DataError, match=words), replacing(path) as partial:
            partial.write_text("x")


def test_links_are_kept_and_pipes_are_written(tmp_path: Path) -> None:
    link, real, pipe = tmp_path / "link", tmp_path / "real", tmp_path / "pipe"
    real.write_text("old")
    link.symlink_to(real)
    with replacing(link) as partial:
        partial.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with replacing(pipe) as partial:
        partial.write_text("through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_long_names_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250)
    with replacing(path) as partial:
        partial.write_text("x")
    assert path.read_text() == "x"
