"""From the wave behind the sample to the intensity on the detector plane."""

from __future__ import annotations

import math
from typing import Unpack

from cryodask.backend import Array, device_of, namespace
from cryodask.errors import ConfigError, DataError
from cryodask.kernels import fourier
from cryodask.kernels.multislice import propagator
from cryodask.kernels.optics import CtfOptions, astigmatic_phase, ctf


def image_intensity(
    wave: Array,
    *,
    pixel_size_angstrom: float,
    exit_height_angstrom: float,
    transmission: float = 1.0,
    astigmatism_um: float = 0.0,
    astigmatism_deg: float = 0.0,
    **optics: Unpack[CtfOptions],
) -> Array:
    """Intensity (y, x) of the image of an exit wave: 1 where a plane wave of amplitude 1 meets nothing.

    ``wave`` is complex (y, x) at the far face of a propagated box of height ``exit_height_angstrom``. Defocus is meant
    at the centre of the specimen, half that height upstream of the wave, so the phase of the transfer function must be
    that of the defocus *plus* half the height: the image is

        I = transmission |F^-1[ F[psi] H(Df) exp(+i pi lambda k^2 height / 2) ]|^2,

    which undoes the free propagation from the centre plane to the exit face. The envelope that the illumination's
    aperture causes is that of the nominal defocus, since it depends on the distance from object to focus and not on
    where the computation happens to stop. ``transmission`` stands for a uniform loss of electrons that are not part of
    the wave's own absorption (ice outside the particles). With ``astigmatism_um`` A the defocus in the direction phi
    (from x towards y) is Df + A/2 cos 2(phi - ``astigmatism_deg``), in the phase and not in the envelope. Further
    keywords are those of ``optics.ctf``; the result is float32 for complex64 and float64 for complex128.

    Raises
    ------
    DataError
        The wave is not a complex image.
    ConfigError
        The pixel size is not positive, the height negative or the transmission outside (0, 1].
    """
    xp = namespace(wave)
    if wave.ndim != 2 or not xp.isdtype(wave.dtype, "complex floating"):
        raise DataError(f"a wave is a complex image (y, x), got {wave.dtype} of shape {tuple(wave.shape)}")
    if not (math.isfinite(exit_height_angstrom) and exit_height_angstrom >= 0):
        raise ConfigError(f"exit_height_angstrom must not be negative, got {exit_height_angstrom!r}")
    if not 0 < transmission <= 1:
        raise ConfigError(f"transmission is a fraction above 0 and at most 1, got {transmission!r}")
    shape = (int(wave.shape[0]), int(wave.shape[1]))
    like = xp.zeros((), dtype=xp.float32 if wave.dtype == xp.complex64 else xp.float64, device=device_of(wave))
    transfer = ctf(fourier.radius(shape, pixel_size_angstrom, like), **optics)
    if exit_height_angstrom > 0:
        back = -0.5 * exit_height_angstrom
        transfer *= propagator(shape, pixel_size_angstrom, back, optics["voltage_kv"], like)
    if astigmatism_um:
        transfer *= astigmatic_phase(
            shape, pixel_size_angstrom, optics["voltage_kv"], astigmatism_um, astigmatism_deg, like
        )
    spectrum = fourier.fft2(wave)
    spectrum *= transfer
    image = fourier.ifft2(spectrum)
    return (xp.real(image) ** 2 + xp.imag(image) ** 2) * transmission
