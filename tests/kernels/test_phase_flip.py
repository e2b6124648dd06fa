"""Flipping phases against the transfer function itself, and strip by strip against the multislice image of a slope."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import to_host
from cryodask.errors import ConfigError
from cryodask.kernels.fourier import frequencies, radius
from cryodask.kernels.imaging import image_intensity
from cryodask.kernels.multislice import propagate_slices
from cryodask.kernels.optics import phase_contrast_transfer
from cryodask.kernels.phase_flip import flip_phases
from cryodask.kernels.slab_rotation import rotate_slab, spline_coefficients
from tests.conftest import Namespace

PIXEL = 5.0
OPTICS: dict[str, Any] = {"voltage_kv": 300.0, "spherical_aberration_mm": 2.7}
Image = npt.NDArray[np.float64]


def noise(shape: tuple[int, int]) -> Image:
    return np.random.default_rng(3).standard_normal(shape)


def imaged(image: Image, defocus_um: float) -> tuple[Image, Image]:
    """What phase contrast makes of an image, and the transfer function (y, x)."""
    k = radius(image.shape, PIXEL, image)
    transfer = phase_contrast_transfer(k, defocus_um=defocus_um, **OPTICS)
    return np.fft.ifft2(np.fft.fft2(image) * transfer).real, transfer


def test_no_frequency_keeps_a_turned_phase(arrays: Namespace) -> None:
    image = noise((48, 66))
    seen, transfer = imaged(image, 3.0)
    flipped = flip_phases(
        arrays.asarray(seen), pixel_size_angstrom=PIXEL, tilt_deg=0.0, defocus_um=3.0, amplitude_contrast=0.0, **OPTICS
    )
    expected = np.fft.ifft2(np.fft.fft2(image) * -np.abs(transfer)).real
    np.testing.assert_allclose(to_host(flipped), expected, atol=1e-9)


def test_astigmatism_is_followed() -> None:
    image = noise((64, 64))
    ky, kx = frequencies(image.shape, PIXEL, image)
    # Nyquist stands for two directions at once, of which astigmatism can serve one.
    inner = np.ones(image.shape)
    inner[32] = inner[:, 32] = 0
    local_um = 2.0 + 0.2 * np.cos(2 * (np.arctan2(ky, kx) - math.radians(25.0)))
    k = radius(image.shape, PIXEL, image)
    transfer = inner * np.array(
        [
            [float(phase_contrast_transfer(k[i, j : j + 1], defocus_um=local_um[i, j], **OPTICS)[0]) for j in range(64)]
            for i in range(64)
        ]
    )
    seen = np.fft.ifft2(np.fft.fft2(image) * transfer).real
    common: dict[str, Any] = {
        "pixel_size_angstrom": PIXEL,
        "tilt_deg": 0.0,
        "defocus_um": 2.0,
        "amplitude_contrast": 0.0,
        **OPTICS,
    }
    expected = np.fft.ifft2(np.fft.fft2(image) * -np.abs(transfer)).real
    flipped = flip_phases(seen, astigmatism_um=0.4, astigmatism_deg=25.0, **common)
    np.testing.assert_allclose(flipped, expected, atol=1e-9)
    assert np.linalg.norm(flip_phases(seen, **common) - expected) > 0.1 * np.linalg.norm(expected)


def slope(tilt_deg: float) -> tuple[Image, Image]:
    """Multislice image of small blobs in the middle plane of a tilted sample, and their projection."""
    nz, ny, nx = 8, 24, 2048
    volume = np.zeros((nz, ny, nx), np.float64)
    generator = np.random.default_rng(1)
    for _ in range(360):
        y, x = generator.integers(4, ny - 4), generator.integers(12, nx - 12)
        volume[3:5, y - 1 : y + 1, x - 1 : x + 1] += 2.0
    slices = rotate_slab(spline_coefficients(volume), tilt_deg, slice_voxels=4)
    wave = propagate_slices(slices, None, pixel_size_angstrom=PIXEL, slice_thickness_angstrom=4 * PIXEL, voltage_kv=300)
    image = image_intensity(
        wave, pixel_size_angstrom=PIXEL, exit_height_angstrom=len(slices) * 4 * PIXEL, defocus_um=2.0, **OPTICS
    )
    return image - image.mean(), slices.sum(axis=0)


def fine_likeness(image: Image, truth: Image) -> float:
    """Correlation of the detail from 1/20 to 1/11 per angstrom, away from the ends."""
    k = radius(image.shape, PIXEL, image)
    band = (k > 1 / 20) & (k < 1 / 11)
    one, other = (np.fft.ifft2(np.fft.fft2(part) * band).real[:, 40:-40].ravel() for part in (image, truth))
    return float(np.corrcoef(one, other)[0, 1])


def test_strips_of_a_slope_have_their_own_defocus() -> None:
    image, projected = slope(55.0)
    common: dict[str, Any] = {"pixel_size_angstrom": PIXEL, "defocus_um": 2.0, "amplitude_contrast": 0.0, **OPTICS}
    choices: list[dict[str, Any]] = [{"tilt_deg": 55.0}, {"tilt_deg": 0.0}, {"tilt_deg": 55.0, "handedness": -1}]
    right, flat, wrong = (-fine_likeness(flip_phases(image, **each, **common), projected) for each in choices)
    untouched = -fine_likeness(image, projected)
    assert right > 0.7
    assert right > flat + 0.1 > wrong
    assert abs(untouched) < 0.5


def test_what_makes_no_sense_is_refused() -> None:
    image = np.zeros((8, 8))
    with pytest.raises(ConfigError, match="amplitude_contrast"):
        flip_phases(image, pixel_size_angstrom=5, tilt_deg=0, defocus_um=1, amplitude_contrast=1.0, **OPTICS)
    with pytest.raises(ConfigError, match="defocus of nan"):
        flip_phases(image, pixel_size_angstrom=5, tilt_deg=0, defocus_um=math.nan, **OPTICS)
