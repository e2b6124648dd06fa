"""Transforms against numpy, frequency grids against their definition, crop and shift against analytic images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import portable_only, to_host
from cryodask.errors import ConfigError
from cryodask.kernels import fourier
from tests.conftest import Namespace

Image = npt.NDArray[np.float64]


def gaussian(shape: tuple[int, int], centre: tuple[float, float], sigma: float) -> Image:
    """Gaussian of height one, centre in pixels."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * sigma**2))


def centre_of(image: Image) -> tuple[float, float]:
    """Centre of mass in pixels."""
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    return float((image * y).sum() / image.sum()), float((image * x).sum() / image.sum())


@pytest.mark.parametrize("axes", [None, (0, 2), (-2, -1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transforms_agree_with_numpy(arrays: Namespace, axes: tuple[int, ...] | None, dtype: type[Any]) -> None:
    values = np.random.default_rng(1).standard_normal((4, 5, 6)).astype(dtype)
    resolved = (0, 1, 2) if axes is None else axes
    lengths = [values.shape[axis] for axis in resolved]
    tolerance = 2e-5 if dtype is np.float32 else 1e-12
    x = arrays.asarray(values)
    half = fourier.rfftn(x, axes=axes)
    full = fourier.fftn(x, axes=axes)
    assert to_host(half).dtype == to_host(full).dtype == fourier.complex_dtype(x)
    np.testing.assert_allclose(to_host(half), np.fft.rfftn(values, axes=resolved), atol=tolerance)
    np.testing.assert_allclose(to_host(full), np.fft.fftn(values, axes=resolved), atol=tolerance)
    back = to_host(fourier.irfftn(half, lengths, axes=axes))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, values, atol=tolerance)
    np.testing.assert_allclose(to_host(fourier.ifftn(full, axes=axes)), values, atol=tolerance)


def test_two_dimensional_names(arrays: Namespace) -> None:
    values = np.random.default_rng(2).standard_normal((3, 4, 6))
    spectrum = fourier.fft2(arrays.asarray(values))
    np.testing.assert_allclose(to_host(spectrum), np.fft.fft2(values), atol=1e-12)
    np.testing.assert_allclose(to_host(fourier.ifft2(spectrum)).real, values, atol=1e-12)


def test_fast_transform_equals_portable() -> None:
    values = np.random.default_rng(3).standard_normal((12, 15)).astype(np.float32)
    with portable_only():
        expected = fourier.rfftn(values)
    np.testing.assert_allclose(fourier.rfftn(values), expected, atol=1e-5)


@pytest.mark.parametrize("real", [False, True])
def test_frequencies(arrays: Namespace, real: bool) -> None:
    like = arrays.asarray(np.zeros(1, np.float32))
    kz, ky, kx = fourier.frequencies((4, 5, 6), (2.0, 2.0, 4.0), like, real=real)
    assert tuple(kz.shape) == (4, 1, 1)
    assert tuple(ky.shape) == (1, 5, 1)
    np.testing.assert_allclose(to_host(kx).ravel(), (np.fft.rfftfreq if real else np.fft.fftfreq)(6, 4.0), rtol=1e-6)
    k = to_host(fourier.radius((4, 5, 6), (2.0, 2.0, 4.0), like, real=real))
    assert k.dtype == np.float32
    np.testing.assert_allclose(k, np.sqrt(to_host(kz) ** 2 + to_host(ky) ** 2 + to_host(kx) ** 2), rtol=1e-6)


def test_radius_is_double_for_double() -> None:
    k = fourier.radius((8, 8), 5.0, np.zeros(1))
    assert k.dtype == np.float64
    assert k[0, 4] == pytest.approx(0.1, abs=1e-17)


@pytest.mark.parametrize(
    ("shape", "factor"), [((48, 60), 2), ((48, 60), 3), ((63, 45), 3), ((60, 84), 4), ((50, 70), 2)]
)
def test_crop_keeps_the_centre(arrays: Namespace, shape: tuple[int, int], factor: int) -> None:
    centre = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    binned = to_host(fourier.fourier_crop(arrays.asarray(gaussian(shape, centre, 1.4 * factor)), factor))
    coarse = (shape[0] // factor, shape[1] // factor)
    expected = gaussian(coarse, ((coarse[0] - 1) / 2, (coarse[1] - 1) / 2), 1.4)
    np.testing.assert_allclose(binned, expected, atol=2e-4)
    np.testing.assert_allclose(centre_of(binned), [(n - 1) / 2 for n in coarse], atol=1e-6)


def test_crop_follows_the_coordinate_rule() -> None:
    factor, position = 4, (69.0, 72.5)
    binned = fourier.fourier_crop(gaussian((140, 140), position, 8.0), factor)
    np.testing.assert_allclose(centre_of(binned), [(p - (factor - 1) / 2) / factor for p in position], atol=1e-6)


def test_crop_samples_the_band_limited_image() -> None:
    """A cosine at the coarse Nyquist frequency keeps the value that it has at the coarse pixels' positions."""
    n, factor = 24, 3
    x = np.arange(n)
    wave = np.tile(np.cos(2 * np.pi * (n // factor // 2) * x / n + 0.3), (n, 1))
    at = factor * np.arange(n // factor) + (factor - 1) / 2
    expected = 0.5 * np.cos(2 * np.pi * (n // factor // 2) * at / n + 0.3)
    binned = fourier.fourier_crop(wave, factor)
    np.testing.assert_allclose(binned, np.tile(expected, (n // factor, 1)), atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3])
def test_crop_keeps_mean_and_precision(arrays: Namespace, factor: int) -> None:
    values = np.random.default_rng(4).uniform(3, 5, (2, 24, 18)).astype(np.float32)
    binned = to_host(fourier.fourier_crop(arrays.asarray(values), factor))
    assert binned.dtype == np.float32
    np.testing.assert_allclose(binned.mean(axis=(1, 2)), values.mean(axis=(1, 2)), rtol=1e-6)


def test_crop_refuses_sizes_that_do_not_divide() -> None:
    with pytest.raises(ConfigError, match=r"48 x 50 pixels by 4.*divide"):
        fourier.fourier_crop(np.zeros((48, 50)), 4)
    with pytest.raises(ConfigError, match="by 0"):
        fourier.fourier_crop(np.zeros((48, 50)), 0)
    with pytest.raises(ConfigError, match="complex64"):
        fourier.fourier_crop(np.zeros((48, 50), np.complex64), 2)


def test_whole_shifts_roll_the_image(arrays: Namespace) -> None:
    values = np.random.default_rng(5).standard_normal((7, 10)).astype(np.float32)
    moved = to_host(fourier.fourier_shift(arrays.asarray(values), 2, -3))
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, np.roll(values, (2, -3), axis=(0, 1)), atol=2e-6)


def test_fractional_shifts_per_image(arrays: Namespace) -> None:
    start, dy, dx = (19.0, 22.0), np.array([0.0, 3.25, -4.5]), np.array([1.75, 0.0, 0.4])
    stack = np.stack([gaussian((40, 45), start, 2.0)] * 3)
    moved = to_host(fourier.fourier_shift(arrays.asarray(stack), dy, dx))
    expected = np.stack([gaussian((40, 45), (start[0] + y, start[1] + x), 2.0) for y, x in zip(dy, dx, strict=True)])
    np.testing.assert_allclose(moved, expected, atol=1e-8)


def test_shift_refuses_a_table_of_the_wrong_length() -> None:
    with pytest.raises(ConfigError, match="one per image"):
        fourier.fourier_shift(np.zeros((3, 8, 8)), np.zeros(2), 0.0)
    with pytest.raises(ConfigError, match="finite"):
        fourier.fourier_shift(np.zeros((8, 8)), float("nan"), 0.0)


def test_a_crop_moves_on_the_way_as_a_shift_before_it_does() -> None:
    images = np.random.default_rng(0).normal(size=(3, 24, 36))
    for shift_y, shift_x in ((0.0, 1.5), (-2.25, 0.5)):
        moved = fourier.fourier_crop(images, 2, shift_y, shift_x)
        # A shift treats the Nyquist term of the fine grid as real, which the coarse grid no longer holds.
        np.testing.assert_allclose(
            moved, fourier.fourier_crop(fourier.fourier_shift(images, shift_y, shift_x), 2), atol=1e-12
        )
