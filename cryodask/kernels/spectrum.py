"""Rotationally averaged spectra, and filters that depend on the length of the frequency vector alone.

Ring i holds the frequencies from (i - 1/2) to (i + 1/2) ring widths, so that its centre is i widths and that the mean
of the image (frequency zero) is alone in ring 0 as long as rings are at most two Fourier pixels wide.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, as_device_array, device_of, fast_path, namespace, to_host
from cryodask.errors import ConfigError
from cryodask.kernels import fourier

# Many samples of a grid lie exactly on the edge of two rings. So that rounding cannot decide where they go, every edge
# is lowered by this fraction of the ring width, far above the rounding of single precision: they go outwards.
_EDGE_MARGIN = 1e-4

Profile = npt.NDArray[np.float64]


class RadialProfile(NamedTuple):
    """Ring centres ``k`` (1/unit of the spacing) and ring means ``values``: host arrays (rings,) float64."""

    k: Profile
    values: Profile


def radial_average(
    values: Array, k_radius: Array, bin_width: float, n_bins: int | None = None, weights: Array | None = None
) -> Profile:
    """Mean of ``values`` over each ring of ``k_radius`` as a host array (n_bins,) float64.

    ``values`` is a real array of any shape, ``k_radius`` one of the same shape, ``bin_width`` in its unit. Without
    ``n_bins`` the rings reach the largest radius; samples beyond the last ring are left out. ``weights``, if given,
    broadcasts to the shape of ``values`` (for example how often a sample of a half spectrum occurs in the whole). A
    ring without samples gets the value interpolated between its neighbours.
    """
    if tuple(values.shape) != tuple(k_radius.shape):
        raise ConfigError(f"values {tuple(values.shape)} and radii {tuple(k_radius.shape)} must have the same shape")
    xp = namespace(values)
    rings = _rings(k_radius, bin_width)
    count = int(xp.max(rings)) + 1 if n_bins is None else n_bins
    if count < 1:
        raise ConfigError(f"a radial average needs at least one ring, got n_bins={n_bins}")
    if weights is None:
        weights = xp.ones(values.shape, dtype=values.dtype, device=device_of(values))
    else:
        weights = xp.broadcast_to(xp.astype(weights, values.dtype), values.shape)
    sums, totals = (_ring_sums if fast_path(values) == "numba" else _ring_sums_portable)(values, weights, rings, count)
    filled = totals > 0
    if not np.any(filled):
        raise ConfigError(f"no sample lies in the {count} rings of width {bin_width}")
    centres = np.arange(count, dtype=np.float64)
    return np.interp(centres, centres[filled], sums[filled] / totals[filled])


def amplitude_profile(x: Array, spacing: float, bin_width: float | None = None) -> RadialProfile:
    """Ring means of the amplitude |F| of a real image or volume, up to the Nyquist frequency of its longest axis.

    ``spacing`` is the distance of samples, ``bin_width`` the ring width in its inverse (default: one Fourier pixel of
    the longest axis). F is the unscaled forward transform.
    """
    return _profile(x, spacing, bin_width, squared=False)


def power_profile(x: Array, spacing: float, bin_width: float | None = None) -> RadialProfile:
    """Ring means of the power |F|^2 of a real image or volume; arguments as for ``amplitude_profile``.

    White noise of variance v in N samples has the expected power N v in every ring but the first.
    """
    return _profile(x, spacing, bin_width, squared=True)


def apply_radial_profile(k_radius: Array, k: npt.ArrayLike, values: npt.ArrayLike) -> Array:
    """Filter with the shape, library and precision of ``k_radius`` that follows a radial profile.

    ``k`` (ascending) and ``values`` are host arrays (points,); between points the filter is linear, beyond the first
    and last it is constant.
    """
    points, heights = np.asarray(k, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if points.ndim != 1 or points.shape != heights.shape or points.size == 0 or np.any(np.diff(points) <= 0):
        raise ConfigError(
            f"a radial profile needs ascending frequencies and one value for each, got {points.shape} frequencies and"
            f" {heights.shape} values"
        )
    if fast_path(k_radius) == "numba":
        return np.interp(k_radius, points, heights).astype(k_radius.dtype)
    return _interpolate(k_radius, points, heights)


def ring_filter(k_radius: Array, bin_width: float, values: npt.ArrayLike) -> Array:
    """Filter with the shape, library and precision of ``k_radius`` that is constant within each ring.

    ``values`` (rings,) is a host array with one factor for each ring of ``radial_average``; beyond the last ring its
    value holds. Multiplying a spectrum by wanted over measured ring means makes its ring means exactly the wanted ones.
    """
    factors = np.asarray(values)
    if factors.ndim != 1 or factors.size == 0:
        raise ConfigError(f"a ring filter needs a list of values, one for each ring, got the shape {factors.shape}")
    xp = namespace(k_radius)
    rings = xp.astype(xp.clip(_rings(k_radius, bin_width), max=factors.size - 1), xp.int64)
    table = as_device_array(factors.astype(fourier.real_dtype(k_radius)), k_radius)
    return xp.reshape(xp.take(table, xp.reshape(rings, (-1,))), k_radius.shape)


def gaussian_low_pass(k: Array, resolution_angstrom: float) -> Array:
    """Gaussian that is 1 at k = 0 and exactly 1/2 at k = 1 / resolution: 2^(-(k d)^2). ``k`` in 1/angstrom."""
    if not (math.isfinite(resolution_angstrom) and resolution_angstrom > 0):
        raise ConfigError(f"the resolution of a low-pass filter must be positive, got {resolution_angstrom!r} angstrom")
    return namespace(k).exp(-math.log(2) * (k * resolution_angstrom) ** 2)


def cosine_taper(length: int, fraction: float, like: Array) -> Array:
    """Window (length,) of ones that rises and falls as sin^2 over ``fraction`` of the length at each end.

    ``fraction`` is between 0 (all ones) and 0.5 (a Hann window); library, device and precision are those of ``like``.
    """
    if length < 1 or not 0 <= fraction <= 0.5:
        raise ConfigError(f"a taper needs a length >= 1 and a fraction in [0, 0.5], got {length} and {fraction!r}")
    edge = math.floor(fraction * length + 0.5)
    window = np.ones(length)
    rise = np.sin(0.5 * np.pi * (np.arange(edge) + 0.5) / max(edge, 1)) ** 2
    window[:edge] = rise
    # multiplied, so that two edges which meet in the middle of an odd length stay symmetric
    window[length - edge :] *= rise[::-1]
    return as_device_array(window.astype(fourier.real_dtype(like)), like)


def _profile(x: Array, spacing: float, bin_width: float | None, *, squared: bool) -> RadialProfile:
    xp = namespace(x)
    if x.ndim < 1 or not xp.isdtype(x.dtype, "real floating"):
        raise ConfigError(f"a radial profile needs a real image or volume, got {x.dtype} of shape {tuple(x.shape)}")
    shape = tuple(int(n) for n in x.shape)
    width = 1 / (max(shape) * spacing) if bin_width is None else bin_width
    magnitude = xp.abs(fourier.rfftn(x))
    k = fourier.radius(shape, spacing, x, real=True)
    # every column but those of frequency zero and Nyquist stands for itself and for its mirror image
    repeats = np.full(shape[-1] // 2 + 1, 2.0)
    repeats[0] = 1.0
    if shape[-1] % 2 == 0:
        repeats[-1] = 1.0
    n_bins = math.floor(max(n // 2 / n for n in shape) / spacing / width + 0.5 + _EDGE_MARGIN) + 1
    values = magnitude**2 if squared else magnitude
    means = radial_average(values, k, width, n_bins, as_device_array(repeats.astype(fourier.real_dtype(x)), x))
    return RadialProfile(width * np.arange(n_bins, dtype=np.float64), means)


def _rings(k_radius: Array, bin_width: float) -> Array:
    """Number of the ring that each radius belongs to, as a floating point array."""
    if not (math.isfinite(bin_width) and bin_width > 0):
        raise ConfigError(f"the ring width must be a positive number, got {bin_width!r}")
    return namespace(k_radius).floor(k_radius / bin_width + (0.5 + _EDGE_MARGIN))


def _ring_sums(values: Array, weights: Array, rings: Array, count: int) -> tuple[Profile, Profile]:
    ring = np.minimum(rings, count).astype(np.intp).ravel()
    weighted = (values.astype(np.float64) * weights).ravel()
    sums, totals = (np.bincount(ring, w, minlength=count + 1)[:count] for w in (weighted, weights.ravel()))
    return np.asarray(sums, dtype=np.float64), np.asarray(totals, dtype=np.float64)


def _ring_sums_portable(values: Array, weights: Array, rings: Array, count: int) -> tuple[Profile, Profile]:
    """One masked sum for each ring: the standard has no scatter."""
    xp = namespace(values)
    zero = xp.zeros_like(values)
    weighted = values * weights
    sums, totals = [], []
    for ring in range(count):
        inside = rings == ring
        sums.append(xp.sum(xp.where(inside, weighted, zero), dtype=xp.float64))
        totals.append(xp.sum(xp.where(inside, weights, zero), dtype=xp.float64))
    return to_host(xp.stack(sums)), to_host(xp.stack(totals))


def _interpolate(k_radius: Array, points: Profile, heights: Profile) -> Array:
    xp = namespace(k_radius)
    slopes = np.append(np.diff(heights) / np.diff(points), 0.0)
    table = [
        as_device_array(column.astype(fourier.real_dtype(k_radius)), k_radius) for column in (points, heights, slopes)
    ]
    k = xp.clip(xp.reshape(k_radius, (-1,)), min=float(points[0]), max=float(points[-1]))
    left = xp.clip(xp.searchsorted(table[0], k, side="right") - 1, min=0, max=points.size - 1)
    start, height, slope = (xp.take(column, left) for column in table)
    return xp.reshape(height + slope * (k - start), k_radius.shape)
