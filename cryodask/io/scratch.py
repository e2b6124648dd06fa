"""Arrays on disk that live as long as a command: what one stage of tasks leaves for the next."""

from __future__ import annotations

import glob
import math
import os
import platform
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from cryodask.errors import DataError
from cryodask.io.atomic import reason


@dataclass(frozen=True)
class RawArray:
    """A 3-D array in the bytes of a file, from ``offset`` on: a ``BlockSource`` and ``BlockSink``. Picklable.

    Blocks that do not overlap can be written by several processes at once. Plain reads and writes, not a memory map:
    a full disk is then an error and not a crash, and no task's memory counts what another one has read.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int = 0

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        """The block at ``region``: rows of the last axis are read whole."""
        planes, rows, columns = (range(n)[part] for part, n in zip(region, self.shape, strict=True))
        block = np.empty((len(planes), len(rows), self.shape[2]), self.dtype)
        if block.size:
            with Path(self.path).open("rb", buffering=0) as file:
                for index, plane in enumerate(planes):
                    file.seek(self._position(plane, rows.start))
                    if file.readinto(memoryview(block[index].data).cast("B")) != block[index].nbytes:
                        raise DataError(f"{self.path} is shorter than it should be: was it removed during the run?")
        return block if len(columns) == self.shape[2] else block[:, :, columns.start : columns.stop]

    def write(self, start: tuple[int, ...], block: npt.NDArray[Any]) -> None:
        """Store ``block``, which spans the last axis, with its first element at ``start``."""
        if start[2] or block.shape[2] != self.shape[2] or block.dtype != self.dtype:
            raise DataError(f"a block of {block.dtype} {block.shape} at {start} does not fit {self.dtype} {self.shape}")
        try:
            with Path(self.path).open("r+b", buffering=0) as file:
                for index, plane in enumerate(block):
                    file.seek(self._position(start[0] + index, start[1]))
                    content = np.ascontiguousarray(plane).data.cast("B")
                    while len(content):
                        content = content[file.write(content) :]
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {reason(error, Path(self.path).parent)}") from error

    def _position(self, plane: int, row: int) -> int:
        return self.offset + (plane * self.shape[1] + row) * self.shape[2] * self.dtype.itemsize


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A folder next to ``beside`` for the length of the block; DataError where none can be made.

    Next to the output, because there is room, and because workers on other machines see it. What processes of this
    machine left there when they were killed is removed.
    """
    end = f"@{platform.node()}.partial-{beside.name[-40:]}"
    folder = beside.absolute().with_name(f".{uuid.uuid4().hex}.{os.getpid()}{end}")
    for old in folder.parent.glob(f".*{glob.escape(end)}"):
        owner = old.name.removesuffix(end).rpartition(".")[2]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    try:
        folder.mkdir()
    except OSError as error:
        raise DataError(f"cannot write beside {beside}: {reason(error, folder.parent)}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def raw_array(path: Path, shape: tuple[int, int, int], dtype: npt.DTypeLike = np.float32) -> RawArray:
    """A new file of zeros that takes no room until it is written."""
    kind = np.dtype(dtype)
    with path.open("wb") as file:
        os.truncate(file.fileno(), math.prod(shape) * kind.itemsize)
    return RawArray(str(path), shape, kind)
