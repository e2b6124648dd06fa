"""Correction of the phases that the microscope turned over, at the defocus that each place of a tilted sample has.

A sample tilted about y has its point at u on the detector at the height -u tan(tilt) along the beam, and its defocus
differs from that of the centre by as much. The image is corrected for a few defoci within its range, and each column
(a strip along the tilt axis) is interpolated between the two nearest.
"""

from __future__ import annotations

import cmath
import math
from typing import Any, Literal, Unpack

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, as_device_array, namespace
from cryodask.errors import ConfigError
from cryodask.kernels import fourier
from cryodask.kernels.optics import CtfOptions, astigmatic_phase, ctf, wavelength_angstrom
from cryodask.units import ANGSTROM_PER_UM

_NO_ENVELOPES: dict[str, Any] = {
    "energy_spread_ev": 0.0,
    "illumination_aperture_urad": 0.0,
    "objective_diameter_um": math.inf,
}
"""Options of ``ctf`` that leave its phase alone."""

PHASE_STEP = math.pi / 8
"""Between neighbouring strips at the finest detail: a column is at most half of it off."""


def flip_phases(
    image: Array,
    *,
    pixel_size_angstrom: float,
    tilt_deg: float,
    defocus_um: float,
    voltage_kv: float,
    spherical_aberration_mm: float,
    amplitude_contrast: float = 0.07,
    astigmatism_um: float = 0.0,
    astigmatism_deg: float = 0.0,
    handedness: Literal[1, -1] = 1,
) -> Array:
    """The image with the sign of every frequency made that of the lowest ones: proteins are as dark as in focus.

    The image is multiplied by the sign of sin(chi + arcsin(amplitude_contrast)) in Fourier space, chi being the phase
    of ``optics.ctf``, separately for strips along y.

    Parameters
    ----------
    image
        (y, x) float32 or float64, tilt axis along y through the centre, about 0 towards its edges: it is taken as
        periodic.
    pixel_size_angstrom
        Of the image.
    tilt_deg
        A point at +x of the detector comes from a height of -x tan(tilt) along the beam.
    defocus_um, astigmatism_um, astigmatism_deg
        At the tilt axis, underfocus positive; largest minus smallest defocus, and the direction of the largest from x
        towards y.
    voltage_kv, spherical_aberration_mm
        As for ``optics.ctf``.
    amplitude_contrast
        Share of absorption in the contrast.
    handedness
        1 if a greater height along the beam, as ``slab_rotation`` counts it, is a greater underfocus; -1 for recordings
        with the other sense of tilt or beam.

    Returns the corrected image, of the same shape and dtype. Raises ConfigError for optics that make no sense.
    """
    if not 0 <= amplitude_contrast < 1:
        raise ConfigError(f"amplitude_contrast is a fraction from 0 to below 1, got {amplitude_contrast!r}")
    if not (math.isfinite(defocus_um) and abs(tilt_deg) < 90):
        raise ConfigError(f"no phases can be flipped at a defocus of {defocus_um!r} um and {tilt_deg!r} degrees")
    xp = namespace(image)
    ny, nx = (int(n) for n in image.shape)
    defocus = defocus_um * ANGSTROM_PER_UM + handedness * _rise_angstrom(nx, pixel_size_angstrom, tilt_deg)
    levels = _levels(defocus, pixel_size_angstrom, voltage_kv)
    spectrum = fourier.rfftn(image)
    flipped = xp.zeros_like(image)
    for level, weight in zip(levels, _weights(defocus, levels), strict=True):
        columns = np.flatnonzero(weight)
        if not len(columns):
            continue
        used = slice(int(columns[0]), int(columns[-1]) + 1)
        sign = _sign(
            (ny, nx),
            pixel_size_angstrom,
            amplitude_contrast,
            astigmatism_um,
            astigmatism_deg,
            defocus_um=float(level) / ANGSTROM_PER_UM,
            voltage_kv=voltage_kv,
            spherical_aberration_mm=spherical_aberration_mm,
        )
        turned = spectrum * as_device_array(sign.astype(fourier.real_dtype(image)), image)
        share = as_device_array(weight[used].astype(fourier.real_dtype(image)), image)
        flipped[:, used] += fourier.irfftn(turned, (ny, nx))[:, used] * share[None, :]
    return flipped


def _rise_angstrom(nx: int, pixel_size_angstrom: float, tilt_deg: float) -> npt.NDArray[np.float64]:
    """(x,) height along the beam of what a column of the detector shows of the sample's middle plane."""
    u = (np.arange(nx) - (nx - 1) / 2) * pixel_size_angstrom
    rise: npt.NDArray[np.float64] = np.multiply(u, -math.tan(math.radians(tilt_deg)), dtype=np.float64)
    return rise


def _levels(defocus: npt.NDArray[np.float64], pixel_size_angstrom: float, voltage_kv: float) -> npt.NDArray[np.float64]:
    """Evenly spaced defoci over the range, so close that the phase at Nyquist changes little between two."""
    finest = 0.5 / pixel_size_angstrom
    step = PHASE_STEP / (math.pi * wavelength_angstrom(voltage_kv) * finest**2)
    low, high = float(defocus.min()), float(defocus.max())
    return np.asarray(np.linspace(low, high, 1 + math.ceil((high - low) / step - 1e-9)), dtype=np.float64)


def _weights(defocus: npt.NDArray[np.float64], levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(level, x) shares of linear interpolation between levels; each column's add up to 1."""
    if len(levels) == 1:
        return np.ones((1, len(defocus)))
    place = (defocus - levels[0]) / (levels[1] - levels[0])
    weights: npt.NDArray[np.float64] = np.maximum(0, 1 - np.abs(place - np.arange(len(levels))[:, None]))
    return weights


def _sign(
    shape: tuple[int, int],
    pixel_size_angstrom: float,
    amplitude_contrast: float,
    astigmatism_um: float,
    astigmatism_deg: float,
    **optics: Unpack[CtfOptions],
) -> npt.NDArray[np.float64]:
    """-1 where contrast is turned over, else 1 (also at the zeros); in the layout of ``rfftn`` of an image."""
    like = np.zeros(())
    transfer = ctf(fourier.radius(shape, pixel_size_angstrom, like, real=True), **_NO_ENVELOPES, **optics)
    transfer *= cmath.exp(1j * math.asin(amplitude_contrast))
    if astigmatism_um:
        transfer *= astigmatic_phase(
            shape, pixel_size_angstrom, optics["voltage_kv"], astigmatism_um, astigmatism_deg, like, real=True
        )
    return np.where(transfer.imag < 0, -1.0, 1.0)
