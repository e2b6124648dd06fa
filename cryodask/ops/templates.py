"""Templates: a density, as the tomogram shows it at any orientation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy.fft

from cryodask.errors import DataError
from cryodask.kernels.fourier import irfftn, radius, rfftn
from cryodask.kernels.optics import phase_contrast_transfer
from cryodask.kernels.resample import rotate_volume
from cryodask.kernels.spectrum import apply_radial_profile, gaussian_low_pass
from cryodask.kernels.templates import (
    mask_reach_voxels,
    prepare_template,
    soft_sphere_mask,
    template_box_size,
    wedge_mask,
)
from cryodask.model.source import BlockSource

Volume = npt.NDArray[np.float32]

MASK_EDGE_SIGMA_VOXELS = 1.0
FILTER_BOX_FACTOR = 1.5
"""Box in which a rotated template is filtered, over the box of its mask: room for the wedge's streaks."""

FRINGE_ANGSTROM = 40.0
"""Room around the filter box for the CTF's fringes, which reach wavelength x defocus x k: 25 angstrom at 5 um, 1/40."""

OVERSAMPLING = 3
"""Least fine voxels per tomogram voxel, so that trilinear interpolation of the low-passed template is good enough."""


@dataclass(frozen=True, kw_only=True)
class TemplateSource:
    """Where the density of one template comes from."""

    template_id: str
    density: BlockSource
    """(z, y, x), positive where there is protein."""
    voxel_size_angstrom: float
    radius_angstrom: float
    """Radius of the spherical mask about the density's centre."""
    symmetry: str = "C1"
    """Point group of the density, main axis z; rotations that it makes equivalent are searched once."""


@dataclass(frozen=True, kw_only=True)
class SearchFilter:
    """What the microscope, the tilts and the search's own filters do to a density: the same for all templates."""

    voxel_size_angstrom: float
    low_pass_angstrom: float
    tilt_deg: tuple[float, ...] | None
    """Tilts behind the tomogram; None if unknown: no wedge is applied."""
    dark: bool
    """Whether particles are darker than the ice; only used without ``optics``, which tell it by themselves."""
    optics: Mapping[str, float] = field(default_factory=dict)
    """Arguments of ``phase_contrast_transfer``; empty for a tomogram of unknown or corrected CTF."""
    whitening: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Frequencies (1/angstrom) and gains of the whitening filter."""

    def radial(self, k: npt.NDArray[np.float32], *, contrast: bool) -> npt.NDArray[np.float32]:
        """Gain at frequency ``k``; with ``contrast`` the image formation as well, as for a template."""
        gain = gaussian_low_pass(k, self.low_pass_angstrom)
        if self.whitening is not None:
            gain = gain * apply_radial_profile(k, *(np.asarray(part) for part in self.whitening))
        if contrast:
            gain = gain * (phase_contrast_transfer(k, **self.optics) if self.optics else (-1.0 if self.dark else 1.0))
        return np.asarray(gain, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class FineTemplate:
    """A template ready to be rotated: radial filters applied, sampled finely, with its mask and wedge."""

    density: Volume
    zoom: float
    """Tomogram voxel over fine voxel."""
    mask: Volume
    wedge: Volume | None
    """In the layout of ``rfftn`` of the filter box, None for no wedge."""
    box: tuple[int, int, int]
    reach_voxels: int
    """Half width of the mask's box: the halo that a tile needs."""

    def at_rotations(self, matrices: npt.NDArray[np.float64]) -> Iterator[Volume]:
        """Masked, normalised template at each rotation (n, 3, 3)."""
        for matrix in matrices:
            rotated = rotate_volume(self.density, matrix, output_shape=self.box, zoom=self.zoom, order=1)
            yield prepare_template(rotated, self.mask, self.wedge)


