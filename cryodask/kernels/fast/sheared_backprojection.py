"""Compiled back-projection with an x tilt: rows lie next to each other in memory, so that loops over rows are vectors.

Every row runs through the same instructions whatever slab it is in, so slabs of any height have the same bits.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from cryodask.kernels.sheared_backprojection import ShearGeometry

LANES = 32
"""Rows at once."""


def backproject_sheared_rows(
    tilts: npt.NDArray[Any], geometry: ShearGeometry, shape: tuple[int, int, int]
) -> npt.NDArray[Any]:
    """``backproject_sheared`` for numpy arrays; see there."""
    n_tilts = tilts.shape[0]
    ny = shape[1]
    volume = np.empty(shape, dtype=tilts.dtype)
    rows = LANES + 2 * geometry.halo
    packed = np.zeros((n_tilts, geometry.length, rows), dtype=tilts.dtype)
    for first in range(0, ny, LANES):
        count = min(rows, tilts.shape[1] - first)
        inside = packed[:, geometry.padding : geometry.padding + tilts.shape[2]]
        weighted = tilts[:, first : first + count] * geometry.weights.astype(tilts.dtype)[:, None, None]
        inside[:, :, :count] = weighted.transpose(0, 2, 1)
        inside[:, :, count:] = 0
        lanes = math.ceil(min(LANES, ny - first))
        _fill(
            packed,
            geometry.cosines,
            geometry.sines,
            geometry.slopes,
            geometry.origin,
            geometry.halo,
            first,
            lanes,
            volume,
        )
    return volume


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fill(
    packed: npt.NDArray[Any],
    cosines: npt.NDArray[np.float64],
    sines: npt.NDArray[np.float64],
    slopes: npt.NDArray[np.float64],
    origin: float,
    halo: int,
    first_row: int,
    rows: int,
    volume: npt.NDArray[Any],
) -> None:
    """Rows ``first_row`` to ``first_row + rows`` of ``volume`` from ``packed`` (tilt, sample, row)."""
    n_tilts, length, _ = packed.shape
    nz, _, nx = volume.shape
    lines = np.zeros((length, LANES), packed.dtype)
    sums = np.zeros((nx, LANES), packed.dtype)
    taps = np.zeros(4, packed.dtype)
    for z in range(nz):
        depth = z - (nz - 1) / 2
        sums[:] = 0
        for tilt in range(n_tilts):
            row = -depth * slopes[tilt]
            below = math.floor(row)
            f = row - below
            taps[0] = -0.5 * f + f**2 - 0.5 * f**3
            taps[1] = 1 - 2.5 * f**2 + 1.5 * f**3
            taps[2] = 0.5 * f + 2 * f**2 - 1.5 * f**3
            taps[3] = -0.5 * f**2 + 0.5 * f**3
            start = origin + depth * sines[tilt]
            ends = (nx - 1) / 2 * cosines[tilt]
            low = math.floor(start - abs(ends))
            high = min(length, math.floor(start + abs(ends)) + 2)
            above = halo + below - 1
            for sample in range(low, high):
                for lane in range(LANES):
                    lines[sample, lane] = (
                        taps[0] * packed[tilt, sample, above + lane]
                        + taps[1] * packed[tilt, sample, above + 1 + lane]
                        + taps[2] * packed[tilt, sample, above + 2 + lane]
                        + taps[3] * packed[tilt, sample, above + 3 + lane]
                    )
            for x in range(nx):
                position = start + (x - (nx - 1) / 2) * cosines[tilt]
                lower = int(position)
                far = packed.dtype.type(position - lower)
                near = packed.dtype.type(1) - far
                for lane in range(LANES):
                    sums[x, lane] += near * lines[lower, lane] + far * lines[lower + 1, lane]
        for lane in range(rows):
            for x in range(nx):
                volume[z, first_row + lane, x] = sums[x, lane]
