"""Where particles are searched: a box of the tomogram, a mask of the specimen, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.model.source import BlockSource
from cryodask.ops.matching import Tile


@dataclass(frozen=True, kw_only=True)
class SearchRegion:
    """A ``BlockSource``: 1 where particles are searched, 0 elsewhere, (z, y, x) in the tomogram's voxels."""

    shape: tuple[int, int, int]
    low: tuple[int, int, int]
    high: tuple[int, int, int]
    """First voxel of the box, and the first beyond it."""
    mask: BlockSource | None = None
    """Of the tomogram's shape; searched where it is not 0."""

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[np.uint8]:
        """The block at ``region``."""
        bounds = [part.indices(n)[:2] for part, n in zip(region, self.shape, strict=True)]
        inside = np.zeros([high - low for low, high in bounds], np.uint8)
        box = tuple(
            slice(max(low - first, 0), max(high - first, 0))
            for low, high, (first, _) in zip(self.low, self.high, bounds, strict=True)
        )
        inside[box] = 1
        if self.mask is not None and inside.any():
            inside &= self.mask.read(region) != 0
        return inside


def searched_tiles(region: BlockSource | None, parts: Sequence[Tile]) -> list[bool]:
    """Whether each tile has a voxel that is searched; the region is read once."""
    if region is None:
        return [True] * len(parts)
    whole = region.read((slice(None),) * len(region.shape))
    return [
        bool(whole[tuple(slice(s, s + n) for s, n in zip(tile.start, tile.shape, strict=True))].any()) for tile in parts
    ]


def no_scores(tile: Tile) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """What a search leaves where nothing is searched."""
    return np.full(tile.shape, np.nan, np.float32), np.full(tile.shape, -1, np.int32)
