"""Electron optics: wavelength, interaction constant and the transfer of an electron wave to an image.

Sign conventions. A wave that passes through a potential gains phase, psi = exp(i sigma Int V dz), and underfocus is
positive. Protein has a higher potential than ice and therefore appears dark in an underfocused image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, Required, TypedDict, Unpack

from cryodask.backend import Array, device_of, namespace
from cryodask.errors import ConfigError
from cryodask.kernels import fourier
from cryodask.units import (
    ANGSTROM_PER_M,
    ANGSTROM_PER_MM,
    ANGSTROM_PER_UM,
    ELECTRON_MASS_KG,
    ELECTRON_REST_ENERGY_EV,
    ELEMENTARY_CHARGE_C,
    PLANCK_J_S,
    RAD_PER_URAD,
    V_PER_KV,
)


class CtfOptions(TypedDict, total=False):
    """Keyword options of ``ctf``, for functions that pass them on; the defaults are those of ``ctf``."""

    voltage_kv: Required[float]
    defocus_um: Required[float]
    spherical_aberration_mm: Required[float]
    chromatic_aberration_mm: float
    energy_spread_ev: float
    illumination_aperture_urad: float
    objective_diameter_um: float
    focal_distance_mm: float


def wavelength_angstrom(voltage_kv: float) -> float:
    """Relativistic de Broglie wavelength h / sqrt(e U m0 (2 + e U / m0 c^2)), in angstrom.

    Raises ``ConfigError`` unless the voltage is positive and finite.
    """
    _check_positive("voltage_kv", voltage_kv)
    energy_ev = voltage_kv * V_PER_KV
    momentum_squared = energy_ev * ELEMENTARY_CHARGE_C * ELECTRON_MASS_KG * (2.0 + energy_ev / ELECTRON_REST_ENERGY_EV)
    return PLANCK_J_S / math.sqrt(momentum_squared) * ANGSTROM_PER_M


def interaction_constant(voltage_kv: float) -> float:
    """Phase per projected potential, sigma = 2 pi m lambda e / h^2 with the relativistic mass m, in rad/(V angstrom).

    Raises ``ConfigError`` unless the voltage is positive and finite.
    """
    wavelength_m = wavelength_angstrom(voltage_kv) / ANGSTROM_PER_M
    mass_kg = ELECTRON_MASS_KG * (1.0 + voltage_kv * V_PER_KV / ELECTRON_REST_ENERGY_EV)
    return 2.0 * math.pi * mass_kg * wavelength_m * ELEMENTARY_CHARGE_C / PLANCK_J_S**2 / ANGSTROM_PER_M


def ctf(
    k_per_angstrom: Array,
    *,
    voltage_kv: float,
    defocus_um: float,
    spherical_aberration_mm: float,
    chromatic_aberration_mm: float = 2.7,
    energy_spread_ev: float = 0.7,
    illumination_aperture_urad: float = 30.0,
    objective_diameter_um: float = 100.0,
    focal_distance_mm: float = 4.7,
) -> Array:
    """Transfer function of the objective lens: the image is ``|F^-1[F[psi] H]|^2`` for an exit wave ``psi``.

    ``H = exp(i chi) Kt Ks A`` with the phase ``chi = pi (lambda Df k^2 - Cs lambda^3 k^4 / 2)``, the temporal envelope
    ``Kt = exp(-(pi lambda k^2 Cc dE/U / (4 sqrt(ln 2)))^2)``, the spatial envelope
    ``Ks = exp(-alpha^2 (pi Cs lambda^2 k^3 - pi Df k)^2 / ln 2)`` and the objective aperture ``A``, which is 1 up to
    (diameter / 2) / (lambda focal distance) and 0 beyond.

    Parameters
    ----------
    k_per_angstrom
        Spatial frequencies, real and not negative, any shape, float32 or float64.
    voltage_kv
        Accelerating voltage U.
    defocus_um
        Distance between the plane in focus and the plane of the wave, underfocus positive. For a wave at the exit
        face of a specimen this is the nominal defocus plus the distance from the specimen's centre to that face.
    spherical_aberration_mm, chromatic_aberration_mm
        Cs and Cc of the objective lens.
    energy_spread_ev
        Spread dE of the electrons' energy; 0 for no temporal envelope.
    illumination_aperture_urad
        Half angle alpha of the illumination; 0 for no spatial envelope.
    objective_diameter_um, focal_distance_mm
        Diameter of the objective aperture (``math.inf`` for none) and focal distance of the lens.

    Returns
    -------
    Array of the same shape: complex64 for float32 input, complex128 for float64. The phase is evaluated in float64
    wherever the device has it, because at high frequencies it reaches hundreds of radians.

    Raises
    ------
    ConfigError
        If the frequencies are not real floating point numbers or an optical parameter makes no sense.

    """
    xp = namespace(k_per_angstrom)
    if not xp.isdtype(k_per_angstrom.dtype, "real floating"):
        raise ConfigError(f"frequencies must be float32 or float64, not {k_per_angstrom.dtype}: cast them first")
    _check_finite("defocus_um", defocus_um)
    _check_finite("spherical_aberration_mm", spherical_aberration_mm)
    wavelength = wavelength_angstrom(voltage_kv)
    defocus = defocus_um * ANGSTROM_PER_UM
    spherical_aberration = spherical_aberration_mm * ANGSTROM_PER_MM

    k = xp.astype(k_per_angstrom, _widest_float(k_per_angstrom))
    k_squared = k * k
    chi = math.pi * k_squared * (wavelength * defocus - 0.5 * spherical_aberration * wavelength**3 * k_squared)
    envelope = xp.exp(
        -(_temporal_exponent(wavelength, voltage_kv, chromatic_aberration_mm, energy_spread_ev) * k_squared**2)
        - _spatial_exponent(illumination_aperture_urad)
        * k_squared
        * (spherical_aberration * wavelength**2 * k_squared - defocus) ** 2
    )
    k_max = _aperture_cutoff(wavelength, objective_diameter_um, focal_distance_mm)
    envelope = xp.where(k <= k_max, envelope, xp.zeros_like(envelope))

    dtype = xp.complex64 if k_per_angstrom.dtype == xp.float32 else xp.complex128
    return xp.astype(envelope * xp.cos(chi), dtype) + 1j * xp.astype(envelope * xp.sin(chi), dtype)


def astigmatic_phase(
    shape: tuple[int, int],
    pixel_size_angstrom: float,
    voltage_kv: float,
    astigmatism_um: float,
    astigmatism_deg: float,
    like: Array,
    *,
    real: bool = False,
) -> Array:
    """Factor exp(i pi lambda k^2 A/2 cos 2(phi - a)) of the transfer function (y, x), in FFT order, due to astigmatism.

    ``astigmatism_um`` A is the largest minus the smallest defocus, ``astigmatism_deg`` a the direction of the largest,
    from x towards y. ``like`` gives library, device and precision; ``real`` the layout of ``rfftn``.
    """
    _check_finite("astigmatism_um", astigmatism_um)
    _check_finite("astigmatism_deg", astigmatism_deg)
    xp = namespace(like)
    ky, kx = fourier.frequencies(shape, pixel_size_angstrom, like, real=real)
    twice = 2.0 * math.radians(astigmatism_deg)
    along = (kx**2 - ky**2) * math.cos(twice) + 2.0 * kx * ky * math.sin(twice)  # k^2 cos 2(phi - a)
    half_um = 0.5 * astigmatism_um * ANGSTROM_PER_UM
    phase = math.pi * wavelength_angstrom(voltage_kv) * half_um * along
    return xp.exp(1j * xp.astype(phase, xp.complex64 if like.dtype == xp.float32 else xp.complex128))


def phase_contrast_transfer(k_per_angstrom: Array, **options: Unpack[CtfOptions]) -> Array:
    """Linear transfer ``T(k) = -2 Im H = -2 sin(chi) Kt Ks A`` from phase to image contrast.

    A weak phase object ``psi = 1 + i phi`` with ``phi = sigma Int V dz`` has the image ``I - 1 = F^-1[T F[phi]]``:
    with real ``phi`` and even ``H``, ``2 Re F^-1[i H F[phi]]`` keeps only ``-2 Im H``. ``T`` is negative at low
    frequencies in underfocus. Real array of the shape and dtype of ``k_per_angstrom``; options as for ``ctf``.
    """
    return -2.0 * namespace(k_per_angstrom).imag(ctf(k_per_angstrom, **options))


def amplitude_contrast_transfer(k_per_angstrom: Array, **options: Unpack[CtfOptions]) -> Array:
    """Linear transfer ``T_a(k) = -2 Re H = -2 cos(chi) Kt Ks A`` from absorption to image contrast.

    A weakly absorbing object ``psi = 1 - mu`` with ``mu = sigma Int V_ab dz`` has the image
    ``I - 1 = F^-1[T_a F[mu]]``. Real array of the shape and dtype of ``k_per_angstrom``; options as for ``ctf``.
    """
    return -2.0 * namespace(k_per_angstrom).real(ctf(k_per_angstrom, **options))


def ctf_zeros(*, voltage_kv: float, defocus_um: float, spherical_aberration_mm: float, count: int) -> list[float]:
    """First ``count`` frequencies above zero, in 1/angstrom and increasing, where ``sin chi`` vanishes.

    They are the roots of ``lambda Df k^2 - Cs lambda^3 k^4 / 2 = n`` over all integers ``n``. Raises ``ConfigError``
    for a negative count, or if defocus and spherical aberration are both zero (then there is no zero at all).
    """
    if count < 0:
        raise ConfigError(f"count must not be negative, got {count}")
    _check_finite("defocus_um", defocus_um)
    _check_finite("spherical_aberration_mm", spherical_aberration_mm)
    wavelength = wavelength_angstrom(voltage_kv)
    linear = wavelength * defocus_um * ANGSTROM_PER_UM
    quadratic = 0.5 * spherical_aberration_mm * ANGSTROM_PER_MM * wavelength**3
    if linear == 0.0 and quadratic == 0.0:
        raise ConfigError("defocus_um and spherical_aberration_mm are both 0: the phase is 0 at every frequency")
    if quadratic < 0.0:  # sin(-chi) has the same zeros
        linear, quadratic = -linear, -quadratic
    return [math.sqrt(root) for root in itertools.islice(_phase_roots(linear, quadratic), count)]


def _phase_roots(linear: float, quadratic: float) -> Iterator[float]:
    """Increasing x > 0 where ``linear x - quadratic x^2`` (quadratic >= 0) is an integer, x being k^2."""
    if quadratic == 0.0 or linear <= 0.0:  # the phase runs away from 0 and never turns
        for n in itertools.count(1):
            yield 2.0 * n / (abs(linear) + math.sqrt(linear**2 + 4.0 * quadratic * n))
    peak = linear**2 / (4.0 * quadratic)
    for n in range(1, math.floor(peak) + 1):
        # This form of the smaller root does not subtract two nearly equal numbers.
        yield 2.0 * n / (linear + math.sqrt(max(linear**2 - 4.0 * quadratic * n, 0.0)))
    falling = math.floor(peak) - (peak == math.floor(peak))  # at an integer peak both roots are one
    for n in itertools.count(falling, -1):
        yield (linear + math.sqrt(max(linear**2 - 4.0 * quadratic * n, 0.0))) / (2.0 * quadratic)


def _temporal_exponent(
    wavelength: float, voltage_kv: float, chromatic_aberration_mm: float, energy_spread_ev: float
) -> float:
    """Factor of k^4 in -ln Kt, in angstrom^4."""
    _check_finite("chromatic_aberration_mm", chromatic_aberration_mm)
    _check_not_negative("energy_spread_ev", energy_spread_ev)
    focal_spread = chromatic_aberration_mm * ANGSTROM_PER_MM * energy_spread_ev / (voltage_kv * V_PER_KV)
    return (math.pi * wavelength * focal_spread) ** 2 / (16.0 * math.log(2.0))


def _spatial_exponent(illumination_aperture_urad: float) -> float:
    """Factor of (Cs lambda^2 k^3 - Df k)^2 in -ln Ks."""
    _check_not_negative("illumination_aperture_urad", illumination_aperture_urad)
    return (math.pi * illumination_aperture_urad * RAD_PER_URAD) ** 2 / math.log(2.0)


def _aperture_cutoff(wavelength: float, objective_diameter_um: float, focal_distance_mm: float) -> float:
    """Highest frequency, in 1/angstrom, that passes the objective aperture."""
    _check_positive("focal_distance_mm", focal_distance_mm)
    if not objective_diameter_um > 0.0:
        raise ConfigError(f"objective_diameter_um must be positive, got {objective_diameter_um}")
    radius_per_focal_distance = objective_diameter_um * ANGSTROM_PER_UM / 2.0 / (focal_distance_mm * ANGSTROM_PER_MM)
    return radius_per_focal_distance / wavelength


def _widest_float(x: Array) -> Any:  # noqa: ANN401  (a dtype of whichever library)
    """float64, or float32 on a device without it."""
    xp = namespace(x)
    return xp.__array_namespace_info__().dtypes(device=device_of(x), kind="real floating").get("float64", xp.float32)


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, got {value}")


def _check_not_negative(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0.0):
        raise ConfigError(f"{name} must be finite and not negative, got {value}")


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ConfigError(f"{name} must be finite and positive, got {value}")
