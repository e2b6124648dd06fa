"""Which of some random positions is free of the spheres that were placed before, by a cell list."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


class CellList:
    """Spheres by the cell of their centre; cells are so wide that a sphere can only touch those of 27 cells.

    Each cell heads a chain: ``head[cell]`` is the sphere placed last in it, ``after[sphere]`` the one before.
    """

    def __init__(
        self, radii: Floats, half: Floats, clearance_angstrom: float, obstacles: tuple[Floats, Floats]
    ) -> None:
        """Of spheres still to be placed, by their (n,) radii, and obstacles (centres (m, 3), radii (m,)) that stay."""
        count = len(radii)
        self.radii, self.half, self.clearance = np.concatenate([radii, obstacles[1]]), half, clearance_angstrom
        self._all_centres = np.zeros((len(self.radii), 3))
        self.centres = self._all_centres[:count]
        widest = 2 * float(self.radii.max(initial=0.0)) + clearance_angstrom
        self.width = max(widest, float(half.max()) / 64, 1e-9)
        cells = np.floor(2 * half / self.width).astype(np.int64) + 1
        self.head = np.full(tuple(cells), -1, np.int64)
        self.after = np.full(len(self.radii), -1, np.int64)
        for index, centre in enumerate(obstacles[0]):
            self.add(count + index, centre)

    def first_free(self, draws: Floats, radius: float) -> int:
        """Index of the first of the positions (n, 3) where a sphere keeps its distance from all others, or -1."""
        return int(
            _first_free(
                draws,
                radius,
                self.clearance,
                self.half,
                self.width,
                self.head,
                self.after,
                self._all_centres,
                self.radii,
            )
        )

    def add(self, sphere: int, centre: Floats) -> None:
        """Put a sphere, by its number, in its place."""
        self._all_centres[sphere] = centre
        at = np.floor((centre + self.half) / self.width).astype(np.int64)
        # An obstacle may lie outside the box: its neighbours are those of the nearest cell, or none.
        cell = tuple(np.clip(at, 0, np.array(self.head.shape) - 1))
        self.after[sphere] = self.head[cell]
        self.head[cell] = sphere


@numba.njit(cache=True, nogil=True)
def _first_free(
    draws: Floats,
    radius: float,
    clearance: float,
    half: Floats,
    width: float,
    head: npt.NDArray[np.int64],
    after: Ints,
    centres: Floats,
    radii: Floats,
) -> int:
    nz, ny, nx = head.shape
    for draw in range(draws.shape[0]):
        z, y, x = draws[draw]
        at_z = int(np.floor((z + half[0]) / width))
        at_y = int(np.floor((y + half[1]) / width))
        at_x = int(np.floor((x + half[2]) / width))
        free = True
        for k in range(max(0, at_z - 1), min(nz, at_z + 2)):
            for j in range(max(0, at_y - 1), min(ny, at_y + 2)):
                for i in range(max(0, at_x - 1), min(nx, at_x + 2)):
                    sphere = head[k, j, i]
                    while free and sphere >= 0:
                        dz, dy, dx = z - centres[sphere, 0], y - centres[sphere, 1], x - centres[sphere, 2]
                        least = radii[sphere] + radius + clearance
                        free = dz * dz + dy * dy + dx * dx >= least * least
                        sphere = after[sphere]
        if free:
            return draw
    return -1
