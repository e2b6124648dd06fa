"""Whether a turned particle meets what is in the box already, by a grid of occupied voxels."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]
Grid = npt.NDArray[np.uint8]


@numba.njit(cache=True, nogil=True)
def first_free(points: Floats, places: Floats, grid: Grid, half: Floats, spacing: float) -> int:
    """First of the places (n, 3) at which all points (m, 3) lie in the box and on free voxels, or -1; (z, y, x)."""
    nz, ny, nx = grid.shape
    for place in range(places.shape[0]):
        z0, y0, x0 = places[place, 0] + half[0], places[place, 1] + half[1], places[place, 2] + half[2]
        free = True
        for point in range(points.shape[0]):
            z = int(np.floor((points[point, 0] + z0) / spacing))
            y = int(np.floor((points[point, 1] + y0) / spacing))
            x = int(np.floor((points[point, 2] + x0) / spacing))
            if z < 0 or y < 0 or x < 0 or z >= nz or y >= ny or x >= nx or grid[z, y, x]:
                free = False
                break
        if free:
            return place
    return -1


@numba.njit(cache=True, nogil=True)
def occupy(points: Floats, place: Floats, grid: Grid, half: Floats, spacing: float) -> None:
    """Take the voxels of all points (m, 3) that lie in the box."""
    nz, ny, nx = grid.shape
    for point in range(points.shape[0]):
        z = int(np.floor((points[point, 0] + place[0] + half[0]) / spacing))
        y = int(np.floor((points[point, 1] + place[1] + half[1]) / spacing))
        x = int(np.floor((points[point, 2] + place[2] + half[2]) / spacing))
        if 0 <= z < nz and 0 <= y < ny and 0 <= x < nx:
            grid[z, y, x] = 1
