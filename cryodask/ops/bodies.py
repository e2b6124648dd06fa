"""Bodies of the sample that are no proteins: what they have in common, and gold fiducials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cryodask.kernels.absorption import absorption_potential_v
from cryodask.kernels.gold import GOLD_POTENTIAL_V, edge_width_angstrom, gold_fraction
from cryodask.kernels.placement import place_spheres
from cryodask.kernels.rotations import matrix_from_zxz_deg, uniform_rotations
from cryodask.params.schema import MicroscopeParameters, SampleParameters

Floats: TypeAlias = npt.NDArray[np.float64]
Volume: TypeAlias = npt.NDArray[np.float32]
Window: TypeAlias = Sequence[tuple[int, int]]
"""Voxel ranges (z, y, x) of the grand model."""

FIDUCIAL = "fiducial"
"""Class of gold beads in the truth."""

VESICLE = "vesicle"
"""Class of lipid vesicles in the truth."""


class Body(Protocol):
    """One thing that is no protein."""

    @property
    def class_id(self) -> str: ...

    @property
    def centre_angstrom(self) -> Floats:
        """(z, y, x) from the centre of the box."""

    @property
    def radius_angstrom(self) -> float:
        """Of the sphere that holds all of it; nothing else is placed in there."""

    def potentials(
        self, window: Window, sample: SampleParameters, microscope: MicroscopeParameters
    ) -> tuple[Volume, Volume]:
        """Electrostatic and absorption potential above ice, in V, at the voxels of the window (z, y, x)."""


def body_classes(sample: SampleParameters) -> list[str]:
    """Classes that the truth has beside the proteins', in the order of their labels, which follow the proteins'."""
    counts = {FIDUCIAL: sample.gold_count, VESICLE: sample.vesicle_count}
    return [name for name, (_, high) in counts.items() if high]


def ice_absorption_v(sample: SampleParameters, microscope: MicroscopeParameters) -> float:
    """Absorption potential of the ice: the parameter where given, else computed from its density."""
    if sample.ice_absorption_v is not None:
        return sample.ice_absorption_v
    return absorption_potential_v("ice", microscope.voltage_kv)


def positions(centre_angstrom: Floats, window: Window, sample: SampleParameters) -> list[Floats]:
    """Places of the window's voxels from a centre, along z, y and x: three arrays that broadcast."""
    axes = []
    for axis, (start, stop) in enumerate(window):
        middle = (sample.box_voxels[axis] - 1) / 2
        place = (np.arange(start, stop) - middle) * sample.voxel_size_angstrom - centre_angstrom[axis]
        axes.append(place.reshape([-1 if a == axis else 1 for a in range(3)]))
    return axes


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
    class_id: str = FIDUCIAL

    @property
    def radius_angstrom(self) -> float:
        """Radius that bounds the bead with its soft edge."""
        return max(self.semi_axes_angstrom) + SKIRT_WIDTHS * self.edge_angstrom

    def potentials(
        self, window: Window, sample: SampleParameters, microscope: MicroscopeParameters
    ) -> tuple[Volume, Volume]:
        """Electrostatic and absorption potential of gold above ice, times the bead's density."""
        z, y, x = positions(self.centre_angstrom, window, sample)
        fraction = np.asarray(
            gold_fraction(
                z,
                y,
                x,
                matrix_xyz=self.matrix_xyz,
                semi_axes_angstrom=self.semi_axes_angstrom,
                edge_angstrom=self.edge_angstrom,
                waves=self.waves,
                amplitude=NOISE_AMPLITUDE,
            ),
            dtype=np.float32,
        )
        over_ice = absorption_potential_v("gold", microscope.voltage_kv) - ice_absorption_v(sample, microscope)
        return fraction * np.float32(GOLD_POTENTIAL_V), fraction * np.float32(over_ice)


def spheres(bodies: Sequence[Body]) -> tuple[Floats, Floats]:
    """Centres (n, 3) and radii (n,) of the spheres that hold the bodies."""
    centres = np.array([body.centre_angstrom for body in bodies], dtype=np.float64).reshape(-1, 3)
    return centres, np.array([body.radius_angstrom for body in bodies], dtype=np.float64)


def joined(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Centres and radii of two sets of spheres together."""
    return np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])


def draw_gold(
    sample: SampleParameters, generator: np.random.Generator, obstacles: tuple[Floats, Floats] | None = None
) -> list[GoldBead]:
    """Beads placed without overlap, clear of the obstacles too; ``ConfigError`` if the number drawn does not fit."""
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
        obstacles=obstacles,
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
