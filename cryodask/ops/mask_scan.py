"""One pass over a stored occupancy mask, slab by slab: where its particles are, and which of them given voxels lie on.

A mask of the benchmark's size is 190 MB in memory; a slab stays in the cache, and the memory of a task stays small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.kernels.scoring import Extents, Ints, extent_sums, extents_of, neighbour_voxels
from cryodask.model.source import BlockSource

ROWS = 32
"""Rows along y that are read at a time: a multiple of what ``simulate`` stores as one chunk."""


def scan_mask(source: BlockSource, n_particles: int, voxel: Ints) -> tuple[Extents, Ints]:
    """Extents of the particles of a mask (z, y, x), and the ids (m,) at the voxels (m, 3) of the mask grown by one.

    The same as ``kernels.scoring.extents`` and ``dilated_ids`` of the whole mask, to the bit: all sums are integers.
    """
    nz, ny, nx = source.shape
    wanted = neighbour_voxels(voxel, (nz, ny, nx))
    values = np.zeros(len(wanted), dtype=np.int64)
    order = np.argsort(wanted[:, 1], kind="stable")
    edges = np.searchsorted(wanted[order, 1], np.arange(0, ny + ROWS, ROWS))
    volume, sums = np.zeros(n_particles + 1, dtype=np.int64), np.zeros((n_particles + 1, 3), dtype=np.int64)
    for slab, start in enumerate(range(0, ny, ROWS)):
        block: npt.NDArray[Any] = source.read((slice(0, nz), slice(start, min(start + ROWS, ny)), slice(0, nx)))
        own_volume, own_sums = extent_sums(block, n_particles)
        own_sums[:, 1] += start * own_volume
        volume += own_volume
        sums += own_sums
        rows = order[edges[slab] : edges[slab + 1]]
        z, y, x = wanted[rows].T
        values[rows] = block[z, y - start, x]
    ids: Ints = values.reshape(-1, len(voxel)).max(axis=0) if len(voxel) else np.zeros(0, dtype=np.int64)
    return extents_of(volume[1:], sums[1:]), ids
