"""Carbon film: the edge of a round hole of the support, reaching into the field of view."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import erf

from cryodask.kernels.absorption import absorption_potential_v
from cryodask.ops.acquisition import Seed
from cryodask.ops.bodies import Floats, Volume, ice_absorption_v
from cryodask.params.schema import MicroscopeParameters, SampleParameters

CARBON_POTENTIAL_V = 12.056 - 4.530
"""Amorphous carbon of 2.0 g/cm^3 above ice: 0.1004 atoms a cubic angstrom of 120.115 V angstrom^3 each."""

HOLE_RADIUS_ANGSTROM = 10_000.0
"""Holes of 2 um, the usual ones."""

GRAIN = 0.1
"""Relative deviation of the film's potential from voxel to voxel; an own choice, about a third of what carbon atoms at
random places would have in voxels of 5 angstrom: amorphous carbon is more even than that."""

_SPREAD = 4001
"""Points along each side of the field from which the edge's place is found."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CarbonFilm:
    """A film at one face of the ice, outside a circle that stands for the hole."""

    thickness_angstrom: float
    upper: bool
    """At the end of z rather than at its beginning."""
    hole_yx_angstrom: tuple[float, float]
    """Centre of the hole, from the centre of the box."""
    blur_angstrom: float
    seed: Seed
    """Of the grain; row y of the grand model adds its number to the spawn key."""

    def middle_z_angstrom(self, sample: SampleParameters) -> float:
        """Height of the film's middle plane above the centre of the box."""
        face = (sample.box_voxels[0] * sample.voxel_size_angstrom - self.thickness_angstrom) / 2
        return face if self.upper else -face

    def potentials(
        self, rows: tuple[int, int], sample: SampleParameters, microscope: MicroscopeParameters
    ) -> tuple[Volume, Volume]:
        """Electrostatic and absorption potential above ice, (z, rows, x)."""
        voxel = sample.voxel_size_angstrom
        nz, ny, nx = sample.box_voxels
        z = (np.arange(nz) - (nz - 1) / 2) * voxel - self.middle_z_angstrom(sample)
        y = (np.arange(*rows) - (ny - 1) / 2) * voxel - self.hole_yx_angstrom[0]
        x = (np.arange(nx) - (nx - 1) / 2) * voxel - self.hole_yx_angstrom[1]
        beyond = np.hypot(y[:, None], x[None, :]) - HOLE_RADIUS_ANGSTROM
        half = self.thickness_angstrom / 2
        in_depth = _soft(half - np.abs(z), self.blur_angstrom)
        fraction = (in_depth[:, None, None] * _soft(beyond, self.blur_angstrom)[None]).astype(np.float32)
        electrostatic = fraction * np.float32(CARBON_POTENTIAL_V)
        for index, row in enumerate(range(*rows)):
            electrostatic[:, index] *= self._grain(row, (nz, nx))
        over_ice = absorption_potential_v("carbon", microscope.voltage_kv) - ice_absorption_v(sample, microscope)
        return electrostatic, fraction * np.float32(over_ice)

    def _grain(self, row: int, shape: tuple[int, int]) -> Volume:
        entropy, spawn_key = self.seed
        generator = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(*spawn_key, row)))
        return 1 + np.float32(GRAIN) * generator.standard_normal(shape, dtype=np.float32)

    def obstacles(self, sample: SampleParameters) -> tuple[Floats, Floats]:
        """Centres (n, 3) and radii (n,) of spheres that cover the film, for what must not be placed in it."""
        step = self.thickness_angstrom
        half = [n * sample.voxel_size_angstrom / 2 for n in sample.box_voxels[1:]]
        y, x = (axis.ravel() for axis in np.meshgrid(*(np.arange(-h, h + step, step) for h in half), indexing="ij"))
        inside = np.hypot(y - self.hole_yx_angstrom[0], x - self.hole_yx_angstrom[1]) > HOLE_RADIUS_ANGSTROM - step / 2
        centres = np.stack([np.full_like(y, self.middle_z_angstrom(sample)), y, x], axis=1)[inside]
        # Half a diagonal of the squares, and half the thickness.
        return centres, np.full(len(centres), step * math.sqrt(0.75))


def draw_carbon(sample: SampleParameters, generator: np.random.Generator, seed: Seed) -> CarbonFilm | None:
    """A film that covers a share of the field from a random side, or None where the sample has none."""
    if sample.carbon_film_nm is None:
        return None
    thickness = 10 * float(generator.uniform(*sample.carbon_film_nm))
    share = float(generator.uniform(*sample.carbon_share))
    direction, upper = float(generator.uniform(0, 2 * math.pi)), bool(generator.integers(2))
    along_y, along_x = math.sin(direction), math.cos(direction)
    half_y, half_x = (n * sample.voxel_size_angstrom / 2 for n in sample.box_voxels[1:])
    # Where along the direction the edge has to be: the hole is so large that it is nearly straight.
    steps = np.linspace(-1, 1, _SPREAD)
    projected: npt.NDArray[np.float64] = (half_y * along_y * steps[::20])[:, None] + (half_x * along_x * steps)[None, :]
    edge = float(np.quantile(projected, 1 - share))
    centre = edge - HOLE_RADIUS_ANGSTROM
    return CarbonFilm(
        thickness_angstrom=thickness,
        upper=upper,
        hole_yx_angstrom=(centre * along_y, centre * along_x),
        blur_angstrom=math.hypot(sample.motion_blur_sigma_angstrom, sample.voxel_size_angstrom / math.sqrt(12)),
        seed=seed,
    )


def _soft(depth: npt.NDArray[np.float64], sigma: float) -> npt.NDArray[np.float64]:
    """1 well inside, 0 well outside, blurred at depth 0."""
    soft: npt.NDArray[np.float64] = 0.5 * (1 + erf(depth / (math.sqrt(2) * max(sigma, 1e-6))))
    return soft
