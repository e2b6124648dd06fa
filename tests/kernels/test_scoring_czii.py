"""Mode czii against a naive reference, its formula, and what counts for and against."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryodask.kernels.scoring import Counts, Judged
from cryodask.kernels.scoring_czii import class_scores, f_beta, score_czii

N_LABELS = 4
VESICLE = 3


@pytest.mark.parametrize(
    ("found", "false_positive", "missed", "expected"),
    [(5, 0, 0, 1.0), (0, 3, 2, 0.0), (0, 0, 0, None), (1, 0, 1, 17 / 33), (1, 1, 0, 17 / 18)],
)
def test_f_beta(found: int, false_positive: int, missed: int, expected: float | None) -> None:
    assert f_beta(found, false_positive, missed) == expected


def test_f_beta_of_one_is_f1_and_of_precision_and_recall_the_published_formula() -> None:
    found, false_positive, missed = 7, 5, 2
    precision, recall = found / (found + false_positive), found / (found + missed)
    for beta in (1.0, 4.0):
        published = (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
        assert f_beta(found, false_positive, missed, beta) == pytest.approx(published, rel=1e-12)


def naive(
    truth: list[tuple[list[float], int, float]], picks: list[tuple[list[float], int]]
) -> dict[int, tuple[int, int, int]]:
    """(found, false, missed) of each class: each pick in turn takes the nearest free particle of its class."""
    free, counts = list(truth), {label: [0, 0] for label in range(1, N_LABELS)}
    for position, label in picks:
        if label not in counts:
            continue
        near = [t for t in free if t[1] == label and math.dist(t[0], position) <= t[2] / 2 + 1e-6]
        if near:
            free.remove(min(near, key=lambda t: math.dist(t[0], position)))
        counts[label][0 if near else 1] += 1
    return {
        label: (found, wrong, sum(t[1] == label for t in free))
        for label, (found, wrong) in counts.items()
        if label != VESICLE
    }


coordinates = st.lists(st.integers(0, 6).map(float), min_size=3, max_size=3)


@settings(max_examples=200, deadline=None)
@given(
    truth=st.lists(st.tuples(coordinates, st.integers(1, 3), st.integers(1, 9).map(float)), max_size=8),
    picks=st.lists(st.tuples(coordinates, st.integers(-1, 3)), max_size=10),
)
def test_counts_equal_a_naive_matching(
    truth: list[tuple[list[float], int, float]], picks: list[tuple[list[float], int]]
) -> None:
    # Ties in distance leave the choice open: move every particle by its own small amount.
    truth = [([c + 1e-3 * (i + 1) * (a + 1.7) for a, c in enumerate(t[0])], t[1], t[2]) for i, t in enumerate(truth)]
    judged = judge(truth, picks)
    counts = judged.counts
    expected = naive(truth, picks)
    assert int(judged.against.sum()) == counts.false_positive
    for pick, row in enumerate(judged.lies_on):
        if row >= 0:
            assert truth[row][1] == picks[pick][1]
            assert judged.found_by[row] == pick
    assert int((judged.found_by >= 0).sum()) == int((judged.lies_on >= 0).sum()) == counts.found
    assert int(judged.counted.sum()) == counts.precision_base
    assert int(judged.evaluated.sum()) == counts.recall_base
    for label, (found, wrong, missed) in expected.items():
        own = (counts.class_found[label], counts.class_false_positive[label], counts.class_missed[label])
        assert own == (found, wrong, missed)
    strangers = sum(label == -1 or label == 0 for _, label in picks)
    assert counts.found == sum(value[0] for value in expected.values())
    assert counts.false_positive == sum(value[1] for value in expected.values()) + strangers
    assert counts.missed == sum(value[2] for value in expected.values())
    assert counts.submitted == len(picks)
    assert counts.n_tomograms == 1


def score(truth: list[tuple[list[float], int, float]], picks: list[tuple[list[float], int]]) -> Counts:
    return judge(truth, picks).counts


def judge(truth: list[tuple[list[float], int, float]], picks: list[tuple[list[float], int]]) -> Judged:
    return score_czii(
        np.array([t[0] for t in truth], float).reshape(-1, 3),
        np.array([t[1] for t in truth], int),
        np.array([t[2] for t in truth], float),
        np.array([p[0] for p in picks], float).reshape(-1, 3),
        np.array([p[1] for p in picks], int),
        np.arange(len(picks), 0, -1).astype(float),
        n_labels=N_LABELS,
        excluded={VESICLE},
    )


def test_a_pick_of_another_class_is_wrong_and_finds_nothing() -> None:
    counts = score([([1.0, 1, 1], 1, 4.0)], [([1.0, 1, 1], 2)])
    assert (counts.found, counts.false_positive, counts.missed) == (0, 1, 1)
    assert class_scores(counts)[1:3] == [0.0, 0.0]
