"""Reading one stored array, with damage reported by file instead of passed on as numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from cryodask.errors import NotInStoreError, StoreError


@dataclass(frozen=True, kw_only=True)
class StoredArray:
    """A ``BlockSource`` on one variable of a store: a path and what is needed to index it. Picklable."""

    path: str
    """Folder of the array."""
    label: str
    """How messages name it: ``group/variable``."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    written: bool
    """True when every chunk must be there, so that a missing file is damage and not work still to do."""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        """The block at ``region``; StoreError naming the file if a chunk is damaged or gone."""
        array = open_array(self.path, self.label)
        if self.written:
            for file in chunk_files(array, Path(self.path), region):
                if not file.exists():
                    raise StoreError(_damage(self.label, file, "the file is missing"))
        return read_region(array, Path(self.path), self.label, region)

    def __getitem__(self, index: tuple[slice | int, ...]) -> npt.NDArray[Any]:
        """Indexing as dask does it, which merges what a user selects (one tilt, every other slice) into the read."""
        ranges = [range(size)[part] for part, size in zip(index, self.shape, strict=False)]
        block = self.read(tuple(slice(at, at + 1) if isinstance(at, int) else _covering(at) for at in ranges))
        within = [0 if isinstance(at, int) else slice(None, None, at.step) for at in ranges]
        return block[tuple(within)]


def _covering(at: range) -> slice:
    """From the lowest to the highest of what ``at`` counts."""
    return slice(min(at[0], at[-1]), max(at[0], at[-1]) + 1) if at else slice(0, 0)


def open_array(path: str | Path, label: str, *, writable: bool = False) -> zarr.Array[Any]:
    """The Zarr array in folder ``path``; chunks that hold only the fill value are written like any others."""
    try:
        array: zarr.Array[Any] = zarr.open_array(str(path), mode="r+" if writable else "r", zarr_format=3)
    except FileNotFoundError as error:
        raise NotInStoreError(f"there is no variable {label!r} ({path})") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"the description of {label!r} in {path}/zarr.json cannot be read: {error}") from error
    # Passing config to open_array has no effect on an array that exists.
    inner = array._async_array
    return zarr.Array(zarr.AsyncArray(inner.metadata, inner.store_path, config={"write_empty_chunks": True}))


def read_region(array: zarr.Array[Any], path: Path, label: str, region: tuple[slice, ...]) -> npt.NDArray[Any]:
    """``array[region]``; StoreError naming the damaged file where a chunk fails its checksum or cannot be decoded."""
    try:
        return np.asarray(array[region])
    except Exception as error:
        # Codecs raise what they please (ValueError, RuntimeError, OSError ...); all of it means an unreadable chunk.
        file, reason = _find_damage(array, path, region) or (path, str(error))
        raise StoreError(_damage(label, file, reason)) from error


def unit_of_writing(array: zarr.Array[Any]) -> tuple[int, ...]:
    """Shape of what one file holds: the shard, or the chunk where there are no shards."""
    shape: tuple[int, ...] = array.shards or array.chunks
    return shape


def chunk_files(array: zarr.Array[Any], path: Path, region: tuple[slice, ...]) -> Iterator[Path]:
    """The files that hold ``region``."""
    for index in _chunk_indices(array, region):
        yield path / array.metadata.encode_chunk_key(index)


def _chunk_indices(array: zarr.Array[Any], region: tuple[slice, ...]) -> Iterator[tuple[int, ...]]:
    spans = []
    for axis, (size, unit) in enumerate(zip(array.shape, unit_of_writing(array), strict=True)):
        start, stop, _ = (region[axis] if axis < len(region) else slice(None)).indices(size)
        spans.append(range(start // unit, math.ceil(stop / unit)) if stop > start else range(0))
    yield from itertools.product(*spans)


def _find_damage(array: zarr.Array[Any], path: Path, region: tuple[slice, ...]) -> tuple[Path, str] | None:
    """The first file of ``region`` that cannot be read on its own, and why."""
    for index in _chunk_indices(array, region):
        try:
            array[tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, unit_of_writing(array), strict=True))]
        except Exception as error:  # noqa: BLE001 - see read_region
            return path / array.metadata.encode_chunk_key(index), str(error)
    return None


def _damage(label: str, file: Path, reason: str) -> str:
    return (
        f"{label!r} is damaged: {file}: {reason.rstrip('.')}. Restore the file from a copy, "
        "or make the group again with --overwrite"
    )
