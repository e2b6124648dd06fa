"""The cut at the upper Gaussian of a list of scores."""

from __future__ import annotations

import numpy as np
import pytest

from cryodask.kernels.score_cutoff import kept_scores, upper_gaussian


def test_two_gaussians_are_told_apart() -> None:
    random = np.random.default_rng(0)
    background, particles = random.normal(0.2, 0.02, 850), random.normal(0.5, 0.04, 150)
    mean, deviation = upper_gaussian(np.concatenate([background, particles]))
    assert mean == pytest.approx(0.5, abs=0.02)
    assert deviation == pytest.approx(0.04, abs=0.01)
    kept = kept_scores(np.concatenate([background, particles]))
    assert not kept[:850].any()
    # Of a Gaussian, 97.7 % lie above mean - 2 sigma.
    assert 0.94 <= kept[850:].mean() <= 1


@pytest.mark.parametrize("scores", [[], [0.3], [0.4] * 20])
def test_few_or_equal_scores_are_all_kept(scores: list[float]) -> None:
    assert kept_scores(scores).all()
