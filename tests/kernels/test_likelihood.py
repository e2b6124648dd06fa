"""Log-likelihood ratios against the densities they stand for; gate, amplitude freedom, posterior."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from cryodask.errors import ConfigError
from cryodask.kernels.likelihood import (
    amplitude_gain,
    false_discovery_rate,
    log_mean,
    log_ratio,
    passes_gate,
    tempered_posterior,
    usual_amplitude,
)
from tests.conftest import Namespace


def test_ratio_is_that_of_two_gaussian_densities(arrays: Namespace) -> None:
    """White noise of n voxels with and without alpha T: all that counts of the volume is its product with T."""
    random = np.random.default_rng(0)
    template, volume, alpha = random.standard_normal(50), random.standard_normal(50), 0.7
    length = float(np.linalg.norm(template))
    expected = norm.logpdf(volume - alpha * template).sum() - norm.logpdf(volume).sum()
    x = arrays.asarray(np.array([volume @ template / length]))
    found = log_ratio(x, arrays.asarray(np.array([length])), alpha)
    assert float(found[0]) == pytest.approx(expected)


def test_mean_of_likelihoods(arrays: Namespace) -> None:
    values = np.array([[900.0, 901.0], [-5.0, 890.0]])
    assert log_mean(arrays.asarray(values), 3) == pytest.approx(logsumexp(values) - math.log(3))
    with pytest.raises(ConfigError):
        log_mean(arrays.asarray(values), 0)


def test_a_particle_of_another_amplitude_gains_up_to_the_limits() -> None:
    length, alpha = 10.0, 0.5
    assert amplitude_gain(alpha * length, length, alpha) == pytest.approx(0)
    # 10 % more is within the freedom: the gain is that of the best amplitude, (sigma delta)^2 / 2.
    assert amplitude_gain(1.1 * alpha * length, length, alpha) == pytest.approx((length * 0.1 * alpha) ** 2 / 2)
    far, limit = 2 * alpha * length, 1.15 * alpha
    expected = log_ratio(np.array(far), np.array(length), limit) - log_ratio(np.array(far), np.array(length), alpha)
    assert amplitude_gain(far, length, alpha) == pytest.approx(float(expected))


def test_posterior_rises_with_the_score_and_falls_with_a_rival() -> None:
    scores = np.array([-10.0, 0, 3, 20, 100])
    alone = tempered_posterior(scores)
    assert np.all(np.diff(alone) > 0)
    assert alone[1] == pytest.approx(1 / (1 + math.exp(0.6)))
    with_rival = tempered_posterior(scores, np.full(5, 2.0))
    assert np.all(with_rival[:4] < alone[:4])  # the last is 1 to all digits
    # Two classes of the same overwhelming score share what there is.
    assert tempered_posterior([100.0], [100.0])[0] == pytest.approx(0.5, abs=1e-6)


def test_gate_drops_what_is_too_faint_for_its_class() -> None:
    length = np.full(12, 20.0)
    amplitude = np.array([0.7] * 10 + [0.68, 0.4])
    usual = usual_amplitude(amplitude, np.full(12, 30.0))
    assert usual == 0.7
    assert passes_gate(amplitude, length, usual).tolist() == [True] * 11 + [False]
    # The gate is as wide as the noise: with sigma = 2 the same amplitude passes.
    assert passes_gate(amplitude, np.full(12, 2.0), usual).all()
    # Without confident picks there is nothing to compare with; four fairly confident ones will do.
    assert usual_amplitude(amplitude, np.full(12, 2.0)) is None
    assert passes_gate(amplitude, length, None).all()
    assert usual_amplitude(amplitude, np.where(np.arange(12) < 4, 9.0, 2.0)) == 0.7


def test_false_discoveries_are_counted_by_decoys() -> None:
    scores, decoys = np.array([9.0, 7, 5, 3, 1]), np.array([6.0, 2, 0.5])
    assert false_discovery_rate(scores, decoys) == pytest.approx([0, 0, 1 / 3, 1 / 3, 2 / 5])
    assert false_discovery_rate(scores[::-1], decoys) == pytest.approx([2 / 5, 1 / 3, 1 / 3, 0, 0])
    assert false_discovery_rate(scores, []).tolist() == [0.0] * 5
    assert false_discovery_rate([1.0], [2.0, 3.0]).tolist() == [1.0]
