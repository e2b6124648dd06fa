"""Lipid vesicles in the sample: tri-axial shells that may stick out of the box."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cryodask.errors import ConfigError
from cryodask.kernels.absorption import absorption_potential_v
from cryodask.kernels.rotations import matrix_from_zxz_deg, uniform_rotations
from cryodask.kernels.vesicle import (
    HALF_THICKNESS_ANGSTROM,
    bilayer_potential,
    ellipsoid_distance,
    soft_slab,
)
from cryodask.ops.bodies import VESICLE, Floats, Volume, Window, ice_absorption_v, positions
from cryodask.params.schema import MicroscopeParameters, SampleParameters

SEMI_AXIS_ANGSTROM = (180.0, 280.0)
STRETCH = (1.0, 1.5)
"""Each semi-axis is the vesicle's own draw from the first range times a draw from the second."""

ATTEMPTS = 5_000


@dataclass(frozen=True, eq=False)
class Vesicle:
    """One vesicle: where the middle of its membrane is."""

    centre_angstrom: Floats
    """(z, y, x) from the centre of the box."""
    semi_axes_angstrom: tuple[float, float, float]
    matrix_xyz: Floats
    blur_angstrom: float
    class_id: str = VESICLE

    @property
    def radius_angstrom(self) -> float:
        """Radius that bounds the membrane with its soft edge; nothing else is placed within it."""
        return max(self.semi_axes_angstrom) + HALF_THICKNESS_ANGSTROM + 3 * self.blur_angstrom

    def potentials(
        self, window: Window, sample: SampleParameters, microscope: MicroscopeParameters
    ) -> tuple[Volume, Volume]:
        """Electrostatic and absorption potential above ice in the window (z, y, x); the membrane absorbs as protein."""
        z, y, x = positions(self.centre_angstrom, window, sample)
        distance = ellipsoid_distance(z, y, x, matrix_xyz=self.matrix_xyz, semi_axes=self.semi_axes_angstrom)
        over_ice = absorption_potential_v("protein", microscope.voltage_kv) - ice_absorption_v(sample, microscope)
        return (
            bilayer_potential(distance, self.blur_angstrom).astype(np.float32),
            (soft_slab(distance, HALF_THICKNESS_ANGSTROM, self.blur_angstrom) * over_ice).astype(np.float32),
        )


def draw_vesicles(
    sample: SampleParameters, generator: np.random.Generator, obstacles: tuple[Floats, Floats] | None = None
) -> list[Vesicle]:
    """Vesicles whose centres lie anywhere in the box and whose bounding spheres do not overlap.

    Raises ConfigError if the number drawn does not fit.
    """
    low, high = sample.vesicle_count
    count = int(generator.integers(low, high + 1))
    blur = math.hypot(sample.motion_blur_sigma_angstrom, sample.voxel_size_angstrom / math.sqrt(12))
    axes = generator.uniform(*SEMI_AXIS_ANGSTROM, (count, 1)) * generator.uniform(*STRETCH, (count, 3))
    turns = uniform_rotations(count, generator)
    half = np.array(sample.box_voxels) * sample.voxel_size_angstrom / 2
    placed: list[Vesicle] = []
    for (a, b, c), turn in zip(axes, turns, strict=True):
        for _ in range(ATTEMPTS):
            centre = generator.uniform(-half, half)
            made = Vesicle(centre, (float(a), float(b), float(c)), matrix_from_zxz_deg(turn), blur)
            clear = obstacles is None or _clear(made, obstacles, sample.clearance_angstrom)
            if clear and all(_apart(made, other, sample.clearance_angstrom) for other in placed):
                placed.append(made)
                break
        else:
            raise ConfigError(
                f"only {len(placed)} of {count} vesicles fit the box of "
                f"{' x '.join(f'{2 * h / 10:.0f}' for h in half)} nm without overlap: lower sample.vesicle_count or "
                "enlarge sample.box_voxels"
            )
    return placed


def _clear(vesicle: Vesicle, obstacles: tuple[Floats, Floats], clearance_angstrom: float) -> bool:
    centres, radii = obstacles
    gaps = np.linalg.norm(centres - vesicle.centre_angstrom, axis=1) - radii - vesicle.radius_angstrom
    return bool((gaps >= clearance_angstrom).all())


def _apart(a: Vesicle, b: Vesicle, clearance_angstrom: float) -> bool:
    gap = float(np.linalg.norm(a.centre_angstrom - b.centre_angstrom)) - a.radius_angstrom - b.radius_angstrom
    return gap >= clearance_angstrom


def vesicle_window_bytes(sample: SampleParameters, rows: int) -> int:
    """Peak bytes of evaluating one vesicle in a slab of rows: some twelve arrays in double precision."""
    if sample.vesicle_count[1] == 0:
        return 0
    reach = SEMI_AXIS_ANGSTROM[1] * STRETCH[1] + HALF_THICKNESS_ANGSTROM + 3 * (sample.motion_blur_sigma_angstrom + 2)
    side = 2 * int(np.ceil(reach / sample.voxel_size_angstrom)) + 5
    nz, ny, nx = (min(side, n) for n in sample.box_voxels)
    return 12 * 8 * nz * min(ny, rows) * nx
