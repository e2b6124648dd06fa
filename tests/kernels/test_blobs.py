"""Blobs by the Laplacian and the difference of Gaussians, on every array library."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_laplace

from cryodask.backend import to_host
from cryodask.errors import ConfigError
from cryodask.kernels.blobs import difference_of_gaussians, find_blobs, laplacian_of_gaussian, without_balls
from tests.conftest import Namespace
from tests.tiny import gaussian

SHAPE = (40, 44, 48)


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    axes = np.indices(SHAPE) - np.array(centre).reshape(3, 1, 1, 1)
    return np.asarray(np.sqrt((axes**2).sum(axis=0)) < radius, dtype=np.float32)


def test_laplacian_is_that_of_scipy(arrays: Namespace) -> None:
    volume = np.random.default_rng(0).standard_normal(SHAPE)
    expected = -4.0 * gaussian_laplace(volume, 2.0, mode="wrap", truncate=8)
    found = to_host(laplacian_of_gaussian(arrays.asarray(volume), 2.0))
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.std())


def test_a_ball_answers_most_at_its_centre_and_at_its_radius_over_root_three() -> None:
    volume = ball((20, 21, 22), 5.0)
    answers = {sigma: float(laplacian_of_gaussian(volume, sigma)[20, 21, 22]) for sigma in (2.0, 2.5, 2.9, 3.4, 4.0)}
    assert max(answers, key=lambda sigma: answers[sigma]) == 2.9


def test_difference_of_gaussians_is_what_it_says(arrays: Namespace) -> None:
    volume = gaussian(SHAPE, (20, 20, 20), 2.0).astype(np.float64)
    found = to_host(difference_of_gaussians(arrays.asarray(volume), 1.5, 2.4))
    # Gaussians convolve to Gaussians of summed variances.
    expected = (4 / (4 + 2.25)) ** 1.5 - (4 / (4 + 5.76)) ** 1.5
    assert found[20, 20, 20] == pytest.approx(expected, rel=1e-3)
    with pytest.raises(ConfigError, match="narrower"):
        difference_of_gaussians(arrays.asarray(volume), 2.0, 2.0)


def test_every_bead_is_found_once_strongest_first() -> None:
    volume = 0.2 * np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    volume += 4 * ball((12, 12, 12), 4) + 6 * ball((28, 30, 30), 3)
    found = find_blobs(volume, (1.0, 1.7, 2.3, 3.0), 10.0)
    assert sorted(map(tuple, found.index.tolist())) == [(12, 12, 12), (28, 30, 30)]
    assert list(found.strength) == sorted(found.strength, reverse=True)
    assert len(find_blobs(0.2 * np.random.default_rng(2).standard_normal(SHAPE), (1.0, 3.0), 10.0).index) == 0
    with pytest.raises(ConfigError, match="positive scales"):
        find_blobs(volume, (), 10.0)


def test_weights_about_centres() -> None:
    weight = without_balls((20, 20, 20), np.array([[0, 10, 10]]), 3.0, 6.0)
    assert weight[0, 10, 10] == weight[2, 10, 10] == 0
    assert weight[0, 10, 16] == pytest.approx(1)
    assert weight[4, 10, 10] == pytest.approx(0.5 - 0.5 * np.cos(np.pi / 3))
    assert weight[19, 19, 19] == 1
