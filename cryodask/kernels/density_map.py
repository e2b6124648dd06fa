"""A blurred density map made as sharp as a simulation needs it, on a grid as fine as it needs it."""

from __future__ import annotations

import math

from cryodask.backend import Array, namespace
from cryodask.errors import ConfigError
from cryodask.kernels.fourier import irfftn, radius, rfftn

STRONGEST_GAIN = 100.0
"""Frequencies that the blur has left less than one part in this of are not restored: they are rounding noise."""

ROLL_OFF = 0.75
"""Share of the highest kept frequency from which the spectrum falls to zero, as a cosine: little ringing."""


def cutoff_frequency(voxel_size_angstrom: float, blur_sigma_angstrom: float, finest_voxel_angstrom: float) -> float:
    """Highest frequency in 1/angstrom that a map can give: its own grid's, the target grid's, or the blur's limit."""
    nyquist = 0.5 / max(voxel_size_angstrom, finest_voxel_angstrom)
    if blur_sigma_angstrom == 0:
        return nyquist
    return min(nyquist, math.sqrt(math.log(STRONGEST_GAIN) / 2) / (math.pi * blur_sigma_angstrom))


def reblurred(
    density: Array,
    *,
    voxel_size_angstrom: float,
    blur_sigma_angstrom: float,
    target_sigma_angstrom: float,
    cutoff: float,
    upsampling: int = 1,
) -> Array:
    """Exchange the Gaussian blur of a density (z, y, x) for another, and sample it ``upsampling`` times as finely.

    The density is periodic: pad it with zeros first, by at least the larger blur's reach. Frequencies from ``cutoff``
    (1/angstrom) on are zero. Sample ``upsampling * i`` of the result lies on sample i of the input; the mean stays.

    Raises
    ------
    ConfigError
        ``upsampling`` is below 1, a sigma is negative, or ``cutoff`` is not within the grid's Nyquist frequency.
    """
    nyquist = 0.5 / voxel_size_angstrom
    if upsampling < 1 or min(blur_sigma_angstrom, target_sigma_angstrom) < 0 or not 0 < cutoff <= nyquist * (1 + 1e-9):
        raise ConfigError(
            f"cannot deconvolve: upsampling {upsampling}, sigmas {blur_sigma_angstrom} and {target_sigma_angstrom} "
            f"angstrom, cut-off {cutoff} of at most {nyquist} 1/angstrom"
        )
    xp = namespace(density)
    k = radius(density.shape, voxel_size_angstrom, density, real=True)
    gain = xp.exp(2 * math.pi**2 * (blur_sigma_angstrom**2 - target_sigma_angstrom**2) * k**2)
    fall = xp.clip((k / cutoff - ROLL_OFF) / (1 - ROLL_OFF), 0.0, 1.0)
    # Beyond the cut-off the gain may overflow: it must not meet the zero of the roll-off.
    window = xp.where(k < cutoff, gain * (0.5 + 0.5 * xp.cos(math.pi * fall)), xp.zeros_like(k))
    spectrum = rfftn(density) * window
    shape = tuple(int(n) for n in density.shape)
    if upsampling == 1:
        return irfftn(spectrum, shape)
    fine = tuple(upsampling * n for n in shape)
    return irfftn(_zero_padded(spectrum, shape, fine) * upsampling**3, fine)


def _zero_padded(spectrum: Array, shape: tuple[int, ...], fine: tuple[int, ...]) -> Array:
    """The same frequencies in the transform of a finer grid; those at the coarse grid's Nyquist must be zero."""
    xp = namespace(spectrum)
    padded = xp.zeros((fine[0], fine[1], fine[2] // 2 + 1), dtype=spectrum.dtype, device=spectrum.device)
    (nz, ny, _), last = shape, spectrum.shape[-1]
    for from_z, to_z in _halves(nz, fine[0]):
        for from_y, to_y in _halves(ny, fine[1]):
            padded[to_z, to_y, :last] = spectrum[from_z, from_y, :]
    return padded


def _halves(n: int, fine: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Non-negative and negative frequencies along one axis, in the coarse and in the fine transform."""
    positive, negative = (n + 1) // 2, n // 2
    return (slice(0, positive), slice(0, positive)), (slice(n - negative, n), slice(fine - negative, fine))
