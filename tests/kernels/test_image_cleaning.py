"""Hot pixels, dose weights and shell correlations against what their definitions say."""

from __future__ import annotations

import numpy as np
import pytest

from cryodask.backend import to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.dose_weighting import dose_weight
from cryodask.kernels.hot_pixels import remove_hot_pixels
from cryodask.kernels.shell_correlation import resolution_angstrom, shell_correlation
from cryodask.kernels.spectrum import RadialProfile
from tests.conftest import Namespace
from tests.tiny import gaussian


def test_hot_and_dead_pixels_become_like_their_neighbours(arrays: Namespace) -> None:
    image = np.random.default_rng(0).poisson(400, (64, 80)).astype(np.float32)
    spoilt = image.copy()
    places = [(0, 0), (10, 79), (30, 30), (63, 5)]
    for number, place in enumerate(places):
        spoilt[place] = 60000 if number % 2 else -60000
    cleaned = to_host(remove_hot_pixels(arrays.asarray(spoilt), 8.0))
    for place in places:
        assert abs(cleaned[place] - 400) < 100
        cleaned[place] = image[place]
    np.testing.assert_array_equal(cleaned, image)


def test_noise_and_small_things_stay() -> None:
    noise = np.random.default_rng(1).poisson(3, (128, 128)).astype(np.float32)
    assert remove_hot_pixels(noise, 10.0) is noise
    blob = gaussian((200, 200), (100.3, 90.1), 1.2)  # its peak is 60 standard deviations above the mean
    assert (blob.max() - blob.mean()) / blob.std() > 50
    np.testing.assert_array_equal(remove_hot_pixels(blob, 10.0), blob)


def test_hot_pixels_need_an_image_and_a_limit() -> None:
    with pytest.raises(ConfigError, match="sigma"):
        remove_hot_pixels(np.zeros((4, 4)), 0.0)
    with pytest.raises(DataError, match="image"):
        remove_hot_pixels(np.zeros((4, 4, 4)), 1.0)


def test_dose_weights_by_the_formula(arrays: Namespace) -> None:
    n, pixel, exposure = 64, 2.0, 30.0
    column = 10
    wave = np.cos(2 * np.pi * column * np.arange(n) / n)
    image = np.broadcast_to(wave, (n, n)).astype(np.float32).copy()
    result = to_host(dose_weight(arrays.asarray(image), pixel_size_angstrom=pixel, exposure_e_per_a2=exposure))
    k = column / (n * pixel)
    expected = np.exp(-exposure / (2 * (0.24499 * k**-1.6649 + 2.8141)))
    np.testing.assert_allclose(result, image * expected, atol=1e-6)


def test_dose_leaves_the_mean_and_weighs_more_at_low_voltage() -> None:
    image = np.random.default_rng(0).normal(5, 1, (32, 32))
    weaker = dose_weight(image, pixel_size_angstrom=3.0, exposure_e_per_a2=20.0)
    at_200 = dose_weight(image, pixel_size_angstrom=3.0, exposure_e_per_a2=20.0, voltage_kv=200.0)
    assert weaker.mean() == pytest.approx(image.mean())
    assert at_200.std() < weaker.std() < image.std()
    np.testing.assert_allclose(dose_weight(image, pixel_size_angstrom=3.0, exposure_e_per_a2=0.0), image, atol=1e-12)
    with pytest.raises(ConfigError, match="exposure"):
        dose_weight(image, pixel_size_angstrom=3.0, exposure_e_per_a2=-1.0)


def test_correlation_of_a_volume_with_itself_and_with_noise(arrays: Namespace) -> None:
    rng = np.random.default_rng(3)
    volume = rng.normal(size=(20, 33, 32)).astype(np.float32)
    other = rng.normal(size=volume.shape).astype(np.float32)
    same = shell_correlation(arrays.asarray(volume), arrays.asarray(3 * volume), 10.0)
    np.testing.assert_allclose(same.values, 1.0, atol=1e-5)
    np.testing.assert_allclose(same.k, np.arange(1, 17) / 330, atol=1e-12)
    against = shell_correlation(arrays.asarray(volume), arrays.asarray(other), 10.0)
    assert np.abs(against.values[4:]).max() < 0.2


def test_correlation_of_a_signal_in_noise_is_its_share_of_the_power() -> None:
    """Two halves with the same white signal and noise of the same power correlate to one half everywhere."""
    rng = np.random.default_rng(5)
    signal, *noise = (rng.normal(size=(48, 48, 48)) for _ in range(3))
    curve = shell_correlation(signal + noise[0], signal + noise[1], 1.0)
    assert curve.values[8:].mean() == pytest.approx(0.5, abs=0.02)


def test_resolution_is_where_the_curve_falls() -> None:
    k = np.arange(1, 6) / 100
    assert resolution_angstrom(RadialProfile(k, np.array([1, 0.9, 0.243, 0.043, 0.0]))) == pytest.approx(100 / 3.5)
    assert resolution_angstrom(RadialProfile(k, np.ones(5))) is None
    assert resolution_angstrom(RadialProfile(k, np.zeros(5))) == pytest.approx(100)
    with pytest.raises(DataError, match="one shape"):
        shell_correlation(np.zeros((4, 4, 4)), np.zeros((4, 4, 5)), 1.0)
