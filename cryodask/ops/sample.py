"""The sample: from placed particles to slabs of the grand model and its truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryodask.kernels.absorption import absorption_potential_v
from cryodask.kernels.resample import rotate_volume
from cryodask.kernels.rotations import matrix_from_zxz_deg
from cryodask.kernels.slab_rotation import PADDING_VOXELS, spline_coefficients
from cryodask.model.particles import Particles
from cryodask.model.source import BlockSource
from cryodask.ops.bodies import Body, body_classes, ice_absorption_v
from cryodask.ops.carbon import CarbonFilm
from cryodask.ops.densities import MASK_THRESHOLD_V, DensitySource
from cryodask.params.schema import MicroscopeParameters, SampleParameters

Volume = npt.NDArray[np.float32]

TRUTH_BINNING = 2
"""Truth masks are sampled as the paper's: 10 angstrom voxels for a 5 angstrom grand model."""

SLAB_VOXELS = 32
"""Rows along y that one task fills: the unit in which the grand model is computed and stored."""


def sample_slab_bytes(box_voxels: tuple[int, int, int], density_side: int) -> int:
    """Peak bytes of ``sample_slab``: potentials, padded spline coefficients and their work space, one density."""
    nz, ny, nx = box_voxels
    rows = min(SLAB_VOXELS, ny)
    slab = 4 * nz * rows * nx
    padded = 4 * (nz + 2 * PADDING_VOXELS) * rows * (nx + 2 * PADDING_VOXELS)
    return 5 * slab + 5 * padded + 3 * 4 * density_side**3


@dataclass(frozen=True, eq=False)
class SampleSlab:
    """What one task of the grand model produces: full extent in z and x, some rows along y."""

    electrostatic_v: Volume
    absorption_v: Volume
    electrostatic_spline_v: Volume
    """Cubic B-spline coefficients along z and x, as (x, z, y): every tilt needs them, and none has to compute them."""
    absorption_spline_v: Volume
    class_mask: npt.NDArray[np.uint8]
    """(z, y, x) / TRUTH_BINNING, label of the class (1-based in the order of the class list), 0 for none."""
    occupancy_mask: npt.NDArray[np.int32]
    """The same grid, 1-based position of the particle in the truth's list, 0 for none."""
    occupancy_mask_filled: npt.NDArray[np.int32]
    """The same with the channels and cavities of the particles filled."""


def sample_slab(
    particles: Particles,
    densities: Mapping[str, DensitySource],
    rows: tuple[int, int],
    sample: SampleParameters,
    microscope: MicroscopeParameters,
    bodies: Sequence[Body] = (),
    film: CarbonFilm | None = None,
) -> SampleSlab:
    """Rows ``rows[0]`` to ``rows[1]`` along y of the grand model and of the truth masks.

    ``bodies`` are what the last rows of ``particles`` stand for, in their order. A film is no part of the truth.
    """
    nz, _, nx = sample.box_voxels
    shape = (nz, rows[1] - rows[0], nx)
    electrostatic = np.zeros(shape, np.float32)
    displaced = np.zeros(shape, np.float32)
    truth = _TruthSlab(shape)
    labels = {name: label for label, name in enumerate([*sorted(densities), *body_classes(sample)], start=1)}
    centres = particles.voxels(sample.box_voxels, sample.voxel_size_angstrom)
    proteins = len(particles) - len(bodies)
    for index, (name, centre) in enumerate(zip(particles.class_id[:proteins], centres[:proteins], strict=True)):
        density = densities[name]
        window = _window(centre, density.electrostatic_v.shape[0] / 2 * density.voxel_size_angstrom, sample, rows)
        if window is None:
            continue
        matrix = matrix_from_zxz_deg(particles.zxz_deg[index])
        here = _within(window, rows)
        potential = _rotated(density.electrostatic_v, density, matrix, centre, window, sample)
        electrostatic[here] += potential
        displaced[here] += _rotated(density.displaced_fraction, density, matrix, centre, window, sample)
        truth.claim(here, potential, labels[name], index + 1)
        truth.fill_later(here, _solid(density, matrix, centre, window, sample), index + 1)
    absorption = displaced * np.float32(_absorption_contrast_v(sample, microscope))
    for index, body in enumerate(bodies, start=proteins):
        # Some voxels more than what counts as its own: beyond, nothing is left of its soft edge.
        window = _window(centres[index], body.radius_angstrom + 4 * sample.voxel_size_angstrom, sample, rows)
        if window is None:
            continue
        here = _within(window, rows)
        potential, absorbing = body.potentials(window, sample, microscope)
        electrostatic[here] += potential
        absorption[here] += absorbing
        truth.claim(here, potential, labels[body.class_id], index + 1)
    if film is not None:
        potential, absorbing = film.potentials(rows, sample, microscope)
        electrostatic += potential
        absorption += absorbing
    return SampleSlab(
        electrostatic,
        absorption,
        spline_coefficients(electrostatic),
        spline_coefficients(absorption),
        truth.class_mask,
        truth.occupancy,
        truth.filled(),
    )


