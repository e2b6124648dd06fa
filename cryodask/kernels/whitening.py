"""A tomogram whose noise is white inside the wedge, so that a scalar product with any unit image has deviation 1.

Weighted back-projection leaves noise of unequal strength: at fixed |k| its power goes as ``sqrt(kx^2 + kz^2) / |k|``
(tilt axis y), because the ramp weighs what the tilts sample too densely. That shape is divided out first, what is left
is measured in shells. The shape is the same after a flip of any axis, so that searches by parity classes still hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cryodask.backend import Array, namespace
from cryodask.errors import DataError
from cryodask.kernels.fourier import frequencies, irfftn, radius, rfftn
from cryodask.kernels.spectrum import apply_radial_profile, radial_average
from cryodask.kernels.templates import wedge_mask

LEAST_RATIO = 0.12
"""Of sqrt(kx^2 + kz^2) to |k|: near the tilt axis the ramp's zero would blow up what is hardly measured."""

PASS, STOP = 0.8, 20 / 21
"""Shares of the Nyquist frequency up to which everything, and from which on nothing is kept."""

SHELL_WIDTH = 1 / 120
"""Of the measured spectrum, in 1/voxel."""

CLIP = 6.0
"""Values beyond so many deviations are cut: gold's remains, the tomogram's faces."""


def ramp_amplitude(shape: Sequence[int], like: Array) -> Array:
    """Relative amplitude of a ramp-weighted back-projection's noise, in the layout of ``rfftn``; tilt axis y."""
    xp = namespace(like)
    kz, _, kx = frequencies(shape, 1.0, like, real=True)
    k = radius(shape, 1.0, like, real=True)
    across = xp.sqrt(kz * kz + kx * kx)
    ratio = across / xp.where(k > 0, k, xp.ones_like(k))
    ratio = xp.where(ratio > LEAST_RATIO, ratio, xp.full_like(ratio, LEAST_RATIO))
    return xp.sqrt(ratio)


def pass_band(shape: Sequence[int], like: Array) -> Array:
    """1 at low frequencies, a cosine edge, 0 before the Nyquist frequency, in the layout of ``rfftn``."""
    xp = namespace(like)
    share = (2 * radius(shape, 1.0, like, real=True) - PASS) / (STOP - PASS)
    share = xp.where(share > 0, share, xp.zeros_like(share))
    share = xp.where(share < 1, share, xp.ones_like(share))
    return 0.5 + 0.5 * xp.cos(math.pi * share)


def whitened(volume: Array, tilt_deg: Sequence[float] | None) -> Array:
    """The volume (z, y, x) filtered so that noise has unit variance in every measured frequency of the pass band.

    With noise of that kind ``<V, u>`` has mean 0 and variance 1 for every image u of unit length inside wedge and band.

    Parameters
    ----------
    volume
        Real, finite; beads and the like masked.
    tilt_deg
        Tilts behind it; None for no wedge.

    Raises
    ------
    DataError
        The volume is constant.
    """
    xp = namespace(volume)
    deviation = float(xp.std(volume))
    if not (math.isfinite(deviation) and deviation > 0):
        raise DataError("the tomogram is constant or not finite: there is nothing to pick")
    centred = volume - float(xp.mean(volume))
    limit = CLIP * deviation
    clipped = xp.where(centred > limit, xp.full_like(centred, limit), centred)
    clipped = xp.where(clipped < -limit, xp.full_like(clipped, -limit), clipped)
    shape = tuple(int(n) for n in volume.shape)
    spectrum = rfftn(clipped) / ramp_amplitude(shape, volume)
    k = radius(shape, 1.0, volume, real=True)
    inside = xp.ones_like(k) if tilt_deg is None else wedge_mask((shape[0], shape[1], shape[2]), tilt_deg, volume)
    power = xp.real(spectrum) ** 2 + xp.imag(spectrum) ** 2
    count = math.ceil(math.sqrt(3) / 2 / SHELL_WIDTH) + 1
    profile = radial_average(power, k, SHELL_WIDTH, count, inside)
    # The first shell holds the mean and little else; shells without a measured frequency get their neighbour's.
    measured = np.flatnonzero(profile > 0)
    filled = np.interp(np.arange(count), measured[measured > 0], profile[measured[measured > 0]])
    centres = SHELL_WIDTH * np.arange(count)
    gain = apply_radial_profile(k, centres, 1 / np.sqrt(filled))
    gain = gain * inside * pass_band(shape, volume)
    gain = xp.where(k > 0, gain, xp.zeros_like(gain))
    scale = math.sqrt(float(np.prod(shape)))
    return irfftn(spectrum * gain * scale, shape)
