from __future__ import annotations

import math

import array_api_strict
import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import to_host
from cryodask.errors import ConfigError
from cryodask.kernels.optics import (
    CtfOptions,
    amplitude_contrast_transfer,
    astigmatic_phase,
    ctf,
    ctf_zeros,
    interaction_constant,
    phase_contrast_transfer,
    wavelength_angstrom,
)
from tests.conftest import Namespace

KRIOS: CtfOptions = {"voltage_kv": 300.0, "defocus_um": 3.5, "spherical_aberration_mm": 2.7}
NO_ENVELOPE: CtfOptions = {
    **KRIOS,
    "energy_spread_ev": 0.0,
    "illumination_aperture_urad": 0.0,
    "objective_diameter_um": math.inf,
}


@pytest.mark.parametrize(
    ("voltage_kv", "wavelength_pm", "sigma_rad_per_v_nm"),
    [(100.0, 3.7014366, 9.2439582e-3), (200.0, 2.5079340, 7.2884010e-3), (300.0, 1.9687489, 6.5261614e-3)],
)
def test_wavelength_and_interaction_constant(
    voltage_kv: float, wavelength_pm: float, sigma_rad_per_v_nm: float
) -> None:
    assert wavelength_angstrom(voltage_kv) == pytest.approx(wavelength_pm / 100, rel=3e-8)
    assert interaction_constant(voltage_kv) == pytest.approx(sigma_rad_per_v_nm / 10, rel=3e-8)


@pytest.mark.parametrize(
    ("defocus_um", "zeros_per_nm"),
    [
        (2.0, [0.504120, 0.713171, 0.873745]),
        (3.5, [0.380994, 0.538865, 0.660044, 0.762236]),
        (5.0, [0.318745, 0.450797, 0.552141]),
    ],
)
def test_ctf_zeros_at_300_kv(defocus_um: float, zeros_per_nm: list[float]) -> None:
    zeros = ctf_zeros(voltage_kv=300.0, defocus_um=defocus_um, spherical_aberration_mm=2.7, count=len(zeros_per_nm))
    np.testing.assert_allclose(np.array(zeros) * 10, zeros_per_nm, atol=5.1e-7)


@pytest.mark.parametrize(
    ("defocus_um", "spherical_aberration_mm"),
    [(0.3, 2.7), (-0.3, 2.7), (0.3, -2.7), (-0.3, -2.7), (0.0, 2.7), (1.0, 0.0), (-1.0, 0.0)],
)
def test_ctf_zeros_are_all_sign_changes_of_the_phase_part(defocus_um: float, spherical_aberration_mm: float) -> None:
    zeros = ctf_zeros(
        voltage_kv=300.0, defocus_um=defocus_um, spherical_aberration_mm=spherical_aberration_mm, count=30
    )
    options: CtfOptions = {**NO_ENVELOPE, "defocus_um": defocus_um, "spherical_aberration_mm": spherical_aberration_mm}
    k = np.linspace(1e-3, zeros[-1] + 1e-4, 400_001)
    sign = np.sign(phase_contrast_transfer(k, **options))
    crossings = k[:-1][np.diff(sign) != 0]
    assert len(crossings) == 30
    np.testing.assert_allclose(zeros, crossings, atol=2 * (k[1] - k[0]))


def test_ctf_zeros_of_no_phase_are_refused() -> None:
    with pytest.raises(ConfigError, match="both 0"):
        ctf_zeros(voltage_kv=300.0, defocus_um=0.0, spherical_aberration_mm=0.0, count=1)
    with pytest.raises(ConfigError, match="count"):
        ctf_zeros(voltage_kv=300.0, defocus_um=1.0, spherical_aberration_mm=0.0, count=-1)
    assert ctf_zeros(voltage_kv=300.0, defocus_um=1.0, spherical_aberration_mm=0.0, count=0) == []


def test_phase_and_envelopes_at_three_frequencies(arrays: Namespace) -> None:
    k = arrays.asarray(np.array([0.025, 0.05, 0.1]))
    chi = np.array([1.352844, 5.409858, 21.615161])
    phase_only = to_host(ctf(k, **NO_ENVELOPE))
    np.testing.assert_allclose(phase_only, np.exp(1j * chi), atol=5e-7)
    np.testing.assert_allclose(phase_only.imag, [0.9763422, -0.7664699, 0.3671910], atol=6e-8)
    only_spatial: CtfOptions = {**NO_ENVELOPE, "illumination_aperture_urad": 30.0}
    spatial = np.abs(to_host(ctf(k, **only_spatial)))
    np.testing.assert_allclose(spatial, [0.9902402, 0.9615708, 0.8555201], atol=6e-8)
    only_temporal: CtfOptions = {**NO_ENVELOPE, "energy_spread_ev": 0.7}
    temporal = np.abs(to_host(ctf(k, **only_temporal)))
    np.testing.assert_allclose(temporal, [0.999999465, 0.999991444, 0.999863105], atol=6e-10)
    np.testing.assert_allclose(to_host(ctf(k, **KRIOS)), phase_only * spatial * temporal, rtol=1e-12)


def test_aperture_cuts_beyond_its_edge(arrays: Namespace) -> None:
    k = arrays.asarray(np.array([0.0, 0.54035, 0.54045, 1.0]))
    no_other_envelope: CtfOptions = {**NO_ENVELOPE, "objective_diameter_um": 100.0}
    np.testing.assert_allclose(np.abs(to_host(ctf(k, **no_other_envelope))), [1.0, 1.0, 0.0, 0.0], atol=1e-12)