def fine_template(source: TemplateSource, search: SearchFilter) -> FineTemplate:
    """Apply everything radial to the unrotated density once: radial filters commute with rotation, the wedge does not.

    Frequencies beyond the tomogram's Nyquist are removed here too, so that sampling it at the tomogram's voxels does
    not fold them back.
    """
    density = np.asarray(source.density.read((slice(None),) * 3), dtype=np.float32)
    if not np.all(np.isfinite(density)):
        raise DataError(f"template {source.template_id}: its density holds values that are not finite")
    voxel = source.voxel_size_angstrom
    target = search.voxel_size_angstrom
    radius_voxels = source.radius_angstrom / target
    mask_side = template_box_size(radius_voxels, MASK_EDGE_SIGMA_VOXELS)
    box_side = mask_side + 2 * round((FILTER_BOX_FACTOR - 1) * mask_side / 2)
    refine = max(1, int(np.ceil(OVERSAMPLING * voxel / target - 1e-9)))
    side = scipy.fft.next_fast_len(int(np.ceil((box_side * target + 2 * FRINGE_ANGSTROM) / voxel)), real=True)
    padded = _centred(density, side)
    k = radius(padded.shape, voxel, padded, real=True)
    spectrum = rfftn(padded) * search.radial(k, contrast=True) * (k <= 0.5 / target)
    filtered = _interpolated(spectrum, side, refine)
    box = (box_side,) * 3
    mask = soft_sphere_mask((mask_side,) * 3, radius_voxels, MASK_EDGE_SIGMA_VOXELS, density)
    wedge = None if search.tilt_deg is None else wedge_mask(box, search.tilt_deg, density)
    reach = int(np.ceil(mask_reach_voxels(radius_voxels, MASK_EDGE_SIGMA_VOXELS)))
    # Without refinement the filtered grid keeps the padded one's centre; with it, see _interpolated.
    return FineTemplate(filtered, target / voxel * refine, mask, wedge, box, reach)


def fine_template_bytes(radius_angstrom: float, density_voxel_angstrom: float, voxel_size_angstrom: float) -> int:
    """Peak bytes of ``fine_template``: the fine box in real and Fourier space, with the filters' temporaries."""
    mask_side = template_box_size(radius_angstrom / voxel_size_angstrom, MASK_EDGE_SIGMA_VOXELS)
    side = (FILTER_BOX_FACTOR * mask_side * voxel_size_angstrom + 2 * FRINGE_ANGSTROM) / density_voxel_angstrom
    return int(10 * 4 * side**3)


def _centred(density: Volume, side: int) -> Volume:
    """The density in a cube of ``side`` (plus one where parities differ), centre (N - 1) / 2 kept; zeros around."""
    side += (side - density.shape[0]) % 2
    out = np.zeros((side,) * 3, np.float32)
    into, of = [], []
    for n in density.shape:
        surplus = side - n
        low = abs(surplus) // 2
        into.append(slice(low, low + n) if surplus >= 0 else slice(None))
        of.append(slice(None) if surplus >= 0 else slice(low, low + side))
    out[tuple(into)] = density[tuple(of)]
    return out


def _interpolated(spectrum: npt.NDArray[np.complex64], side: int, refine: int) -> Volume:
    """Back to real space on a grid ``refine`` times finer, about the same centre (an odd one, sample for sample)."""
    n = spectrum.shape[0]
    if refine == 1:
        return np.asarray(irfftn(spectrum, (n, n, n)), dtype=np.float32)
    fine = n * refine
    padded = np.zeros((fine, fine, fine // 2 + 1), np.complex64)
    half = (n - 1) // 2
    rows = np.r_[0 : half + 1, fine - half : fine]
    old = np.r_[0 : half + 1, n - half : n]
    padded[np.ix_(rows, rows, np.arange(half + 1))] = spectrum[np.ix_(old, old, np.arange(half + 1))]
    volume = np.asarray(irfftn(padded, (fine,) * 3), dtype=np.float32) * np.float32(refine**3)
    # Sample refine * i of the fine grid is sample i of the coarse one: crop so that (N - 1) / 2 is its centre again.
    return np.ascontiguousarray(volume[(slice(0, refine * (n - 1) + 1),) * 3])
