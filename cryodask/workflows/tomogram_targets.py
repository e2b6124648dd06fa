"""Where the slabs of a tomogram go: a pyramid of groups in a data set, or an MRC file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.io.mrc_header import HEADER_BYTES
from cryodask.io.mrc_writer import filled_volume
from cryodask.io.ome import ome_multiscales
from cryodask.io.scratch import RawArray
from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.model.source import BlockSink
from cryodask.ops.reconstruction import ReconstructionGeometry
from cryodask.params.schema import ReconstructionParameters
from cryodask.params.tokens import token
from cryodask.workflows import layout

COARSEST_VOXELS = 64
"""A pyramid ends when its longest axis is no longer than this."""


@dataclass(frozen=True)
class StoreTarget:
    """Levels of a pyramid, each coarser one the mean over 2 x 2 x 2 voxels of the one before."""

    store: Store
    groups: tuple[str, ...]
    dtype: str

    def write(self, block: int, row: int, slab: npt.NDArray[np.float32]) -> None:
        for level, group in enumerate(self.groups):
            if level:
                slab = halved(slab)
            if slab.shape[1]:
                self.store.write(group, "image", (0, row >> level, 0), as_stored(slab, self.dtype))
            self.store.mark_done(group, block)


@dataclass(frozen=True)
class MrcTarget:
    """Rows of a volume that is on disk already."""

    sink: BlockSink
    dtype: str

    def write(self, block: int, row: int, slab: npt.NDArray[np.float32]) -> None:
        del block
        self.sink.write((0, row, 0), as_stored(slab, self.dtype))


def as_stored(slab: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[Any]:
    """``slab`` in the dtype of the output; DataError where half precision cannot hold it."""
    if dtype == "float16" and float(np.abs(slab).max(initial=0)) > float(np.finfo(np.float16).max):
        raise DataError("the tomogram has values beyond 65504, which float16 cannot hold: write float32")
    return slab.astype(dtype, copy=False)


def halved(volume: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means over 2 x 2 x 2 voxels; a last odd slice, row or column is left out."""
    for axis in range(3):
        half = volume.shape[axis] // 2
        pairs = [slice(None)] * 3
        pairs[axis] = slice(0, 2 * half, 2)
        first = volume[tuple(pairs)]
        pairs[axis] = slice(1, 2 * half, 2)
        volume = (first + volume[tuple(pairs)]) * np.float32(0.5)
    return volume


def level_shapes(shape: tuple[int, int, int], slab_rows: int, coarsest: int = COARSEST_VOXELS) -> list[Sequence[int]]:
    """(z, y, x) of each level, finest first. A slab must make whole rows of every level, so odd slabs end it."""
    levels: list[Sequence[int]] = [shape]
    while max(levels[-1]) > coarsest and min(levels[-1]) > 1 and (slab_rows >> len(levels)) << len(levels) == slab_rows:
        levels.append(tuple(n // 2 for n in levels[-1]))
    return levels


@dataclass(frozen=True, kw_only=True)
class StoredTomogram:
    """A variant of a model's tomogram in a data set, to be made or gone on with."""

    store: Store
    model: str
    variant: str
    geometry: ReconstructionGeometry
    parameters: ReconstructionParameters
    record: dict[str, Any]
    """What its token is made of."""
    attrs: dict[str, Any]
    pyramid: bool

    @property
    def levels(self) -> list[Sequence[int]]:
        rows = min(self.parameters.slab_voxels, self.geometry.shape[1])
        return level_shapes(self.geometry.shape, rows) if self.pyramid else [self.geometry.shape]

    @property
    def target(self) -> StoreTarget:
        groups = tuple(layout.tomogram_group(self.model, self.variant, level) for level in range(len(self.levels)))
        return StoreTarget(self.store, groups, self.parameters.output_dtype)

    def prepare(self, blocks: int, *, overwrite: bool) -> list[int]:
        """Lay the skeletons; returns the numbers of the slabs that are missing."""
        pending: set[int] = set()
        for level, (group, shape) in enumerate(zip(self.target.groups, self.levels, strict=True)):
            pending |= set(self.store.prepare(group, self._spec(level, shape, blocks), overwrite=overwrite))
        return sorted(pending)

    def finish(self) -> None:
        """Declare it complete, with OME-Zarr metadata beside it."""
        for group in self.target.groups:
            self.store.finish(group)
        voxel = self.geometry.voxel_size_angstrom
        sizes = [voxel * 2**level for level in range(len(self.levels))]
        self.store.annotate(f"{self.model}/{self.variant}", ome_multiscales(self.model, sizes))

    def _spec(self, level: int, shape: Sequence[int], blocks: int) -> GroupSpec:
        nz, ny, nx = shape
        rows = max(1, min(self.parameters.slab_voxels, self.geometry.shape[1]) >> level)
        record = self.record if level == 0 else {**self.record, "level": level}
        attrs = {**self.attrs, "voxel_size_angstrom": self.geometry.voxel_size_angstrom * 2**level}
        image = Variable(
            name="image",
            dims=("z", "y", "x"),
            shape=(nz, ny, nx),
            dtype=self.parameters.output_dtype,
            chunks=(nz, rows, nx),
            attrs={"units": "contrast per voxel", "long_name": "weighted back-projection, proteins dark"},
        )
        return GroupSpec(
            kind=layout.TOMOGRAM_KIND if level == 0 else layout.TOMOGRAM_LEVEL_KIND,
            token=token(record),
            parameters=record,
            variables=(image,),
            attrs=attrs,
            blocks=blocks,
        )


def mrc_in_the_way(path: Path, overwrite: bool) -> None:
    """DataError if ``path`` is there and may not be replaced."""
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists: choose another name, or --overwrite")


def mrc_volume(path: Path, geometry: ReconstructionGeometry, dtype: str) -> RawArray:
    """The blocks of an MRC file that ``mrc_target`` has made."""
    return RawArray(str(path), geometry.shape, np.dtype(dtype), HEADER_BYTES)


@contextmanager
def mrc_target(path: Path, geometry: ReconstructionGeometry, dtype: str) -> Iterator[MrcTarget]:
    """An MRC file that appears under its name when the block ends."""
    with filled_volume(path, geometry.shape, dtype, geometry.voxel_size_angstrom) as volume:
        memory: Any = volume
        yield MrcTarget(RawArray(str(memory.filename), geometry.shape, np.dtype(dtype), memory.offset), dtype)
