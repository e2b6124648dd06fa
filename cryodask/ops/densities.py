"""From a structure, its atoms or its map, to the density of one particle on a fine grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from cryodask.errors import DataError
from cryodask.kernels.density_map import cutoff_frequency, reblurred
from cryodask.kernels.fourier import irfftn, radius, rfftn
from cryodask.kernels.potential import displaced_fraction, electrostatic_potential
from cryodask.kernels.resample import rotate_volume
from cryodask.kernels.shape import solid
from cryodask.model.source import BlockSource
from cryodask.model.structure import Atoms, DensityMap, Structure, StructureInfo
from cryodask.params.schema import SampleParameters

Volume = npt.NDArray[np.float32]

DENSITY_VOXEL_ANGSTROM = 2.5
"""Sampling of the particle densities: after the 4 angstrom blur nothing is left beyond its Nyquist frequency."""

ATOMIC_BLUR_ANGSTROM = 1.5
"""Share of the blur applied to the atoms' own Gaussians: at the grid's first alias (0.3 1/angstrom) 1 % is left."""

MASK_THRESHOLD_V = 0.5
"""A truth voxel belongs to a particle where its mean potential over the ice exceeds this (the paper's Table 1)."""

CLOSING_RADIUS_ANGSTROM = 30.0
"""Channels and cavities up to twice as wide belong to the solid shape of a particle; that of chaperonins is 45 wide."""

POTENTIAL_VA3_PER_KDA = 9050.0
DISPLACED_A3_PER_KDA = 1160.0
"""Integrals of a protein's potential (V angstrom^3, the ice it displaces not subtracted) and of the ice that it
displaces, per kDa of its full sequence: medians over the ten structures of the benchmark whose atoms are public. They
give a density map its scale."""

_TAILS_ANGSTROM = 5.0
_SUPPORT = 0.01
"""Share of a map's maximum below which it is taken as the blur's tails."""


@dataclass(frozen=True, eq=False)
class ParticleDensity:
    """One class of particle on a fine grid, unrotated, its centre of mass at the grid's centre."""

    electrostatic_v: Volume
    """(z, y, x) potential above the ice it displaces, blurred."""
    displaced_fraction: Volume
    """(z, y, x) share of the voxel's ice that the particle displaces, blurred."""
    voxel_size_angstrom: float
    radius_angstrom: float
    """Radius about the centre beyond which nothing exceeds the mask threshold."""
    solid: npt.NDArray[np.uint8]
    """(z, y, x) 1 where the potential exceeds the mask threshold, and in the channels and cavities between."""


@dataclass(frozen=True)
class DensitySource:
    """Where a task finds the density of a class."""

    electrostatic_v: BlockSource
    displaced_fraction: BlockSource
    solid: BlockSource
    voxel_size_angstrom: float
    radius_angstrom: float


def particle_density(structure: Structure, sample: SampleParameters) -> ParticleDensity:
    """Density of one structure. The box leaves room for the blur's tails on every side, however the particle turns."""
    loaded = structure.load()
    if isinstance(loaded, DensityMap):
        electrostatic, fraction = _from_map(loaded, sample)
    else:
        electrostatic, fraction = _from_atoms(loaded, sample)
    above = electrostatic > MASK_THRESHOLD_V
    inside = np.argwhere(above)
    if not len(inside):
        raise DataError(f"structure {structure.info.class_id}: its potential never exceeds {MASK_THRESHOLD_V} V")
    centre = (electrostatic.shape[0] - 1) / 2
    reached = float(np.linalg.norm(inside - centre, axis=1).max()) * DENSITY_VOXEL_ANGSTROM
    filled = solid(above, CLOSING_RADIUS_ANGSTROM / DENSITY_VOXEL_ANGSTROM).astype(np.uint8)
    return ParticleDensity(electrostatic, fraction, DENSITY_VOXEL_ANGSTROM, reached, filled)


def _side(farthest_angstrom: float, sample: SampleParameters) -> int:
    """Voxels along a side of a box that holds what reaches so far from its centre."""
    reach = farthest_angstrom + _TAILS_ANGSTROM + 3.0 * sample.motion_blur_sigma_angstrom
    return 2 * int(np.ceil(reach / DENSITY_VOXEL_ANGSTROM)) + 1


# -- from atoms ----------------------------------------------------------------------------------------------------


def _from_atoms(atoms: Atoms, sample: SampleParameters) -> tuple[Volume, Volume]:
    side = _side(float(np.linalg.norm(atoms.position_angstrom, axis=1).max()), sample)
    positions = atoms.position_angstrom + (side - 1) / 2 * DENSITY_VOXEL_ANGSTROM
    # A sharp Gaussian touches few voxels: only what keeps the grid free of aliasing is blurred atom by atom.
    atomic_sigma = min(sample.motion_blur_sigma_angstrom, ATOMIC_BLUR_ANGSTROM)
    rest_sigma = float(np.sqrt(sample.motion_blur_sigma_angstrom**2 - atomic_sigma**2))
    electrostatic = electrostatic_potential(
        atoms.scattering_a,
        atoms.scattering_b,
        positions,
        shape=(side,) * 3,
        voxel_size_angstrom=DENSITY_VOXEL_ANGSTROM,
        solvent_volume_a3=atoms.solvent_volume_a3,
        solvent_potential_v=sample.solvent_potential_v,
        blur_sigma_angstrom=atomic_sigma,
        weight=atoms.weight,
    )
    fraction = displaced_fraction(
        positions,
        atoms.solvent_volume_a3,
        shape=(side,) * 3,
        voxel_size_angstrom=DENSITY_VOXEL_ANGSTROM,
        blur_sigma_angstrom=atomic_sigma,
        weight=atoms.weight,
    )
    return _blurred(electrostatic, rest_sigma), _blurred(fraction, rest_sigma)


def _blurred(volume: Volume, sigma_angstrom: float) -> Volume:
    """Gaussian blur of a density that is zero towards its faces."""
    k = radius(volume.shape, DENSITY_VOXEL_ANGSTROM, volume, real=True)
    gain = np.exp(-2 * np.pi**2 * sigma_angstrom**2 * k**2)
    return np.asarray(irfftn(rfftn(volume) * gain, volume.shape), dtype=np.float32)


# -- from a map ----------------------------------------------------------------------------------------------------


def _from_map(given: DensityMap, sample: SampleParameters) -> tuple[Volume, Volume]:
    """The map with its own blur exchanged for the sample's, in the scale of a protein of its weight."""
    blur, target = given.blur_sigma_angstrom, sample.motion_blur_sigma_angstrom
    voxel = given.voxel_size_angstrom
    padded, centre, farthest = _padded_support(given, 3.0 * max(blur, target) + _TAILS_ANGSTROM)
    upsampling = int(np.ceil(voxel / DENSITY_VOXEL_ANGSTROM))
    sharp = reblurred(
        padded,
        voxel_size_angstrom=voxel,
        blur_sigma_angstrom=blur,
        target_sigma_angstrom=target,
        cutoff=cutoff_frequency(voxel, blur, DENSITY_VOXEL_ANGSTROM),
        upsampling=upsampling,
    )
    fine = voxel / upsampling
    off_centre = centre * upsampling - (np.array(sharp.shape) - 1) / 2
    side = _side(farthest, sample)
    z, y, x = (float(-value * fine / DENSITY_VOXEL_ANGSTROM) for value in off_centre)
    density = rotate_volume(
        sharp, np.eye(3), output_shape=(side,) * 3, zoom=DENSITY_VOXEL_ANGSTROM / fine, centre_offset=(z, y, x)
    )
    mass_kda = density * np.float32(
        given.molecular_weight_kda / (density.sum(dtype=np.float64) * DENSITY_VOXEL_ANGSTROM**3)
    )
    over_ice = POTENTIAL_VA3_PER_KDA - sample.solvent_potential_v * DISPLACED_A3_PER_KDA
    return mass_kda * np.float32(over_ice), mass_kda * np.float32(DISPLACED_A3_PER_KDA)


def _padded_support(given: DensityMap, margin_angstrom: float) -> tuple[Volume, npt.NDArray[np.float64], float]:
    """The particle alone with zeros around it, its centre of mass there (voxels), and how far it reaches (angstrom)."""
    density = given.density
    inside = np.argwhere(density > _SUPPORT * density.max())
    margin = int(np.ceil(margin_angstrom / given.voxel_size_angstrom))
    low = np.maximum(inside.min(axis=0) - margin, 0)
    high = np.minimum(inside.max(axis=0) + 1 + margin, density.shape)
    cropped = density[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    shape = [scipy.fft.next_fast_len(n + 2 * margin, real=True) for n in cropped.shape]
    before = [(n - c) // 2 for n, c in zip(shape, cropped.shape, strict=True)]
    padding = [(b, n - c - b) for b, n, c in zip(before, shape, cropped.shape, strict=True)]
    weights = density[tuple(inside.T)].astype(np.float64)
    centre = (inside * weights[:, None]).sum(axis=0) / weights.sum()
    farthest = float(np.linalg.norm(inside - centre, axis=1).max()) * given.voxel_size_angstrom
    return np.pad(cropped, padding), centre - low + before, farthest


# -- estimates before anything is read -------------------------------------------------------------------------------


def radius_estimate_angstrom(info: StructureInfo) -> float:
    """Upper guess of a particle's bounding radius before its atoms are read.

    A ball of protein of M kDa has a radius of 6.6 M^(1/3) angstrom; the most elongated of the usual complexes reach
    2.5 times that.
    """
    if info.mask_radius_angstrom is not None:
        return 1.3 * info.mask_radius_angstrom
    return 2.5 * 6.6 * float(np.cbrt(info.molecular_weight_kda or 1000.0))


def density_side_estimate(info: StructureInfo) -> int:
    """Voxels along a side of the density's box, from ``radius_estimate_angstrom``."""
    return 2 * int(np.ceil((radius_estimate_angstrom(info) + 17.0) / DENSITY_VOXEL_ANGSTROM)) + 1


def particle_density_bytes(info: StructureInfo) -> int:
    """Peak bytes of ``particle_density``: grids in double precision, and the list of all Gaussians of all atoms."""
    atoms = 2 * (info.molecular_weight_kda or 1000.0) * 1000 / 14
    return int(6 * 8 * density_side_estimate(info) ** 3 + atoms * (6 * 6 * 8 + 400))
