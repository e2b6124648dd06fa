"""Random placement of particles by their own shapes, for samples that are too crowded for bounding spheres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.ndimage import distance_transform_edt

from cryodask.errors import ConfigError
from cryodask.kernels.fast.crowding import first_free, occupy
from cryodask.kernels.rotations import matrix_from_zxz_deg, uniform_rotations

Floats = npt.NDArray[np.float64]

GRID_ANGSTROM = 10.0
"""Voxels of the grid that records what is taken; they overlap where two particles come within about one of them."""

POINT_SPACING_ANGSTROM = 5.0
"""Of the points that stand for a shape: less than a grid voxel / sqrt(3), so that no voxel inside is missed."""

PLACES_PER_TURN = 256
TURNS = 40
"""Random orientations, each at as many random places, before the free places are listed."""

LISTED_TURNS = 3
"""Orientations whose free places are listed, all of them, before the box counts as full."""


@dataclass(frozen=True, eq=False)
class Shape:
    """Points (n, 3) about a particle's centre, (z, y, x) angstrom: its own, and its own with the clearance around."""

    own: Floats
    grown: Floats

    @classmethod
    def of_mask(cls, mask: npt.NDArray[np.bool_], voxel_size_angstrom: float, clearance_angstrom: float) -> Shape:
        """From a mask (z, y, x) on a grid whose centre is the particle's."""
        step = max(1, int(POINT_SPACING_ANGSTROM / voxel_size_angstrom))
        margin = int(np.ceil(clearance_angstrom / voxel_size_angstrom)) + 1
        padded = np.pad(mask, margin)
        around = distance_transform_edt(~padded) * voxel_size_angstrom <= clearance_angstrom
        return cls(*(_points(part, step, voxel_size_angstrom) for part in (padded, around)))


def _points(mask: npt.NDArray[np.bool_], step: int, voxel_size_angstrom: float) -> Floats:
    """Every ``step``-th voxel that the mask holds, or has a neighbour of in its block."""
    blocks = [-(-n // step) for n in mask.shape]
    padding = [(0, step * b - n) for b, n in zip(blocks, mask.shape, strict=True)]
    coarse = np.pad(mask, padding).reshape(blocks[0], step, blocks[1], step, blocks[2], step).any(axis=(1, 3, 5))
    centre = (np.array(mask.shape) - 1) / 2
    return (np.argwhere(coarse) * step + (step - 1) / 2 - centre) * voxel_size_angstrom


def place_shapes(
    classes: Sequence[str],
    shapes: Mapping[str, Shape],
    *,
    box_angstrom: tuple[float, float, float],
    generator: np.random.Generator,
    obstacles: tuple[Floats, Floats],
) -> tuple[Floats, Floats]:
    """Centres (n, 3) as (z, y, x) about the box's centre, and ZXZ angles (n, 3), of particles that do not overlap.

    The largest go first. A particle is tried at random places and orientations; where that fails, all places that are
    free for an orientation are listed and one of them is drawn. ``obstacles`` are (m, 3) centres and (m,) radii of
    spheres. ConfigError, naming how many fitted, where the box is full.
    """
    half = np.asarray(box_angstrom, dtype=np.float64) / 2
    grid = np.zeros([int(n // GRID_ANGSTROM) for n in box_angstrom], np.uint8)
    for centre, radius in zip(*obstacles, strict=True):
        occupy(_ball(float(radius)), centre, grid, half, GRID_ANGSTROM)
    centres, angles = np.zeros((len(classes), 3)), np.zeros((len(classes), 3))
    size = {name: len(shapes[name].own) for name in set(classes)}
    order = sorted(range(len(classes)), key=lambda index: (-size[classes[index]], index))
    for count, index in enumerate(order):
        shape = shapes[classes[index]]
        found = _random_place(shape, grid, half, generator) or _listed_place(shape, grid, half, generator)
        if found is None:
            raise ConfigError(
                f"only {count} of {len(classes)} particles fit the box of "
                f"{' x '.join(f'{n / 10:.0f}' for n in box_angstrom)} nm without overlap, in whatever orientation: "
                "lower sample.particle_count or sample.volume_fraction, or enlarge sample.box_voxels"
            )
        centres[index], angles[index] = found
        occupy(_turned(shape.grown, angles[index]), centres[index], grid, half, GRID_ANGSTROM)
    return centres, angles


def _turned(points: Floats, zxz_deg: Floats) -> Floats:
    turned: Floats = points @ matrix_from_zxz_deg(zxz_deg).T[::-1, ::-1]
    return np.ascontiguousarray(turned)


def _random_place(
    shape: Shape, grid: npt.NDArray[np.uint8], half: Floats, generator: np.random.Generator
) -> tuple[Floats, Floats] | None:
    for turn in uniform_rotations(TURNS, generator):
        points = _turned(shape.own, turn)
        low, high = -half - points.min(axis=0), half - points.max(axis=0)
        if (low > high).any():
            continue
        places = generator.uniform(low, high, (PLACES_PER_TURN, 3))
        free = first_free(points, places, grid, half, GRID_ANGSTROM)
        if free >= 0:
            return places[free], turn
    return None


def _listed_place(
    shape: Shape, grid: npt.NDArray[np.uint8], half: Floats, generator: np.random.Generator
) -> tuple[Floats, Floats] | None:
    """One of all places, on the grid, that are free for an orientation: where occupancy and shape do not correlate."""
    for turn in uniform_rotations(LISTED_TURNS, generator):
        points = _turned(shape.own, turn)
        voxels = np.unique(np.floor(points / GRID_ANGSTROM + 0.5).astype(np.int64), axis=0)
        low = voxels.min(axis=0)
        mask = np.zeros(voxels.max(axis=0) - low + 1, np.float32)
        mask[tuple((voxels - low).T)] = 1
        room = np.array(grid.shape) - mask.shape + 1
        if (room < 1).any():
            continue
        padded = [scipy.fft.next_fast_len(n, real=True) for n in grid.shape]
        overlap = scipy.fft.irfftn(
            scipy.fft.rfftn(grid.astype(np.float32), padded) * np.conj(scipy.fft.rfftn(mask, padded)), padded
        )
        corners = np.argwhere(overlap[: room[0], : room[1], : room[2]] < 0.5)
        for corner in generator.permutation(corners)[:PLACES_PER_TURN]:
            place = (corner - low + 0.5) * GRID_ANGSTROM - half
            # The points may lie one voxel off where they were rounded to.
            if first_free(points, place[None], grid, half, GRID_ANGSTROM) == 0:
                return place, turn
    return None


def _ball(radius_angstrom: float) -> Floats:
    axis = np.arange(-radius_angstrom, radius_angstrom + POINT_SPACING_ANGSTROM, POINT_SPACING_ANGSTROM)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.ascontiguousarray(points[(points**2).sum(axis=1) <= radius_angstrom**2])
