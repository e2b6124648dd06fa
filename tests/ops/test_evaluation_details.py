"""What an evaluation keeps for figures: histograms and curves against plain counting, and intervals against theory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from cryodask.kernels.rotations import matrix_from_zxz_deg, zxz_deg_from_matrix
from cryodask.kernels.scoring import Counts
from cryodask.model.particles import Particles
from cryodask.ops.evaluation import count_tomogram, merge_all
from cryodask.ops.evaluation_details import EXAMPLES, NO_SCORE, score_of, step_of
from cryodask.ops.evaluation_intervals import particle_intervals, tomogram_intervals
from cryodask.ops.evaluation_result import finalise
from tests.ops.test_evaluation import VOXEL, centred, evaluate, make_picks, make_truth

MODES = ("shrec21", "strict", "czii")


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=20))
def test_steps_are_in_the_order_of_the_scores(scores: list[float]) -> None:
    values = np.sort(np.array(scores, dtype=np.float32))
    assert (np.diff(step_of(values)) >= 0).all()


def test_a_step_is_a_thousandth_and_nothing_is_below_everything() -> None:
    for value in (0.123456, 7.0, 1e-6, -3.3):
        (step,) = step_of([value])
        back = score_of(int(step))
        assert back == pytest.approx(value, rel=1.1e-3)
    assert step_of([np.nan])[0] == NO_SCORE < step_of([-np.inf])[0]
    assert score_of(NO_SCORE) is None


@pytest.mark.parametrize("mode", MODES)
def test_distances_of_classes_add_up_to_the_mean_of_all(mode: str) -> None:
    truth = make_truth(seed=2)
    near = truth.particles.position_angstrom + np.random.default_rng(0).normal(0, 4, (32, 3))
    picks = replace(truth.particles, position_angstrom=near)
    counts = count_tomogram(truth, picks, mode=mode)
    assert sum(counts.details.distance_sums) == counts.picks.distance_sum
    result = finalise(counts)
    table = result["distances"]["histogram"]
    assert sum(map(sum, table.values())) == result["localization"]["TP"] > 10
    for name, row in table.items():
        mean = result["distances"]["AD"][name]
        if sum(row):
            centres = (np.arange(len(row)) + 0.5) * result["distances"]["bin_voxels"]
            assert mean == pytest.approx(np.average(centres, weights=row), abs=0.126)
        else:
            assert mean is None


@pytest.mark.parametrize("mode", MODES)
def test_the_curve_is_the_evaluation_of_the_picks_above_each_score(mode: str) -> None:
    truth = make_truth(seed=4)
    picks = make_picks(truth, seed=1, n=60)
    picks = picks.take(np.argsort(-picks.score, kind="stable"))  # shrec21 takes the order of the file
    curve = evaluate(truth, picks, mode)["curve"]
    assert len(curve["score"]) > 20
    for score, precision, recall in zip(curve["score"], curve["precision"], curve["recall"], strict=True):
        above = evaluate(truth, picks.take(step_of(picks.score) >= step_of([score])[0]), mode)["localization"]
        assert (precision, recall) == (above["precision"], above["recall"])
    gain = np.diff([0.0, *curve["recall"]])
    assert curve["average_precision"] == pytest.approx(float(np.dot(gain, curve["precision"])))


def test_picks_without_scores_have_no_curve() -> None:
    truth = make_truth()
    picks = replace(make_picks(truth), score=np.full(40, np.nan))
    assert evaluate(truth, picks, "strict")["curve"] is None


def test_orientation_errors_know_symmetry_and_need_the_right_class() -> None:
    truth = make_truth()
    n = len(truth.particles)
    angles = np.random.default_rng(0).uniform(0, 170, (n, 3))
    truth = replace(truth, particles=replace(truth.particles, zxz_deg=angles), symmetry={"1bxn": "C4"})
    off = np.where(truth.particles.class_id == "1BXN", 97.0, 12.0)
    turn = matrix_from_zxz_deg(np.stack([off, np.zeros(n), np.zeros(n)], axis=1))
    turned = zxz_deg_from_matrix(matrix_from_zxz_deg(angles) @ turn)
    classes = truth.particles.class_id.copy()
    wrong = int(np.flatnonzero(classes == "5MRC")[0])
    classes[wrong] = "1S3X"
    picks = replace(truth.particles, zxz_deg=turned, class_id=classes)
    own = evaluate(truth, picks, "strict")["orientation"]
    assert own["median_deg"]["1BXN"] == 7.5  # 97 degrees are 7 from a mate: the middle of the bin from 5 to 10
    assert own["median_deg"]["1S3X"] == 12.5
    assert own["compared"]["5MRC"] == int(np.sum(truth.particles.class_id == "5MRC")) - 1
    assert sum(own["histogram"]["1BXN"]) == own["histogram"]["1BXN"][1] == own["compared"]["1BXN"]
    assert evaluate(truth, replace(picks, zxz_deg=np.full((n, 3), np.nan)), "strict")["orientation"] is None


def test_examples_are_the_foremost_of_all_tomograms() -> None:
    truths = [make_truth(f"model_{k}", k) for k in range(3)]
    away = centred([[0, 0, 10 * (k % 4)] for k in range(20)])
    counts = []
    for k, truth in enumerate(truths):
        scores = np.arange(20.0) + 100 * k
        picks = Particles.create(["1BXN"] * 20, away - VOXEL * 30, tomogram=truth.name, score=scores)
        counts.append(count_tomogram(truth, picks, mode="strict"))
    result = finalise(merge_all(counts), molecular_weight_kda=truths[0].molecular_weight_kda)
    wrong = result["examples"]["false_positives"]
    assert [own["score"] for own in wrong] == [219.0 - k for k in range(EXAMPLES)]
    assert {own["tomogram"] for own in wrong} == {"model_2"}
    assert [own["line"] for own in wrong] == [20 - k for k in range(EXAMPLES)]
    misses = result["examples"]["misses"]
    assert {own["class"] for own in misses} == {"5MRC"}
    assert [row["name"] for row in result["tomograms"]] == ["model_0", "model_1", "model_2"]
    assert sum(row["FN"] for row in result["tomograms"]) == result["localization"]["FN"]


def test_intervals_over_particles_have_the_width_of_the_binomial_law() -> None:
    counts = replace(Counts.zero(2), found=300, recall_base=400, precision_base=1000, class_found=(0, 300))
    counts = replace(counts, class_missed=(0, 100), class_false_positive=(0, 700))
    own = particle_intervals(counts, [1])
    for name, share, n in (("recall", 0.75, 400), ("precision", 0.3, 1000)):
        low, high = scipy.stats.norm.interval(0.95, share, np.sqrt(share * (1 - share) / n))
        assert own[name] == pytest.approx([low, high], abs=0.006)
    assert own["F1"][0] < 2 * 300 / 1400 < own["F1"][1]
    assert own["macro_f1"] == pytest.approx(own["F1"], abs=0.01)
    assert particle_intervals(counts, [1]) == own
    assert particle_intervals(Counts.zero(2), []) == dict.fromkeys(("recall", "precision", "F1", "macro_f1"))


def test_intervals_over_tomograms_need_two_and_vanish_for_equal_ones() -> None:
    truth = make_truth()
    picks = make_picks(truth)
    one = count_tomogram(truth, picks, mode="strict")
    labels = [1, 2, 3]
    assert tomogram_intervals(one.details.tomograms, labels) is None
    same = tomogram_intervals(merge_all([one] * 4).details.tomograms, labels)
    f1 = finalise(one)["localization"]["F1"]
    assert same is not None
    assert same["F1"] == pytest.approx([f1, f1])
    none = count_tomogram(truth, picks.take(np.arange(0)), mode="strict")
    spread = tomogram_intervals(merge_all([one, none]).details.tomograms, labels)
    assert spread is not None
    assert spread["F1"] == pytest.approx([0.0, f1])
