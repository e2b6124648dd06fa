"""From intensity to recorded counts: quantum efficiency, shot noise and the detector's blur.

A detector with modulation transfer MTF and detective quantum efficiency DQE is a chain of three steps (the noise
transfer is NTF = MTF / sqrt(DQE)): the signal's fluctuations are filtered by sqrt(DQE) = MTF / NTF, the counts are
drawn from a Poisson distribution, and the drawn image is filtered by NTF. The recorded signal has then been multiplied
by MTF, the noise power by NTF^2, and the ratio of signal to noise power by DQE. Both filters leave the mean alone:
filtering it too would change the number of electrons that make the noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeAlias

import numpy as np

from cryodask.backend import Array, as_device_array, capabilities, namespace, to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels import fourier


@dataclass(frozen=True, kw_only=True)
class CameraCurves:
    """A camera given by its measured curves, linear between their points.

    ConfigError unless the frequencies rise from 0 to 1 (the camera's Nyquist), and all values lie in (0, 1], DQE not
    above 1 and MTF not above 1.
    """

    q: tuple[float, ...]
    """Fractions of the camera's Nyquist frequency."""
    mtf: tuple[float, ...]
    dqe: tuple[float, ...]

    def __post_init__(self) -> None:
        q, mtf, dqe = (np.asarray(values, dtype=np.float64) for values in (self.q, self.mtf, self.dqe))
        if len(q) < 2 or not len(q) == len(mtf) == len(dqe):
            raise ConfigError(f"a camera's curves need two points or more, got {len(q)}, {len(mtf)} and {len(dqe)}")
        if not (np.all(np.diff(q) > 0) and abs(q[0]) < 1e-9 and q[-1] > 1 - 1e-6):
            raise ConfigError(
                f"a camera's frequencies must rise from 0 to 1 (Nyquist), they run from {q[0]} to {q[-1]}"
            )
        for name, values in (("MTF", mtf), ("DQE", dqe)):
            if not np.all((values > 0) & (values <= 1 + 1e-9)):
                raise ConfigError(
                    f"a camera's {name} must lie above 0 and at most at 1, got {values.min()} to {values.max()}"
                )


Camera: TypeAlias = Literal["k2", "ideal"] | CameraCurves

# Gatan K2 at 300 kV: fourth-order fits, in the fraction q of the camera's Nyquist frequency, lowest power first.
_K2_DQE = (0.7539, 0.2462, -2.2393, 2.0363, -0.6196)
_K2_MTF = (0.9428, -0.1315, -0.2720, -0.2587, 0.1863)


def k2_dqe(q: Array) -> Array:
    """DQE of a K2 at 300 kV; ``q`` (array or float) is the fraction of the camera's Nyquist frequency, 0 to 1."""
    return _polynomial(_K2_DQE, q)


def k2_mtf(q: Array) -> Array:
    """MTF of a K2 at 300 kV; ``q`` (array or float) is the fraction of the camera's Nyquist frequency, 0 to 1."""
    return _polynomial(_K2_MTF, q)


def k2_ntf(q: Array) -> Array:
    """Noise transfer MTF / sqrt(DQE) of a K2 at 300 kV."""
    return k2_mtf(q) / k2_dqe(q) ** 0.5


def detect(
    intensity: Array,
    *,
    dose_e_per_a2: float,
    pixel_size_angstrom: float,
    camera: Camera = "k2",
    oversampling: int = 2,
    generator: np.random.Generator,
) -> Array:
    """Recorded image of an intensity, in electrons per pixel, with the camera's noise.

    ``intensity`` is real (y, x), 1 for the undisturbed beam; ``dose_e_per_a2`` the dose of this image. A pixel of the
    image is ``oversampling`` pixels of the camera wide, so the image's Nyquist frequency is that fraction of the
    camera's. Where the filtered signal would be negative it counts as 0. Dtype and shape are those of ``intensity``;
    counts are not whole numbers any more unless the camera is ``"ideal"`` (DQE = MTF = 1).

    Raises
    ------
    ConfigError
        Dose or pixel size not positive, oversampling below 1, unknown camera.
    DataError
        The intensity is not a real image.
    """
    xp = namespace(intensity)
    q = _camera_frequencies(intensity, camera, oversampling)
    electrons = _electrons_per_pixel(dose_e_per_a2, pixel_size_angstrom)
    expected = electrons * _filter_fluctuations(intensity, camera, q, _Curve.SQRT_DQE)
    counts = capabilities(expected).poisson(xp.clip(expected, min=0.0), generator)
    return _filter_fluctuations(counts, camera, q, _Curve.NTF)


def expected_signal(
    intensity: Array,
    *,
    dose_e_per_a2: float,
    pixel_size_angstrom: float,
    camera: Camera = "k2",
    oversampling: int = 2,
) -> Array:
    """Image of which ``detect`` is a noisy version: the mean over many of its images, in electrons per pixel.

    The fluctuations are filtered by MTF, the mean is kept. Equal to the mean of ``detect`` as long as no pixel had to
    be kept from being negative. Arguments and errors as for ``detect``.
    """
    q = _camera_frequencies(intensity, camera, oversampling)
    electrons = _electrons_per_pixel(dose_e_per_a2, pixel_size_angstrom)
    return electrons * _filter_fluctuations(intensity, camera, q, _Curve.MTF)


class _Curve(Enum):
    """What a step of the chain filters by."""

    SQRT_DQE = "sqrt_dqe"
    MTF = "mtf"
    NTF = "ntf"


def _filter_fluctuations(image: Array, camera: Camera, q: Array, curve: _Curve) -> Array:
    """Multiply every frequency but zero by the camera's curve."""
    if camera == "ideal":
        return image
    xp = namespace(image)
    mean = xp.mean(image)
    spectrum = fourier.rfftn(image - mean)
    spectrum *= _k2(curve, q) if camera == "k2" else _measured(camera, curve, q)
    return fourier.irfftn(spectrum, image.shape) + mean


def _k2(curve: _Curve, q: Array) -> Array:
    if curve is _Curve.SQRT_DQE:
        return k2_dqe(q) ** 0.5
    return k2_mtf(q) if curve is _Curve.MTF else k2_ntf(q)


def _measured(camera: CameraCurves, curve: _Curve, q: Array) -> Array:
    """A camera's own curve at ``q``; linear interpolation is not part of the array standard, so on the host."""
    at = to_host(q).astype(np.float64)
    mtf, dqe = (np.interp(at, camera.q, values) for values in (camera.mtf, camera.dqe))
    values = {_Curve.MTF: mtf, _Curve.SQRT_DQE: dqe**0.5, _Curve.NTF: mtf / dqe**0.5}[curve]
    return as_device_array(values.astype(fourier.real_dtype(q)), q)


def _camera_frequencies(intensity: Array, camera: Camera, oversampling: int) -> Array:
    """Fraction of the camera's Nyquist frequency at each point of ``rfftn(intensity)``; the curves end at 1."""
    xp = namespace(intensity)
    if intensity.ndim != 2 or not xp.isdtype(intensity.dtype, "real floating"):
        raise DataError(f"an intensity is a real image (y, x), got {intensity.dtype} of {tuple(intensity.shape)}")
    if not isinstance(camera, CameraCurves) and camera not in ("k2", "ideal"):
        raise ConfigError(f"unknown camera {camera!r}: choose 'k2', 'ideal' or a camera's curves")
    if oversampling < 1:
        raise ConfigError(f"oversampling must be at least 1, got {oversampling}")
    return xp.clip(fourier.radius(intensity.shape, 0.5 * oversampling, intensity, real=True), max=1.0)


def _electrons_per_pixel(dose_e_per_a2: float, pixel_size_angstrom: float) -> float:
    for name, value in (("dose_e_per_a2", dose_e_per_a2), ("pixel_size_angstrom", pixel_size_angstrom)):
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name} must be positive, got {value!r}")
    return dose_e_per_a2 * pixel_size_angstrom**2


def _polynomial(coefficients: tuple[float, ...], q: Array) -> Any:  # noqa: ANN401  (array or float, as q is)
    value = coefficients[-1] + 0.0 * q
    for coefficient in reversed(coefficients[:-1]):
        value = value * q + coefficient
    return value