def test_float32_keeps_its_type_and_loses_nothing(arrays: Namespace) -> None:
    k = np.linspace(0.0, 0.5, 101, dtype=np.float32).reshape(1, 101)
    transfer = ctf(arrays.asarray(k), **NO_ENVELOPE)
    assert transfer.dtype == arrays.xp.complex64
    assert transfer.shape == (1, 101)
    assert phase_contrast_transfer(arrays.asarray(k), **KRIOS).dtype == arrays.xp.float32
    # In float32 the phase alone, up to 500 rad here, would be wrong by 1e-5.
    np.testing.assert_allclose(to_host(transfer), ctf(k.astype(np.float64), **NO_ENVELOPE), atol=2e-7)


def test_device_without_float64() -> None:
    try:
        device = array_api_strict.Device("no_float64")
    except ValueError:
        pytest.skip("this array-api-strict has no such device")
    k = np.linspace(0.0, 0.2, 51, dtype=np.float32)
    transfer = ctf(array_api_strict.asarray(k, device=device), **KRIOS)
    assert transfer.dtype == array_api_strict.complex64
    np.testing.assert_allclose(to_host(transfer), ctf(k, **KRIOS), atol=5e-5)


def _image_contrast(wave: npt.NDArray[np.complex128], k: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    image: npt.NDArray[np.float64] = np.abs(np.fft.ifft2(np.fft.fft2(wave) * ctf(k, **KRIOS))) ** 2 - 1
    return image


def _object_and_frequencies() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    values = np.random.default_rng(3).standard_normal((32, 48))
    frequencies = np.hypot(np.fft.fftfreq(32, 5.0)[:, None], np.fft.fftfreq(48, 5.0)[None, :])
    return values, frequencies


def test_phase_contrast_transfer_is_the_linear_part_of_the_image() -> None:
    values, k = _object_and_frequencies()
    small = 1e-6
    linear = np.fft.ifft2(np.fft.fft2(values) * phase_contrast_transfer(k, **KRIOS)).real
    image = _image_contrast(np.exp(1j * small * values), k) / small
    np.testing.assert_allclose(image, linear, atol=1e-5)
    assert np.max(np.abs(linear)) > 1.0


def test_amplitude_contrast_transfer_is_the_linear_part_of_the_image() -> None:
    values, k = _object_and_frequencies()
    small = 1e-6
    linear = np.fft.ifft2(np.fft.fft2(values) * amplitude_contrast_transfer(k, **KRIOS)).real
    image = _image_contrast(np.exp(-small * values).astype(np.complex128), k) / small
    np.testing.assert_allclose(image, linear, atol=1e-5)


def test_underfocus_makes_phase_and_absorption_dark(arrays: Namespace) -> None:
    k = arrays.asarray(np.array([0.005, 0.02]))
    assert np.all(to_host(phase_contrast_transfer(k, **KRIOS)) < 0)
    overfocus: CtfOptions = {**KRIOS, "defocus_um": -3.5}
    assert np.all(to_host(phase_contrast_transfer(k, **overfocus)) > 0)
    assert to_host(amplitude_contrast_transfer(k, **KRIOS))[0] < -1.9


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("voltage_kv", 0.0),
        ("voltage_kv", math.nan),
        ("defocus_um", math.inf),
        ("spherical_aberration_mm", math.nan),
        ("chromatic_aberration_mm", math.nan),
        ("energy_spread_ev", -0.1),
        ("illumination_aperture_urad", -1.0),
        ("objective_diameter_um", 0.0),
        ("objective_diameter_um", math.nan),
        ("focal_distance_mm", 0.0),
    ],
)
def test_senseless_parameters_are_refused_by_name(name: str, value: float) -> None:
    options: dict[str, float] = {"voltage_kv": 300.0, "defocus_um": 3.5, "spherical_aberration_mm": 2.7, name: value}
    with pytest.raises(ConfigError, match=name):
        ctf(np.zeros(1), **options)


def test_frequencies_must_be_real(arrays: Namespace) -> None:
    with pytest.raises(ConfigError, match="float32 or float64"):
        ctf(arrays.asarray(np.zeros(2, dtype=np.complex64)), **KRIOS)


@pytest.mark.parametrize("direction_deg", [0.0, 30.0, 90.0, 135.0])
def test_astigmatism_is_another_defocus_in_each_direction(arrays: Namespace, direction_deg: float) -> None:
    shape, pixel, voltage, astigmatism = (64, 96), 3.0, 300.0, 0.6
    like = arrays.asarray(np.zeros(1))
    found = to_host(astigmatic_phase(shape, pixel, voltage, astigmatism, direction_deg, like))
    ky, kx = np.fft.fftfreq(shape[0], pixel)[:, None], np.fft.fftfreq(shape[1], pixel)[None, :]
    phi = np.arctan2(ky, kx)
    added_um = astigmatism / 2 * np.cos(2 * (phi - np.radians(direction_deg)))
    wavelength = wavelength_angstrom(voltage)
    expected = np.exp(1j * np.pi * wavelength * added_um * 1e4 * (kx**2 + ky**2))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # Along its own direction the defocus is larger by half of it.
    assert ctf_zeros(voltage_kv=voltage, defocus_um=2.3, spherical_aberration_mm=2.7, count=1) < ctf_zeros(
        voltage_kv=voltage, defocus_um=2.0, spherical_aberration_mm=2.7, count=1
    )
