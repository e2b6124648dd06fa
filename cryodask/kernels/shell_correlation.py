"""Fourier shell correlation of two volumes: up to which resolution two halves of the data say the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, as_device_array, namespace
from cryodask.errors import DataError
from cryodask.kernels import fourier
from cryodask.kernels.spectrum import RadialProfile, cosine_taper, radial_average

HALF_SET_THRESHOLD = 0.143
"""Correlation of half sets at which the whole would correlate to 0.5 with the truth (Rosenthal and Henderson 2003)."""


def shell_correlation(one: Array, other: Array, voxel_size_angstrom: float, *, taper: float = 0.1) -> RadialProfile:
    """Correlation of two real volumes (z, y, x) over shells of spatial frequency.

    Means are subtracted and edges tapered over the fraction ``taper``, so that the box is not what correlates. Shells
    are as wide as a Fourier pixel of the longest axis and reach Nyquist.

    Returns ``k`` in 1 / angstrom and ``values`` from -1 to 1, host arrays (shells,) float64; the shell of frequency 0
    is left out.

    Raises DataError for volumes of different shape or with fewer than three axes.
    """
    if one.ndim != 3 or tuple(one.shape) != tuple(other.shape):
        raise DataError(f"two volumes of one shape are needed, got {tuple(one.shape)} and {tuple(other.shape)}")
    xp = namespace(one)
    spectra = []
    for volume in (one, other):
        tapered = volume - xp.mean(volume)
        for axis, n in enumerate(volume.shape):
            window = cosine_taper(int(n), taper, volume)
            tapered = tapered * xp.reshape(window, tuple(-1 if k == axis else 1 for k in range(3)))
        spectra.append(fourier.rfftn(tapered))
    a, b = spectra
    shape = tuple(int(n) for n in one.shape)
    width = 1 / (max(shape) * voxel_size_angstrom)
    k = fourier.radius(shape, voxel_size_angstrom, one, real=True)
    count = max(shape) // 2 + 1
    repeats = np.full(shape[-1] // 2 + 1, 2.0)
    repeats[0] = 1.0
    if shape[-1] % 2 == 0:
        repeats[-1] = 1.0
    weights = as_device_array(repeats.astype(fourier.real_dtype(one)), one)

    def mean(values: Array) -> npt.NDArray[np.float64]:
        return radial_average(values, k, width, count, weights)

    shared = mean(xp.real(a) * xp.real(b) + xp.imag(a) * xp.imag(b))
    power = mean(xp.real(a) ** 2 + xp.imag(a) ** 2) * mean(xp.real(b) ** 2 + xp.imag(b) ** 2)
    values = np.divide(shared, np.sqrt(power), out=np.zeros_like(shared), where=power > 0)
    return RadialProfile(np.arange(1, count, dtype=np.float64) * width, values[1:])


def resolution_angstrom(curve: RadialProfile, threshold: float = HALF_SET_THRESHOLD) -> float | None:
    """Where the curve first falls below ``threshold``, in angstrom, between shells linearly; None if it never does."""
    below = np.flatnonzero(curve.values < threshold)
    if not below.size:
        return None
    last = int(below[0])
    if last == 0:
        return float(1 / curve.k[0])
    high, low = float(curve.values[last - 1]), float(curve.values[last])
    part = (high - threshold) / (high - low)
    return float(1 / (curve.k[last - 1] + part * (curve.k[last] - curve.k[last - 1])))