Region = tuple[slice, slice, slice]


class _TruthSlab:
    """The masks of a slab while its particles come one after the other."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        truth_shape = tuple(n // TRUTH_BINNING for n in shape)
        self.class_mask = np.zeros(truth_shape, np.uint8)
        self.occupancy = np.zeros(truth_shape, np.int32)
        self._solids: list[tuple[Region, npt.NDArray[np.bool_], int]] = []

    def claim(self, here: Region, potential: Volume, label: int, particle: int) -> None:
        """Give a particle its voxels. Where the skirts of two neighbours share one, the first in the list keeps it."""
        there = _truth_region(here)
        own = (block_mean(potential) > MASK_THRESHOLD_V) & (self.occupancy[there] == 0)
        self.class_mask[there][own] = label
        self.occupancy[there][own] = particle

    def fill_later(self, here: Region, inside: npt.NDArray[np.bool_], particle: int) -> None:
        """Remember what belongs to a particle's solid shape; it gives way to every particle's own voxels."""
        self._solids.append((_truth_region(here), inside, particle))

    def filled(self) -> npt.NDArray[np.int32]:
        """The occupancy with the holes of the particles filled."""
        occupancy = self.occupancy.copy()
        for there, inside, particle in self._solids:
            occupancy[there][inside & (occupancy[there] == 0)] = particle
        return occupancy


def _within(window: Window, rows: tuple[int, int]) -> Region:
    z, y, x = (slice(a - o, b - o) for (a, b), o in zip(window, (0, rows[0], 0), strict=True))
    return z, y, x


def _truth_region(here: Region) -> Region:
    z, y, x = (slice(s.start // TRUTH_BINNING, s.stop // TRUTH_BINNING) for s in here)
    return z, y, x


def _absorption_contrast_v(sample: SampleParameters, microscope: MicroscopeParameters) -> float:
    return absorption_potential_v("protein", microscope.voltage_kv) - ice_absorption_v(sample, microscope)


Window = Sequence[tuple[int, int]]


def _window(
    centre: npt.NDArray[np.float64], reach_angstrom: float, sample: SampleParameters, rows: tuple[int, int]
) -> Window | None:
    """Voxel ranges (z, y, x) that a particle can reach, aligned to truth voxels, cut to the slab; None if outside."""
    reach = reach_angstrom / sample.voxel_size_angstrom
    limits = ((0, sample.box_voxels[0]), rows, (0, sample.box_voxels[2]))
    window = []
    for position, (low, high) in zip(centre, limits, strict=True):
        start = max(low, int(np.floor((position - reach) / TRUTH_BINNING)) * TRUTH_BINNING)
        stop = min(high, int(np.ceil((position + reach + 1) / TRUTH_BINNING)) * TRUTH_BINNING)
        if start >= stop:
            return None
        window.append((start, stop))
    return window


def _rotated(
    source: BlockSource,
    density: DensitySource,
    matrix: npt.NDArray[np.float64],
    centre: npt.NDArray[np.float64],
    window: Window,
    sample: SampleParameters,
) -> Volume:
    """The particle's density in the window, turned and moved to its place."""
    shape = (window[0][1] - window[0][0], window[1][1] - window[1][0], window[2][1] - window[2][0])
    offset = centre - np.array([start + (stop - start - 1) / 2 for start, stop in window])
    volume: Volume = rotate_volume(
        source.read((slice(None),) * 3),
        matrix,
        output_shape=shape,
        zoom=sample.voxel_size_angstrom / density.voxel_size_angstrom,
        centre_offset=(float(offset[0]), float(offset[1]), float(offset[2])),
    )
    return volume


def _solid(
    density: DensitySource,
    matrix: npt.NDArray[np.float64],
    centre: npt.NDArray[np.float64],
    window: Window,
    sample: SampleParameters,
) -> npt.NDArray[np.bool_]:
    """The particle's solid shape at the truth voxels of the window."""
    z, y, x = ((stop - start) // TRUTH_BINNING for start, stop in window)
    middle = np.array([(start + stop - 1) / 2 for start, stop in window])
    off_z, off_y, off_x = ((centre - middle) / TRUTH_BINNING).tolist()
    shape = rotate_volume(
        density.solid.read((slice(None),) * 3).astype(np.float32),
        matrix,
        output_shape=(z, y, x),
        zoom=TRUTH_BINNING * sample.voxel_size_angstrom / density.voxel_size_angstrom,
        centre_offset=(off_z, off_y, off_x),
        order=1,
    )
    return np.asarray(shape > 0.5)


def block_mean(volume: Volume) -> Volume:
    """Mean of each truth voxel's grand model voxels."""
    nz, ny, nx = (n // TRUTH_BINNING for n in volume.shape)
    blocks = volume.reshape(nz, TRUTH_BINNING, ny, TRUTH_BINNING, nx, TRUTH_BINNING)
    mean: Volume = blocks.mean(axis=(1, 3, 5))
    return mean
