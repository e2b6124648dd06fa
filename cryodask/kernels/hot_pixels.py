"""Single pixels of a camera that shine, or are dead, taken out before an image is filtered."""

from __future__ import annotations

import math

import numpy as np

from cryodask.backend import Array, as_device_array, namespace, to_host
from cryodask.errors import ConfigError, DataError

_MOST_SUSPECTS = 0.01
"""Share of pixels above which an image is unlike what a camera makes, and is left alone."""

_NEIGHBOUR_RANGES = 3.0
"""A pixel belongs to a peak, not to the camera, if it rises less above its neighbours than they differ themselves."""


def remove_hot_pixels(image: Array, sigma: float) -> Array:
    """Replace each pixel that stands out alone by the median of its eight neighbours.

    A pixel stands out if it lies more than ``sigma`` standard deviations of the image from the mean, and from the
    median of its neighbours both that and three times the range of their values: gold beads and small particles, whose
    neighbours rise with them, stay. Returns ``image`` itself where there is none.

    Raises ConfigError for a ``sigma`` that is not positive, DataError for anything but a real image (y, x).
    """
    if not sigma > 0:
        raise ConfigError(f"sigma must be positive, got {sigma!r}")
    xp = namespace(image)
    if image.ndim != 2 or not xp.isdtype(image.dtype, "real floating"):
        raise DataError(f"an image (y, x) of real numbers is needed, got {image.dtype} {tuple(image.shape)}")
    mean = float(xp.mean(image))
    limit = sigma * float(xp.std(image))
    if not math.isfinite(limit) or max(float(xp.max(image)) - mean, mean - float(xp.min(image))) <= limit:
        return image
    host = np.array(to_host(image), copy=True)
    y, x = np.nonzero(np.abs(host - mean) > limit)
    if len(y) > _MOST_SUSPECTS * host.size or min(host.shape) < 3:
        return image
    padded = np.pad(host, 1, mode="reflect")
    around = np.stack([padded[y + 1 + dy, x + 1 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)])
    middle = np.median(around, axis=0)
    least = np.maximum(limit, _NEIGHBOUR_RANGES * np.ptp(around, axis=0))
    hot = np.abs(host[y, x] - middle) > least
    host[y[hot], x[hot]] = middle[hot]
    return as_device_array(host, image)
