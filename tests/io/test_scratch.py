"""Scratch arrays: blocks come back as they were written, full disks and killed processes leave nothing behind."""

from __future__ import annotations

import contextlib
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryodask.errors import DataError
from cryodask.io.scratch import RawArray, raw_array, scratch_folder


def test_blocks_come_back(tmp_path: Path) -> None:
    array = raw_array(tmp_path / "a.raw", (3, 10, 7))
    assert not array.read((slice(None),) * 3).any()
    values = np.random.default_rng(0).normal(size=(3, 10, 7)).astype(np.float32)
    array.write((0, 4, 0), values[:, 4:])
    array.write((1, 0, 0), values[1:2, :4])
    expected = values.copy()
    expected[[0, 2], :4] = 0
    travelled = pickle.loads(pickle.dumps(array))
    np.testing.assert_array_equal(travelled.read((slice(None),) * 3), expected)
    np.testing.assert_array_equal(travelled.read((slice(1, 3), slice(3, 6), slice(2, 5))), expected[1:3, 3:6, 2:5])
    assert travelled.read((slice(2, 2), slice(None), slice(None))).shape == (0, 10, 7)


def test_an_offset_and_the_other_byte_order(tmp_path: Path) -> None:
    values = np.arange(24, dtype=">i2").reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(b"header" + values.tobytes())
    array = RawArray(str(tmp_path / "a"), (2, 3, 4), np.dtype(">i2"), 6)
    np.testing.assert_array_equal(array.read((slice(1, 2), slice(None), slice(None))), values[1:])


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    array = raw_array(tmp_path / "a.raw", (2, 3, 4))
    for start, block in (
        ((0, 0, 1), np.zeros((1, 1, 3), np.float32)),
        ((0, 0, 0), np.zeros((1, 1, 4), np.float64)),
    ):
        with pytest.raises(DataError, match="does not fit"):
            array.write(start, block)
    (tmp_path / "a.raw").write_bytes(b"short")
    with pytest.raises(DataError, match="shorter than it should be"):
        array.read((slice(None),) * 3)


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    array = raw_array(tmp_path / "a.raw", (1, 100, 100))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DataError, match="free some space"):
            array.write((0, 0, 0), np.ones((1, 100, 100), np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_the_folder_vanishes_with_its_block(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), scratch_folder(tmp_path / "out.mrc") as folder:
        (folder / "a").write_text("x")
        assert folder.parent == tmp_path
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="there is no folder"), scratch_folder(tmp_path / "no" / "out.mrc"):
        pass


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from cryodask.io.scratch import scratch_folder\n"
        "with scratch_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'a').write_text('x'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out.mrc")], check=False, timeout=120)
    (left,) = tmp_path.iterdir()
    with scratch_folder(tmp_path / "out.mrc") as mine:
        with scratch_folder(tmp_path / "out.mrc") as other:  # of a process that lives
            assert mine.exists()
            assert sorted(tmp_path.iterdir()) == sorted([mine, other])
        assert not left.exists()
