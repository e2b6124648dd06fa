"""Images of exit waves: where the focus is, first order theory, the zeros of the transfer function, contrast."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels import fourier
from cryodask.kernels.imaging import image_intensity
from cryodask.kernels.multislice import propagate_slices
from cryodask.kernels.optics import CtfOptions, ctf, interaction_constant, phase_contrast_transfer
from tests.conftest import Namespace

SLICE = 50.0
PIXEL = 5.0


def at_defocus(defocus_um: float) -> CtfOptions:
    """Optics of the tests."""
    return {"voltage_kv": 300.0, "defocus_um": defocus_um, "spherical_aberration_mm": 2.7}


OPTICS = at_defocus(3.5)
Stack = npt.NDArray[np.float64]


def scatterer(n: int, slices: int, volt: float) -> Stack:
    """One pixel of potential on the centre plane of a box: the entrance plane of slice ``slices / 2``."""
    potential = np.zeros((slices, n, n))
    potential[slices // 2, n // 2, n // 2] = volt
    return potential


def image_of(potential: npt.NDArray[Any], **optics: Unpack[CtfOptions]) -> npt.NDArray[Any]:
    wave = propagate_slices(
        potential, None, pixel_size_angstrom=PIXEL, slice_thickness_angstrom=SLICE, voltage_kv=300.0
    )
    height = potential.shape[0] * SLICE
    return to_host(image_intensity(wave, pixel_size_angstrom=PIXEL, exit_height_angstrom=height, **optics))


@pytest.mark.parametrize("slices", [2, 12, 60])
def test_centre_plane_is_imaged_at_the_nominal_defocus(slices: int) -> None:
    """A strong point scatterer gives the same image in a box of any height: that of its own plane's wave."""
    potential = scatterer(64, slices, 40.0)
    wave = np.exp(1j * interaction_constant(300.0) * potential.sum(axis=0) * SLICE)
    k = fourier.radius(wave.shape, PIXEL, potential)
    expected = np.abs(np.fft.ifft2(np.fft.fft2(wave) * ctf(k, **OPTICS))) ** 2
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(image_of(potential, **OPTICS), expected, atol=1e-11)


def test_plane_wave_has_intensity_one(arrays: Namespace) -> None:
    wave = arrays.asarray(np.ones((12, 10), np.complex64))
    image = image_intensity(wave, pixel_size_angstrom=PIXEL, exit_height_angstrom=1800.0, **OPTICS)
    assert to_host(image).dtype == np.float32
    np.testing.assert_allclose(to_host(image), np.ones((12, 10)), atol=2e-6)


def test_every_library_gives_the_same_image(arrays: Namespace) -> None:
    rng = np.random.default_rng(1)
    wave = np.exp(0.1j * rng.standard_normal((32, 24)))
    expected = image_intensity(wave, pixel_size_angstrom=PIXEL, exit_height_angstrom=900.0, **OPTICS)
    for dtype, tolerance in ((np.complex128, 1e-12), (np.complex64, 1e-5)):
        image = image_intensity(
            arrays.asarray(wave.astype(dtype)), pixel_size_angstrom=PIXEL, exit_height_angstrom=900.0, **OPTICS
        )
        np.testing.assert_allclose(to_host(image), expected, atol=tolerance)


def test_transmission_scales_the_image() -> None:
    wave = np.exp(0.2j * np.random.default_rng(2).standard_normal((16, 16)))
    full, dimmed = (
        image_intensity(wave, pixel_size_angstrom=PIXEL, exit_height_angstrom=0.0, transmission=share, **OPTICS)
        for share in (1.0, 0.6)
    )
    np.testing.assert_allclose(dimmed, 0.6 * full, rtol=1e-14)


def test_weak_phase_object_follows_the_linear_transfer() -> None:
    rng = np.random.default_rng(3)
    potential = np.zeros((36, 48, 48))
    potential[18] = 1e-4 * rng.standard_normal((48, 48))
    phase = interaction_constant(300.0) * SLICE * potential[18]
    k = fourier.radius(phase.shape, PIXEL, potential)
    linear = np.fft.ifft2(np.fft.fft2(phase) * phase_contrast_transfer(k, **OPTICS)).real
    np.testing.assert_allclose(image_of(potential, **OPTICS) - 1, linear, atol=1e-4 * np.abs(linear).max())


@pytest.mark.parametrize(
    ("defocus_um", "zeros_per_nm"),
    [
        (2.0, [0.504120, 0.713171, 0.873745]),
        (3.5, [0.380994, 0.538865, 0.660044, 0.762236]),
        (5.0, [0.318745, 0.450797, 0.552141]),
    ],
)
def test_power_spectrum_of_a_weak_object_vanishes_at_the_zeros(defocus_um: float, zeros_per_nm: list[float]) -> None:
    n = 512
    image = image_of(scatterer(n, 8, 1e-3), **at_defocus(defocus_um))
    spectrum = np.fft.fft(np.fft.ifftshift(image - 1), axis=1).sum(axis=0).real[: n // 2]
    k_per_nm = 10 * np.arange(n // 2) / (n * PIXEL)
    change = np.flatnonzero(np.diff(np.sign(spectrum[1:]))) + 1
    share = spectrum[change] / (spectrum[change] - spectrum[change + 1])
    found = k_per_nm[change] + share * (k_per_nm[1] - k_per_nm[0])
    np.testing.assert_allclose(found[: len(zeros_per_nm)], zeros_per_nm, rtol=1e-3)


def test_higher_potential_is_dark_in_underfocus() -> None:
    y, x = np.ogrid[-31.5:32, -31.5:32]
    potential = np.zeros((4, 64, 64))
    potential[2] = 5.0 * np.exp(-(y**2 + x**2) / (2 * 8.0**2))
    assert image_of(potential, **OPTICS)[32, 32] < 0.99
    assert image_of(potential, **at_defocus(-3.5))[32, 32] > 1.01


def test_refusals() -> None:
    wave = np.ones((4, 4), complex)
    with pytest.raises(DataError, match="float64"):
        image_intensity(wave.real, pixel_size_angstrom=PIXEL, exit_height_angstrom=0.0, **OPTICS)
    with pytest.raises(ConfigError, match="exit_height_angstrom"):
        image_intensity(wave, pixel_size_angstrom=PIXEL, exit_height_angstrom=-1.0, **OPTICS)
    with pytest.raises(ConfigError, match="transmission"):
        image_intensity(wave, pixel_size_angstrom=PIXEL, exit_height_angstrom=0.0, transmission=1.2, **OPTICS)
