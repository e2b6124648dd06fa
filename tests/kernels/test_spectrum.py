"""Ring means against the full transform and Parseval's theorem; radial filters against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from cryodask.backend import portable_only, to_host
from cryodask.errors import ConfigError
from cryodask.kernels import fourier, spectrum
from tests.conftest import Namespace


def test_ring_means_by_hand(arrays: Namespace) -> None:
    radii = arrays.asarray(np.array([0.0, 0.4, 0.5, 1.0, 1.49, 2.0, 7.0], np.float32))
    values = arrays.asarray(np.array([1.0, 3.0, 10.0, 20.0, 30.0, 5.0, 99.0], np.float32))
    np.testing.assert_allclose(spectrum.radial_average(values, radii, 1.0, 3), [2.0, 20.0, 5.0])


def test_weights_and_rings_without_samples(arrays: Namespace) -> None:
    radii = arrays.asarray(np.array([0.0, 0.0, 2.0]))
    values = arrays.asarray(np.array([1.0, 4.0, 7.0]))
    weights = arrays.asarray(np.array([2.0, 1.0, 1.0]))
    np.testing.assert_allclose(spectrum.radial_average(values, radii, 1.0, weights=weights), [2.0, 4.5, 7.0])


def test_fast_rings_equal_portable() -> None:
    rng = np.random.default_rng(1)
    radii = fourier.radius((40, 30), 2.0, np.zeros(1, np.float32))
    values = rng.standard_normal((40, 30)).astype(np.float32)
    fast = spectrum.radial_average(values, radii, 0.02)
    with portable_only():
        portable = spectrum.radial_average(values, radii, 0.02)
    np.testing.assert_allclose(fast, portable, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(24, 30), (25, 31), (10, 12, 14)])
def test_half_spectrum_counts_as_the_whole(arrays: Namespace, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(2).standard_normal(shape)
    profile = spectrum.power_profile(arrays.asarray(values), 3.0)
    whole = np.abs(np.fft.fftn(values)) ** 2
    k = fourier.radius(shape, 3.0, values)
    width = 1 / (3.0 * max(shape))
    np.testing.assert_allclose(profile.values, spectrum.radial_average(whole, k, width, len(profile.k)), rtol=1e-10)
    assert profile.k[1] == pytest.approx(width)
    assert profile.k[-1] == pytest.approx(max(shape) // 2 * width)


def test_power_of_white_noise() -> None:
    values = 3.0 * np.random.default_rng(3).standard_normal((256, 256)).astype(np.float32)
    power = spectrum.power_profile(values, 1.0, 1 / 32).values
    independent = np.pi * 8 * 8 * np.arange(1, len(power))  # half the pixels of a ring eight pixels wide
    deviation = (power[1:] / (9.0 * values.size) - 1) * np.sqrt(independent)
    assert np.abs(deviation).max() < 4


def test_amplitude_of_a_plane_wave_lies_in_its_ring() -> None:
    n, m = 64, 9
    wave = np.cos(2 * np.pi * m * np.arange(n) / n) * np.ones((n, 1))
    profile = spectrum.amplitude_profile(wave, 2.0)
    assert np.argmax(profile.values) == m
    assert np.delete(profile.values, m).max() < 1e-9


def test_mean_is_alone_in_ring_zero_for_two_pixel_rings() -> None:
    x = 5.0 + np.random.default_rng(4).standard_normal((32, 32))
    profile = spectrum.amplitude_profile(x, 1.0, 2 / 32)
    assert profile.values[0] == pytest.approx(x.sum())


def test_radial_filter_interpolates(arrays: Namespace) -> None:
    points, heights = np.array([0.01, 0.05, 0.2]), np.array([1.0, 3.0, -1.0])
    k = np.random.default_rng(5).uniform(0, 0.3, (9, 7)).astype(np.float32)
    result = spectrum.apply_radial_profile(arrays.asarray(k), points, heights)
    assert to_host(result).dtype == np.float32
    np.testing.assert_allclose(to_host(result), np.interp(k, points, heights), atol=2e-6)


def test_fast_filter_equals_portable() -> None:
    k = np.linspace(0, 0.3, 101)
    fast = spectrum.apply_radial_profile(k, [0.0, 0.1, 0.25], [2.0, 0.5, 1.0])
    with portable_only():
        portable = spectrum.apply_radial_profile(k, [0.0, 0.1, 0.25], [2.0, 0.5, 1.0])
    np.testing.assert_allclose(fast, portable, atol=1e-14)


@pytest.mark.parametrize("width_pixels", [1, 2])
def test_ring_filter_gives_exactly_the_wanted_profile(arrays: Namespace, width_pixels: int) -> None:
    x = arrays.asarray(np.random.default_rng(6).standard_normal((64, 48)))
    width = width_pixels / (64 * 5.0)
    measured = spectrum.amplitude_profile(x, 5.0, width)
    wanted = 0.3 + 1 / (1 + measured.k / 0.006)
    k = fourier.radius((64, 48), 5.0, x, real=True)
    gain = spectrum.ring_filter(k, width, wanted / measured.values)
    scaled = fourier.irfftn(fourier.rfftn(x) * gain, (64, 48))
    np.testing.assert_allclose(spectrum.amplitude_profile(scaled, 5.0, width).values, wanted, rtol=1e-10)


def test_low_pass_is_half_at_the_resolution(arrays: Namespace) -> None:
    k = arrays.asarray(np.array([0.0, 1 / 40, 1 / 20]))
    np.testing.assert_allclose(to_host(spectrum.gaussian_low_pass(k, 40.0)), [1.0, 0.5, 1 / 16], rtol=1e-14)


@pytest.mark.parametrize("length", [20, 21])
def test_taper(arrays: Namespace, length: int) -> None:
    window = to_host(spectrum.cosine_taper(length, 0.2, arrays.asarray(np.zeros(1, np.float32))))
    assert window.dtype == np.float32
    np.testing.assert_allclose(window, window[::-1])
    np.testing.assert_array_equal(window[4 : length - 4], 1.0)
    np.testing.assert_allclose(window[:4] + window[3::-1], 1.0, rtol=1e-6)
    assert np.all(np.diff(window[:5]) > 0)


def test_taper_limits() -> None:
    np.testing.assert_array_equal(spectrum.cosine_taper(7, 0.0, np.zeros(1)), np.ones(7))
    hann = np.sin(np.pi * (np.arange(8) + 0.5) / 8) ** 2
    np.testing.assert_allclose(spectrum.cosine_taper(8, 0.5, np.zeros(1)), hann)


def test_refusals() -> None:
    k, values = np.zeros((4, 4)), np.zeros((4, 4))
    with pytest.raises(ConfigError, match="ring width"):
        spectrum.radial_average(values, k, 0.0)
    with pytest.raises(ConfigError, match="same shape"):
        spectrum.radial_average(values, k[:2], 1.0)
    with pytest.raises(ConfigError, match="no sample"):
        spectrum.radial_average(values, k + 9, 1.0, 3)
    with pytest.raises(ConfigError, match="ascending"):
        spectrum.apply_radial_profile(k, [0.1, 0.1], [1.0, 2.0])
    with pytest.raises(ConfigError, match="one for each ring"):
        spectrum.ring_filter(k, 1.0, [])
    with pytest.raises(ConfigError, match="resolution"):
        spectrum.gaussian_low_pass(k, -3.0)
    with pytest.raises(ConfigError, match="fraction"):
        spectrum.cosine_taper(8, 0.7, k)
    with pytest.raises(ConfigError, match="complex128"):
        spectrum.power_profile(k + 0j, 1.0)
