"""Less weight to detail that the beam has destroyed by the time an image is taken."""

from __future__ import annotations

import math

import numpy as np

from cryodask.backend import Array, as_device_array
from cryodask.errors import ConfigError
from cryodask.kernels import fourier

_LOW_VOLTAGE_KV = 200.0
_LOW_VOLTAGE_FACTOR = 0.8
"""Critical exposure at 200 kV relative to 300 kV (Grant and Grigorieff 2015)."""


def dose_weight(
    image: Array, *, pixel_size_angstrom: float, exposure_e_per_a2: float, voltage_kv: float = 300.0
) -> Array:
    """Multiply each frequency k of ``image`` (y, x) by exp(-exposure / (2 D(k))), D the critical exposure.

    D = 0.24499 k^-1.6649 + 2.8141 electrons per square angstrom, k in 1 / angstrom, as Grant and Grigorieff (eLife
    2015, eq. 3) measured it at 300 kV; 0.8 of it up to 200 kV. The mean is kept.

    Raises ConfigError for a pixel size that is not positive or an exposure that is negative or not finite.
    """
    if not (math.isfinite(exposure_e_per_a2) and exposure_e_per_a2 >= 0):
        raise ConfigError(f"an exposure must not be negative, got {exposure_e_per_a2!r} electrons per square angstrom")
    shape = (int(image.shape[-2]), int(image.shape[-1]))
    k = np.asarray(fourier.radius(shape, pixel_size_angstrom, np.zeros((), np.float64), real=True))
    critical = np.full(k.shape, np.inf)
    positive = k > 0
    critical[positive] = 0.24499 * k[positive] ** -1.6649 + 2.8141
    if voltage_kv <= _LOW_VOLTAGE_KV:
        critical *= _LOW_VOLTAGE_FACTOR
    weights = np.exp(-exposure_e_per_a2 / (2 * critical)).astype(fourier.real_dtype(image))
    spectrum = fourier.rfftn(image, axes=(-2, -1)) * as_device_array(weights, image)
    return fourier.irfftn(spectrum, shape, axes=(-2, -1))
