"""Give an image another radial amplitude spectrum: SHREC 2021 scales its images to an experimental series.

Each ring of the spectrum, two Fourier pixels wide, is multiplied by one factor; phases and the mean stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, device_of, namespace
from cryodask.errors import ConfigError, DataError
from cryodask.kernels import fourier
from cryodask.kernels.spectrum import radial_average, ring_filter

RING_WIDTH_PIXELS = 2
"""Of the longest axis's Fourier pixels, as in section 2.1 of the paper's data set."""

Profile = npt.NDArray[np.float64]


class RingGains(NamedTuple):
    """One factor a ring: ``width`` (1/unit of the spacing) of a ring, host array ``values`` (rings,) float64."""

    width: float
    values: Profile


def synthetic_amplitudes(k_per_angstrom: npt.ArrayLike) -> Profile:
    """A(k) = 0.3 + 1 / (1 + k / 0.006): falls as amplitudes of recorded tilt images do. Not a measured curve."""
    k = np.asarray(k_per_angstrom, dtype=np.float64)
    profile: Profile = 0.3 + 1.0 / (1.0 + k / 0.006)
    return profile


@dataclass(frozen=True, kw_only=True)
class AmplitudeCurve:
    """Amplitudes over frequency, linear between the points and constant beyond the last.

    ConfigError unless there are two points or more, at rising frequencies from 0 on, and with positive amplitudes.
    """

    k_per_angstrom: tuple[float, ...]
    amplitude: tuple[float, ...]

    def __post_init__(self) -> None:
        k, amplitude = (np.asarray(values, dtype=np.float64) for values in (self.k_per_angstrom, self.amplitude))
        if (
            len(k) < 2
            or len(k) != len(amplitude)
            or not (np.all(np.isfinite(k)) and np.all(np.diff(k) > 0) and k[0] >= 0)
        ):
            raise ConfigError(
                "a radial profile needs two or more frequencies that rise from 0 on, and as many amplitudes"
            )
        if not (np.all(np.isfinite(amplitude)) and np.all(amplitude > 0)):
            raise ConfigError(f"a radial profile's amplitudes must be positive, the least is {amplitude.min()}")

    def __call__(self, k_per_angstrom: npt.ArrayLike) -> Profile:
        """Amplitudes at ``k_per_angstrom``."""
        found: Profile = np.interp(np.asarray(k_per_angstrom, dtype=np.float64), self.k_per_angstrom, self.amplitude)
        return found


def ring_gains(
    image: Array, pixel_size_angstrom: float, profile: Callable[[npt.ArrayLike], Profile] = synthetic_amplitudes
) -> RingGains:
    """Factors that give a real image (y, x) a profile's amplitudes, the synthetic ones by default, at its own variance.

    The mean amplitude of each ring becomes c A(k) with one c for the whole image, chosen so that the image's variance
    does not change: the profile has a shape but no scale. Ring 0, the mean, keeps the factor 1.

    Raises
    ------
    ConfigError
        The pixel size is not positive.
    DataError
        The image is not a real image, or constant: an empty spectrum cannot be scaled.
    """
    xp = namespace(image)
    if not (math.isfinite(pixel_size_angstrom) and pixel_size_angstrom > 0):
        raise ConfigError(f"pixel_size_angstrom must be positive, got {pixel_size_angstrom!r}")
    if image.ndim != 2 or not xp.isdtype(image.dtype, "real floating"):
        raise DataError(f"ring scaling needs a real image (y, x), got {image.dtype} of shape {tuple(image.shape)}")
    ny, nx = image.shape
    width = RING_WIDTH_PIXELS / (max(ny, nx) * pixel_size_angstrom)
    k = fourier.radius((ny, nx), pixel_size_angstrom, image, real=True)
    amplitude = xp.abs(fourier.rfftn(image - xp.mean(image)))
    weights = _repeats(nx, image)
    measured = radial_average(amplitude, k, width, weights=weights)
    if not (np.all(np.isfinite(measured)) and np.all(measured[1:] > 0)):
        raise DataError("the image has no power in some rings of its spectrum: it cannot be scaled ring by ring")
    wanted = profile(width * np.arange(measured.size))
    values = np.concatenate([[1.0], wanted[1:] / measured[1:]])
    before = float(xp.sum(amplitude**2 * weights, dtype=xp.float64))
    after = float(xp.sum((amplitude * ring_filter(k, width, values)) ** 2 * weights, dtype=xp.float64))
    values[1:] *= math.sqrt(before / after)
    return RingGains(width, values)


def scale_rings(image: Array, gains: RingGains, pixel_size_angstrom: float) -> Array:
    """A real image (y, x) with the rings of its spectrum multiplied by ``gains``; the mean stays as it is."""
    xp = namespace(image)
    k = fourier.radius(tuple(image.shape), pixel_size_angstrom, image, real=True)
    mean = xp.mean(image)
    spectrum = fourier.rfftn(image - mean)
    spectrum = spectrum * ring_filter(k, gains.width, gains.values)
    return fourier.irfftn(spectrum, image.shape) + mean


def _repeats(nx: int, like: Array) -> Array:
    """How often each column of a half spectrum stands in the whole, (1, columns)."""
    xp = namespace(like)
    counts = [1.0] + [2.0] * (nx // 2)
    if nx % 2 == 0 and nx > 1:
        counts[-1] = 1.0
    return xp.asarray([counts], dtype=like.dtype, device=device_of(like))
