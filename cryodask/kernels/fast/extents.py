"""Voxels of every particle of a mask and the sums of their coordinates, in one pass over the mask."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def sum_extents(occupancy: npt.NDArray[Any], volume: Ints, sums: Ints) -> int:
    """Add each voxel (z, y, x) of id k to ``volume[k]`` and its coordinates to ``sums[k]``; returns an id beyond, or 0.

    Rows are taken in the order in which they lie in memory where z is the slowest axis; ids are integers from 0.
    """
    last = len(volume) - 1
    nz, ny, nx = occupancy.shape
    for z in range(nz):
        for y in range(ny):
            row = occupancy[z, y]
            for x in range(nx):
                own = row[x]
                if own != 0:
                    if own < 0 or own > last:
                        return int(own)
                    volume[own] += 1
                    sums[own, 0] += z
                    sums[own, 1] += y
                    sums[own, 2] += x
    return 0
