"""White noise inside the wedge, whatever spectrum it had before."""

from __future__ import annotations

import numpy as np
import pytest

from cryodask.backend import to_host
from cryodask.errors import DataError
from cryodask.kernels.fourier import irfftn, radius, rfftn
from cryodask.kernels.templates import wedge_mask
from cryodask.kernels.whitening import pass_band, ramp_amplitude, whitened
from tests.conftest import Namespace

SHAPE = (36, 40, 48)
TILTS = tuple(range(-60, 61, 3))


def ramp_noise(seed: int) -> np.ndarray:
    """Noise as a ramp-weighted back-projection leaves it, times a falling profile."""
    white = np.random.default_rng(seed).standard_normal(SHAPE)
    k = radius(SHAPE, 1.0, white, real=True)
    shape = ramp_amplitude(SHAPE, white) * wedge_mask(SHAPE, TILTS, white) / (1 + 20 * k)
    return np.asarray(irfftn(rfftn(white) * shape, SHAPE))


def test_products_with_unit_images_have_unit_variance() -> None:
    random = np.random.default_rng(99)
    images = []
    for _ in range(40):
        small = (
            rfftn(random.standard_normal(SHAPE)) * wedge_mask(SHAPE, TILTS, np.zeros(1)) * pass_band(SHAPE, np.zeros(1))
        )
        image = irfftn(small * (radius(SHAPE, 1.0, np.zeros(1), real=True) > 0.03), SHAPE)
        images.append(image / np.linalg.norm(image))
    volumes = [whitened(ramp_noise(seed), TILTS) for seed in range(6)]
    products = np.array([[float((v * u).sum()) for u in images] for v in volumes])
    assert products.mean() == pytest.approx(0, abs=0.2)
    assert products.std() == pytest.approx(1, abs=0.15)


def test_scale_and_radial_profile_of_the_volume_drop_out(arrays: Namespace) -> None:
    noise = ramp_noise(0)
    first = to_host(whitened(arrays.asarray(noise), TILTS))
    again = to_host(whitened(arrays.asarray(37.0 * noise + 5), TILTS))
    np.testing.assert_allclose(again, first, atol=1e-9)
    spectrum = np.abs(rfftn(first)) ** 2
    outside = wedge_mask(SHAPE, TILTS, first) == 0
    assert spectrum[outside].max() < 1e-16 * spectrum.max()


def test_ramp_is_the_same_after_any_flip() -> None:
    ramp = ramp_amplitude((9, 9, 9), np.zeros(1))
    for axis in (0, 1):
        np.testing.assert_array_equal(np.roll(np.flip(ramp, axis), 1, axis), ramp)


def test_a_constant_volume_is_refused() -> None:
    with pytest.raises(DataError, match="constant"):
        whitened(np.ones(SHAPE), TILTS)
