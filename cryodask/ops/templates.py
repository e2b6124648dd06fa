"""Templates: a density, as the tomogram shows it at any orientation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import scipy.fft

from cryodask.backend import Array, as_device_array, to_host
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
FILTER_BOX_FACTOR = 1.4
"""Box in which a rotated template is filtered, over the box of its mask: room for the wedge's streaks."""

FRINGE_ANGSTROM = 40.0
"""Room around the filter box for the CTF's fringes, which reach wavelength x defocus x k: 25 angstrom at 5 um, 1/40."""

MASK_NEGLIGIBLE = 1e-3
"""Share of a mask file's largest weight below which it does not widen the mask's box."""

OVERSAMPLING = 3
"""Fine voxels per tomogram voxel: trilinear interpolation of 10 angstrom voxels then damps 1/40 angstrom by 2 %."""


def template_settings() -> dict[str, float]:
    """The constants above: like parameters they decide scores, so they are part of a search's token."""
    return {
        "mask_edge_sigma_voxels": MASK_EDGE_SIGMA_VOXELS,
        "filter_box_factor": FILTER_BOX_FACTOR,
        "fringe_angstrom": FRINGE_ANGSTROM,
        "oversampling": OVERSAMPLING,
    }


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
    mask: BlockSource | None = None
    """Weights on the grid of the density, to be turned with it, in place of the sphere."""


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
    phase_flipped: bool = False
    """Whether the tomogram's phases were corrected, so that all frequencies have the contrast of the lowest."""
    whitening: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Frequencies (1/angstrom) and gains of the whitening filter."""

    def radial(self, k: npt.NDArray[np.float32], *, contrast: bool) -> npt.NDArray[np.float32]:
        """Gain at frequency ``k``; with ``contrast`` the image formation as well, as for a template."""
        gain = gaussian_low_pass(k, self.low_pass_angstrom)
        if self.whitening is not None:
            gain = gain * apply_radial_profile(k, *(np.asarray(part) for part in self.whitening))
        if contrast:
            gain = gain * self._transfer(k)
        return np.asarray(gain, dtype=np.float32)

    def _transfer(self, k: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | float:
        if not self.optics:
            return -1.0 if self.dark else 1.0
        transfer: npt.NDArray[np.float32] = phase_contrast_transfer(k, **self.optics)
        return -np.abs(transfer) if self.phase_flipped else transfer


@dataclass(frozen=True, eq=False)
class FineTemplate:
    """A template ready to be rotated: radial filters applied, sampled finely, with its mask and wedge."""

    density: Array
    zoom: float
    """Tomogram voxel over fine voxel."""
    mask: Array
    """The sphere; of a mask that turns with the template, its box, unturned."""
    wedge: Array | None
    """In the layout of ``rfftn`` of the filter box, None for no wedge."""
    box: tuple[int, int, int]
    reach_voxels: int
    """Half width of the mask's box: the halo that a tile needs."""
    turning_mask: Array | None = None
    """Sampled as finely as the density, None for the sphere."""

    def at_rotations(self, matrices: npt.NDArray[np.float64]) -> Iterator[Array]:
        """Masked, normalised template at each rotation (n, 3, 3)."""
        for template, _ in self.with_masks(matrices):
            yield template

    def with_masks(self, matrices: npt.NDArray[np.float64]) -> Iterator[tuple[Array, Array]]:
        """The same, each with the mask that it is under."""
        mask = self.mask
        shape = (mask.shape[0], mask.shape[1], mask.shape[2])
        # Only a filter needs room around the mask.
        room = shape if self.wedge is None else self.box
        for matrix in matrices:
            rotated = rotate_volume(self.density, matrix, output_shape=room, zoom=self.zoom, order=1)
            if self.turning_mask is not None:
                mask = rotate_volume(self.turning_mask, matrix, output_shape=shape, zoom=self.zoom, order=1)
            yield prepare_template(rotated, mask, self.wedge), mask

    def on(self, like: Array) -> FineTemplate:
        """The same template with its arrays on the device of ``like``."""
        density, mask, wedge, turning = (
            None if values is None else as_device_array(to_host(values), like)
            for values in (self.density, self.mask, self.wedge, self.turning_mask)
        )
        return replace(self, density=density, mask=mask, wedge=wedge, turning_mask=turning)


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
    weights = None if source.mask is None else np.asarray(source.mask.read((slice(None),) * 3), dtype=np.float32)
    if weights is not None:
        mask_side = 2 * math.ceil(mask_extent(weights) * voxel / target) + 1
    box_side = _next_odd_fast_length(math.ceil(FILTER_BOX_FACTOR * mask_side))
    room = math.ceil((box_side * target + 2 * FRINGE_ANGSTROM) / voxel)
    padded = _centred(density, _next_odd_fast_length(room))
    spectrum = _SmallSpectrum.of(padded, voxel, highest=0.5 / target)
    filtered, fine_voxel = spectrum.filtered(search).on_grid_of(target / OVERSAMPLING)
    box = (box_side,) * 3
    wedge = None if search.tilt_deg is None else wedge_mask(box, search.tilt_deg, density)
    zoom = target / fine_voxel
    fine = _centred(filtered, math.ceil(box_side * zoom) + 2)
    if weights is None:
        mask = soft_sphere_mask((mask_side,) * 3, radius_voxels, MASK_EDGE_SIGMA_VOXELS, density)
        reach = math.ceil(mask_reach_voxels(radius_voxels, MASK_EDGE_SIGMA_VOXELS))
        return FineTemplate(fine, zoom, mask, wedge, box, reach)
    turning = _on_grid(weights, fine_voxel / voxel, 2 * math.ceil(mask_side * zoom / 2) + 3)
    mask = _on_grid(weights, target / voxel, mask_side)
    return FineTemplate(fine, zoom, mask, wedge, box, mask_side // 2, turning)


def mask_extent(weights: Volume) -> float:
    """Distance in voxels, from the middle of the box, of the farthest weight that counts; DataError if none does.

    Half a voxel and the reach of trilinear interpolation are added.
    """
    if not (np.all(np.isfinite(weights)) and weights.min() >= 0 and weights.max() > 0):
        raise DataError("a mask needs finite weights that are not negative, and some above 0")
    places = np.argwhere(weights > MASK_NEGLIGIBLE * weights.max()) - (np.array(weights.shape) - 1) / 2
    return float(np.linalg.norm(places, axis=1).max()) + 1.0


def _on_grid(weights: Volume, zoom: float, side: int) -> Volume:
    """Weights on a cube of ``side`` voxels that are ``zoom`` of theirs wide, about the same centre."""
    return np.asarray(rotate_volume(weights, np.eye(3), output_shape=(side,) * 3, zoom=zoom, order=1))


def _next_odd_fast_length(least: int) -> int:
    """Smallest odd length that the FFT likes: a template's box must have a centre voxel."""
    length = least | 1
    while scipy.fft.next_fast_len(length) != length:
        length += 2
    return length


def fine_template_bytes(radius_angstrom: float, density_voxel_angstrom: float, voxel_size_angstrom: float) -> int:
    """Peak bytes of ``fine_template``: the padded cube, its spectrum, and the fine cube made of it."""
    mask_side = template_box_size(radius_angstrom / voxel_size_angstrom, MASK_EDGE_SIGMA_VOXELS)
    length = FILTER_BOX_FACTOR * mask_side * voxel_size_angstrom + 2 * FRINGE_ANGSTROM
    # The next fast odd length is up to a tenth longer.
    padded, fine = (1.1 * length / voxel for voxel in (density_voxel_angstrom, voxel_size_angstrom / OVERSAMPLING))
    return int(4 * (4 * padded**3 + 3 * fine**3))


def _centred(density: Volume, side: int) -> Volume:
    """The density in an odd cube of at least ``side``, centre (N - 1) / 2 kept; cut where larger, zeros around."""
    side |= 1
    for axis, n in enumerate(density.shape):
        if n % 2 == 0:
            # Half a voxel would have to be interpolated: an even axis gets its centre on a voxel by a Fourier shift.
            density = _shifted_half(density, axis)
    into, of = [], []
    for n in density.shape:
        low = abs(side - n) // 2
        into.append(slice(low, low + n) if side >= n else slice(None))
        of.append(slice(None) if side >= n else slice(low, low + side))
    out = np.zeros((side,) * 3, np.float32)
    out[tuple(into)] = density[tuple(of)]
    return out


def _shifted_half(density: Volume, axis: int) -> Volume:
    """One voxel longer along ``axis``, content moved by half a voxel, so that the centre lies on a voxel again."""
    longer = np.concatenate([density, np.zeros_like(density[(slice(None),) * axis + (slice(0, 1),)])], axis=axis)
    n = longer.shape[axis]
    frequencies = np.fft.rfftfreq(n).astype(np.float32)
    phase = np.exp(-1j * np.pi * frequencies).reshape([-1 if a == axis else 1 for a in range(3)])
    moved = scipy.fft.irfft(scipy.fft.rfft(longer, axis=axis) * phase, n=n, axis=axis)
    return np.asarray(moved, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _SmallSpectrum:
    """Transform of an odd cube, without the frequencies that the tomogram cannot hold (which most of it are)."""

    values: npt.NDArray[np.complex64]
    """(2 n + 1, 2 n + 1, n + 1), FFT order."""
    side: int
    """Voxels along the cube, before frequencies were left out."""
    voxel: float

    @classmethod
    def of(cls, cube: Volume, voxel: float, *, highest: float) -> _SmallSpectrum:
        side = cube.shape[0]
        kept = min(side // 2, math.floor(highest * side * voxel))
        rows = np.r_[0 : kept + 1, side - kept : side]
        return cls(rfftn(cube)[np.ix_(rows, rows, np.arange(kept + 1))], side, voxel)

    def filtered(self, search: SearchFilter) -> _SmallSpectrum:
        """Image formation and the search's radial filters applied; nothing is left beyond the highest frequency."""
        n = self.values.shape[0]
        # Frequencies of a cube of n samples over the same length: k = index / (side * voxel).
        k = radius((n, n, n), self.side * self.voxel / n, self.values.real, real=True)
        inside = k <= (n // 2) / (self.side * self.voxel) + 1e-9
        return replace(self, values=self.values * (search.radial(k, contrast=True) * inside))

    def on_grid_of(self, voxel: float) -> tuple[Volume, float]:
        """Back in real space, about the same centre, on the odd cube whose voxels are just below ``voxel``."""
        n = self.values.shape[0]
        count = _next_odd_fast_length(max(n, math.ceil(self.side * self.voxel / voxel)))
        half = n // 2
        rows = np.r_[0 : half + 1, count - half : count]
        fine = np.zeros((count, count, count // 2 + 1), np.complex64)
        fine[np.ix_(rows, rows, np.arange(half + 1))] = self._recentred(count)
        scale = np.float32((count / self.side) ** 3)
        return irfftn(fine, (count,) * 3) * scale, self.side * self.voxel / count

    def _recentred(self, count: int) -> npt.NDArray[np.complex64]:
        """Sample 0 of both grids coincides; this moves the content by the difference of their centres."""
        n = self.values.shape[0]
        periods = (self.side - 1) / (2 * self.side) - (count - 1) / (2 * count)
        moved = self.values
        for axis, numbers in enumerate((np.fft.fftfreq(n) * n, np.fft.fftfreq(n) * n, np.fft.rfftfreq(n) * n)):
            phase = np.exp(2j * np.pi * numbers * periods).astype(np.complex64)
            moved = moved * phase.reshape([-1 if a == axis else 1 for a in range(3)])
        return moved
