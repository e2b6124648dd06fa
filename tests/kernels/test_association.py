"""Correlations against scipy's, their intervals against published numbers and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from cryodask.kernels.association import pearson, spearman
from cryodask.model.shrec21_paper import CLASSES, SUBMISSIONS
from cryodask.model.shrec21_table1 import TABLE_1


def test_coefficients_and_pearsons_interval_are_those_of_scipy() -> None:
    generator = np.random.default_rng(0)
    for n in (4, 7, 30):
        x = generator.integers(0, 5, n).astype(float)
        y = x + generator.normal(0, 2, n)
        ours, theirs = pearson(list(x), list(y)), scipy.stats.pearsonr(x, y)
        assert ours is not None
        assert ours.coefficient == pytest.approx(theirs.statistic, abs=1e-12)
        interval = theirs.confidence_interval(0.95)
        assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
        ranks = spearman(list(x), list(y))
        assert ranks is not None
        assert ranks.coefficient == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)


def test_the_interval_of_ranks_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    rho = 0.6
    true = 6 / math.pi * math.asin(rho / 2)  # Spearman's coefficient of a normal pair with correlation rho
    covered = 0
    for _ in range(1000):
        x = generator.normal(size=30)
        own = spearman(list(x), list(rho * x + math.sqrt(1 - rho**2) * generator.normal(size=30)))
        assert own is not None
        covered += own.low <= true <= own.high
    assert 0.92 < covered / 1000 < 0.98


def test_nothing_to_correlate() -> None:
    assert pearson([1, 2, 3], [1, 2, 3]) is None
    assert spearman([1, 2, 3, 4], [5, 5, 5, 5]) is None
    perfect = spearman([1, 2, 3, 4], [1, 4, 9, 16])
    assert perfect is not None
    assert (perfect.coefficient, perfect.low, perfect.high) == pytest.approx((1, 1, 1))


def test_the_papers_submissions_do_better_on_heavier_proteins() -> None:
    weights = [row.molecular_weight_kda for row in TABLE_1.values()]
    assert list(TABLE_1) == list(CLASSES[:-1])
    for own in SUBMISSIONS.values():
        found = spearman(weights, own.class_f1[:-1])
        assert found is not None
        assert found.low > 0.2
