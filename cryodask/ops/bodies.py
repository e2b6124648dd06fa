"""Bodies of the sample that are no proteins: gold fiducials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryodask.kernels.gold import edge_width_angstrom, gold_fraction
from cryodask.kernels.placement import place_spheres
from cryodask.kernels.rotations import matrix_from_zxz_deg, uniform_rotations
from cryodask.params.schema import SampleParameters

FIDUCIAL = "fiducial"
"""Class of gold beads in the truth."""

DIAMETER_ANGSTROM = (40.0, 100.0)
AXIS_FACTOR = (0.8, 1.2)

NOISE_WAVES = 8
NOISE_AMPLITUDE = 0.05
"""Mild: the spread of a bead's own density is a twentieth of it."""

NOISE_PERIOD_ANGSTROM = 20.0
"""Period of the density's waves, four voxels of 5 angstrom."""

SKIRT_WIDTHS = 4.0
"""Edge widths that belong to a bead: 25.29 V / (1 + e^4) is below the 0.5 V of the truth masks."""


@dataclass(frozen=True, eq=False)
class GoldBead:
    """One bead: where it is, how it is shaped and how its density varies."""

    centre_angstrom: npt.NDArray[np.float64]
    """(z, y, x) from the centre of the box."""
    semi_axes_angstrom: tuple[float, float, float]
    matrix_xyz: npt.NDArray[np.float64]
    waves: npt.NDArray[np.float64]
    edge_angstrom: float

    @property
    def radius_angstrom(self) -> float:
        """Radius that bounds the bead with its soft edge."""
        return max(self.semi_axes_angstrom) + SKIRT_WIDTHS * self.edge_angstrom


def draw_gold(sample: SampleParameters, generator: np.random.Generator) -> list[GoldBead]:
    """Beads placed without overlap in the empty box; ``ConfigError`` if the number drawn does not fit."""
    low, high = sample.gold_count
    count = int(generator.integers(low, high + 1))
    edge = edge_width_angstrom(sample.motion_blur_sigma_angstrom, sample.voxel_size_angstrom)
    axes = generator.uniform(*DIAMETER_ANGSTROM, (count, 1)) / 2 * generator.uniform(*AXIS_FACTOR, (count, 3))
    turns = uniform_rotations(count, generator)
    directions = generator.normal(size=(count, NOISE_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True) * NOISE_PERIOD_ANGSTROM
    waves = np.concatenate([directions, generator.uniform(0, 2 * np.pi, (count, NOISE_WAVES, 1))], axis=2)
    nz, ny, nx = (n * sample.voxel_size_angstrom for n in sample.box_voxels)
    centres = place_spheres(
        axes.max(axis=1, initial=0.0) + SKIRT_WIDTHS * edge,
        box_angstrom=(nz, ny, nx),
        clearance_angstrom=sample.clearance_angstrom,
        generator=generator,
    )
    return [
        GoldBead(centres[i], (float(a), float(b), float(c)), matrix_from_zxz_deg(turns[i]), waves[i], edge)
        for i, (a, b, c) in enumerate(axes)
    ]


def bead_window_bytes(sample: SampleParameters) -> int:
    """Peak bytes of evaluating one bead: some ten arrays in double precision over the largest one's window."""
    if sample.gold_count[1] == 0:
        return 0
    edge = edge_width_angstrom(sample.motion_blur_sigma_angstrom, sample.voxel_size_angstrom)
    reach = DIAMETER_ANGSTROM[1] / 2 * AXIS_FACTOR[1] + 2 * SKIRT_WIDTHS * edge
    return 12 * 8 * (2 * int(np.ceil(reach / sample.voxel_size_angstrom)) + 5) ** 3


def bead_fraction(bead: GoldBead, window: list[tuple[int, int]], sample: SampleParameters) -> npt.NDArray[np.float32]:
    """The bead's density relative to solid gold at the voxels of the window (z, y, x)."""
    axes = []
    for axis, (start, stop) in enumerate(window):
        middle = (sample.box_voxels[axis] - 1) / 2
        place = (np.arange(start, stop) - middle) * sample.voxel_size_angstrom - bead.centre_angstrom[axis]
        axes.append(place.reshape([-1 if a == axis else 1 for a in range(3)]))
    fraction = gold_fraction(
        axes[0],
        axes[1],
        axes[2],
        matrix_xyz=bead.matrix_xyz,
        semi_axes_angstrom=bead.semi_axes_angstrom,
        edge_angstrom=bead.edge_angstrom,
        waves=bead.waves,
        amplitude=NOISE_AMPLITUDE,
    )
    return np.asarray(fraction, dtype=np.float32)
