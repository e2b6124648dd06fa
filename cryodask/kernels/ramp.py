"""What makes back-projection quantitative: the ramp filter along each line, and the angular share of each tilt."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import scipy.fft

from cryodask.backend import Array, as_device_array, device_of, namespace
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.fourier import irfftn, rfftn

RampWindow: TypeAlias = Literal["ram-lak", "shepp-logan", "hamming", "hann"]

_WINDOWS: dict[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "ram-lak": np.ones_like,
    "shepp-logan": lambda nu: np.sinc(nu / 2),
    "hamming": lambda nu: 0.54 + 0.46 * np.cos(np.pi * nu),
    "hann": lambda nu: 0.5 + 0.5 * np.cos(np.pi * nu),
}
"""Attenuation by frequency as a fraction of Nyquist, 1 at frequency 0."""

_SAME_TILT_DEG = 1e-3
"""Tilts closer than this are one direction measured more than once; no goniometer resolves it."""

_HALF_TURN_DEG = 180.0


def filter_tilts(
    tilts: Array,
    *,
    window: RampWindow = "ram-lak",
    oversampling: int = 1,
    response: npt.NDArray[np.float64] | None = None,
) -> Array:
    """Ramp-filter the lines of a tilt series along x, ready for ``backproject``.

    Each line is padded with zeros to at least twice its length and convolved with the band-limited ramp
    |k|, k in cycles per pixel, sampled in real space (Ramachandran and Lakshminarayanan 1971; Kak and Slaney 1988,
    eq. 3.61). Sampling |k| in Fourier space instead would put the mean to zero and darken large objects.

    Args:
        tilts: (n_tilts, ny, nx), float32 or float64. Line sums of the density, one voxel being one unit of length.
            Subtract a constant background first: the edge of a background that is not 0 acts as an object.
        window: attenuation of high frequencies: none (ram-lak), sinc (shepp-logan), or raised cosines that leave
            8 % (hamming) or nothing (hann) at Nyquist.
        oversampling: samples to a pixel in the result. With 2, linear interpolation in ``backproject`` is about four
            times more accurate; memory doubles.
        response: transfer function in place of the windowed ramp, (n_tilts or 1, padded_length(nx) // 2 + 1).

    Returns:
        (n_tilts, ny, oversampling * nx), dtype of ``tilts``. Sample j lies at detector pixel j / oversampling. Units
        are those of density per radian: the sum over tilts, each times its angular share, is the density.

    Raises:
        ConfigError: unknown window, an oversampling that is not a positive integer, or a response of another shape.
        DataError: ``tilts`` is not a float32 or float64 array with three axes.
    """
    if window not in _WINDOWS:
        raise ConfigError(f"unknown ramp window {window!r}: choose one of {', '.join(get_args(RampWindow))}")
    if oversampling != int(oversampling) or oversampling < 1:
        raise ConfigError(f"oversampling must be a positive integer, got {oversampling!r}")
    xp = namespace(tilts)
    if tilts.ndim != 3 or tilts.dtype not in (xp.float32, xp.float64):
        raise DataError(
            f"tilts to filter are float32 or float64 with axes (tilt, y, x), got {tilts.dtype} {tilts.shape}"
        )

    n_tilts, ny, nx = tilts.shape
    padded_nx = padded_length(nx)
    if response is None:
        response = ramp_response(padded_nx, window)[None]
    if response.ndim != 2 or response.shape[1] != padded_nx // 2 + 1 or len(response) not in (1, n_tilts):
        raise ConfigError(
            f"a response of shape {response.shape} does not fit {n_tilts} tilts with lines of {nx} pixels"
        )
    response = oversampling * response
    if oversampling > 1:
        # The Nyquist coefficient stands for +k and -k at once; the longer line has a place for each of them.
        response[:, -1] /= 2
    factors = xp.astype(as_device_array(response, tilts), tilts.dtype)

    filtered = xp.empty((n_tilts, ny, oversampling * nx), dtype=tilts.dtype, device=device_of(tilts))
    padded = xp.zeros((ny, padded_nx), dtype=tilts.dtype, device=device_of(tilts))
    for tilt in range(n_tilts):
        padded[:, :nx] = tilts[tilt, :, :]
        factor = factors[tilt % len(response), :]
        lines = irfftn(rfftn(padded, axes=(-1,)) * factor, (oversampling * padded_nx,), axes=(-1,))
        filtered[tilt, :, :] = lines[:, : oversampling * nx]
    return filtered


def angular_shares(tilt_deg: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Part of the half turn that each tilt stands for, in radians: its weight in the sum over tilts.

    A tilt stands for half the gap to each neighbour. The first and the last tilt have one neighbour, and its half-gap
    is taken on both sides, but no more than half of what is left to the half turn, as a direction and its opposite
    are the same. So 180 tilts one degree apart get one degree each, and the shares of any series add up to the range
    that it covers. Tilts of one angle divide its share evenly; a single angle stands for the whole half turn.

    Args:
        tilt_deg: (n_tilts,) tilt angles in degrees, in any order, within a range of 180.

    Returns:
        (n_tilts,) float64, radians, in the order of ``tilt_deg``.

    Raises:
        ConfigError: no angles, angles that are not finite, or a range above 180 degrees.
    """
    angles = np.asarray(tilt_deg, dtype=np.float64)
    if angles.ndim != 1 or angles.size == 0 or not np.all(np.isfinite(angles)):
        raise ConfigError(f"tilt angles must be a list of finite degrees, got {angles.tolist()}")
    order = np.argsort(angles, kind="stable")
    ascending = angles[order]
    remainder = _HALF_TURN_DEG - float(ascending[-1] - ascending[0])
    if remainder < 0:
        raise ConfigError(
            f"tilt angles run from {ascending[0]} to {ascending[-1]} degrees: opposite directions are the same, "
            "so keep them within a range of 180"
        )

    is_new = np.concatenate([[True], np.diff(ascending) > _SAME_TILT_DEG])
    gaps = np.diff(ascending[is_new])
    if gaps.size == 0:
        shares = np.array([_HALF_TURN_DEG])
    else:
        before = np.concatenate([[min(gaps[0], remainder)], gaps])
        after = np.concatenate([gaps, [min(gaps[-1], remainder)]])
        shares = (before + after) / 2

    direction = np.cumsum(is_new) - 1
    result = np.empty_like(angles)
    result[order] = np.deg2rad((shares / np.bincount(direction))[direction])
    return result


def padded_length(nx: int) -> int:
    """Samples of a line of ``nx`` pixels with zeros behind it, even and easy to transform."""
    return 2 * scipy.fft.next_fast_len(nx, real=True)


def ramp_response(n: int, window: RampWindow = "ram-lak") -> npt.NDArray[np.float64]:
    """Transfer function (n // 2 + 1,) of the ramp for periodic lines of ``n`` (even) samples."""
    kernel = np.zeros(n)
    kernel[0] = 1 / 4
    odd = np.arange(1, n // 2 + 1, 2)
    kernel[odd] = -1 / (math.pi * odd) ** 2
    kernel[-odd] = kernel[odd]
    fraction_of_nyquist = np.linspace(0, 1, n // 2 + 1)
    return np.asarray(np.fft.rfft(kernel).real * _WINDOWS[window](fraction_of_nyquist))
