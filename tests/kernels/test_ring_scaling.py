"""Ring scaling: the amplitudes asked for, phases, mean and variance kept, linear in the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.ring_scaling import RingGains, ring_gains, scale_rings, synthetic_amplitudes
from cryodask.kernels.spectrum import amplitude_profile
from tests.conftest import Namespace

PIXEL = 5.0


def image(shape: tuple[int, int] = (48, 64), dtype: type[Any] = np.float64) -> npt.NDArray[Any]:
    return (np.random.default_rng(5).standard_normal(shape) * 3 + 40).astype(dtype)


@pytest.mark.parametrize("shape", [(48, 64), (33, 35)])
def test_ring_means_follow_the_profile(arrays: Namespace, shape: tuple[int, int]) -> None:
    given = arrays.asarray(image(shape))
    gains = ring_gains(given, PIXEL)
    profile = amplitude_profile(scale_rings(given, gains, PIXEL), PIXEL, gains.width)
    ratio = profile.values[1:] / synthetic_amplitudes(profile.k[1:])
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_mean_variance_and_phases_stay(arrays: Namespace) -> None:
    before = image()
    given = arrays.asarray(before)
    after = to_host(scale_rings(given, ring_gains(given, PIXEL), PIXEL))
    assert after.mean() == pytest.approx(before.mean(), rel=1e-10)
    assert after.std() == pytest.approx(before.std(), rel=1e-6)
    quotient = np.fft.rfft2(after - after.mean()) / np.fft.rfft2(before - before.mean())
    np.testing.assert_allclose(np.angle(quotient.ravel()[1:]), 0.0, atol=1e-9)


def test_the_same_gains_act_on_signal_and_noise_alike() -> None:
    signal, noise = image(), np.random.default_rng(1).standard_normal((48, 64))
    gains = ring_gains(signal + noise, PIXEL)
    whole = scale_rings(signal + noise, gains, PIXEL)
    np.testing.assert_allclose(whole, scale_rings(signal, gains, PIXEL) + scale_rings(noise, gains, PIXEL), atol=1e-10)


def test_single_precision_stays_single() -> None:
    given = image(dtype=np.float32)
    assert scale_rings(given, ring_gains(given, PIXEL), PIXEL).dtype == np.float32


def test_gains_of_one_change_nothing() -> None:
    np.testing.assert_allclose(scale_rings(image(), RingGains(0.01, np.ones(3)), PIXEL), image(), atol=1e-12)


def test_the_synthetic_profile_is_the_documented_one() -> None:
    np.testing.assert_allclose(synthetic_amplitudes([0.0, 0.006, 0.054]), [1.3, 0.8, 0.4])


@pytest.mark.parametrize("wrong", [np.full((8, 8), 3.0), np.ones((2, 8, 8)), np.ones((8, 8), int)])
def test_what_is_no_image_or_has_no_contrast_is_refused(wrong: npt.NDArray[Any]) -> None:
    with pytest.raises(DataError, match=r"ring"):
        ring_gains(wrong, PIXEL)


def test_a_pixel_size_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="pixel_size_angstrom must be positive"):
        ring_gains(image(), 0.0)
