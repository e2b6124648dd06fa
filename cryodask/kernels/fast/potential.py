"""Compiled sum of Gaussians, each over its own window; see ``cryodask.kernels.potential``."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt


@numba.njit(cache=True, nogil=True)
def sum_gaussians(
    integral: npt.NDArray[np.float64],
    sigma_angstrom: npt.NDArray[np.float64],
    cutoff_angstrom: npt.NDArray[np.float64],
    centre_angstrom: npt.NDArray[np.float64],
    shape: tuple[int, int, int],
    voxel_size_angstrom: float,
) -> npt.NDArray[Any]:
    """Voxel means of Gaussians with centres (g, 3) as (x, y, z), in a (z, y, x) float64 box."""
    total = np.zeros(shape)
    fractions = [np.empty(size) for size in shape]
    first = np.empty(3, dtype=np.int64)
    last = np.empty(3, dtype=np.int64)
    for row in range(integral.size):
        for axis in range(3):
            first[axis], last[axis] = _fill_fractions(
                fractions[axis],
                centre_angstrom[row, 2 - axis],
                sigma_angstrom[row],
                cutoff_angstrom[row],
                voxel_size_angstrom,
            )
        density = integral[row] / voxel_size_angstrom**3
        in_x = fractions[2]
        for z in range(first[0], last[0]):
            for y in range(first[1], last[1]):
                factor = density * fractions[0][z] * fractions[1][y]
                line = total[z, y]
                for x in range(first[2], last[2]):
                    line[x] += factor * in_x[x]
    return total


@numba.njit(cache=True, nogil=True)
def _fill_fractions(
    fractions: npt.NDArray[np.float64], centre: float, sigma: float, cutoff: float, voxel_size_angstrom: float
) -> tuple[int, int]:
    """Write the fraction of the Gaussian in each voxel of its window; returns the window without its zero ends."""
    first = max(0, math.floor((centre - cutoff) / voxel_size_angstrom + 0.5))
    last = min(fractions.size, math.floor((centre + cutoff) / voxel_size_angstrom + 0.5) + 1)
    scale = 1.0 / (math.sqrt(2.0) * sigma)
    below = math.erf(((first - 0.5) * voxel_size_angstrom - centre) * scale)
    for voxel in range(first, last):
        above = math.erf(((voxel + 0.5) * voxel_size_angstrom - centre) * scale)
        fractions[voxel] = 0.5 * (above - below)
        below = above
    # Narrow Gaussians vanish, in float64, long before the window ends.
    while first < last and fractions[first] == 0.0:
        first += 1
    while last > first and fractions[last - 1] == 0.0:
        last -= 1
    return first, last
