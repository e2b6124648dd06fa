"""Counting: the mask look-ups against scipy, both modes against naive references, and the laws of the counts."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import fields
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from cryodask.backend import portable_only
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.scoring import (
    Counts,
    dilated_ids,
    extents,
    fixed_point,
    nearest_voxels,
)
from cryodask.kernels.scoring_shrec21 import first_picks, score_shrec21
from cryodask.kernels.scoring_strict import best_first, match_greedily, score_strict
from tests.conftest import Namespace

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

N_LABELS = 5
EXCLUDED = {1, 4}
"""Label 1 plays 4V94, label 4 the vesicle."""


def random_mask(generator: np.random.Generator, shape: tuple[int, int, int], n: int) -> npt.NDArray[np.int32]:
    """Blobs that touch and overlap; a particle may end up with no voxel at all."""
    mask = np.zeros(shape, dtype=np.int32)
    for k in range(1, n + 1):
        corner = [int(generator.integers(0, size)) for size in shape]
        size = generator.integers(1, 4, 3)
        mask[tuple(slice(a, a + int(b)) for a, b in zip(corner, size, strict=True))] = k
    return mask


def test_dilated_ids_equal_the_grey_dilation_of_the_whole_volume(arrays: Namespace) -> None:
    generator = np.random.default_rng(1)
    mask = random_mask(generator, (6, 7, 8), 12)
    cross = scipy.ndimage.generate_binary_structure(3, 1)
    dilated = scipy.ndimage.grey_dilation(mask, footprint=cross)
    voxel = np.argwhere(np.ones(mask.shape, dtype=bool))
    np.testing.assert_array_equal(dilated_ids(arrays.asarray(mask), voxel), dilated.ravel())
    np.testing.assert_array_equal(dilated_ids(arrays.asarray(mask.astype(np.float32)), voxel), dilated.ravel())
    assert dilated_ids(arrays.asarray(mask), voxel[:0]).shape == (0,)


def test_dilation_gives_a_contested_voxel_to_the_higher_id() -> None:
    mask = np.zeros((1, 1, 5), dtype=np.int32)
    mask[0, 0, [1, 3]] = 7, 3
    assert dilated_ids(mask, np.array([[0, 0, 2]]))[0] == 7
    assert dilated_ids(mask, np.array([[0, 0, 4]]))[0] == 3


def test_a_mask_of_fractions_is_refused() -> None:
    with pytest.raises(DataError, match=r"1\.5"):
        dilated_ids(np.full((2, 2, 2), 1.5), np.array([[0, 0, 0]]))


def test_extents(arrays: Namespace) -> None:
    mask = np.zeros((5, 6, 7), dtype=np.int32)
    mask[1:4, 2:5, 0:3] = 2
    mask[0, 5, 6] = 1
    found = extents(arrays.asarray(mask), 3)
    np.testing.assert_allclose(found.radius_voxel, np.cbrt(3 * np.array([1, 27, 0]) / (4 * np.pi)), rtol=1e-12)
    np.testing.assert_array_equal(found.centroid_voxel, [[0, 5, 6], [2, 3, 1], [np.nan] * 3])
    centre = np.array([[0, 5, 4.0], [2, 3, 2.9], [0, 0, 0]])
    np.testing.assert_array_equal(found.near(centre, 1.9), [False, True, False])
    np.testing.assert_array_equal(found.near(centre, 2.0), [True, True, False])
    with pytest.raises(DataError, match=r"id 2.*1 particles"):
        extents(arrays.asarray(mask), 1)
    with pytest.raises(DataError, match="shape"):
        extents(arrays.asarray(mask[0]), 3)
    with pytest.raises(DataError, match=r"0\.5.*no particle id"):
        extents(arrays.asarray(np.full((2, 2, 2), 0.5)), 3)


def test_both_paths_measure_the_same_to_the_bit() -> None:
    generator = np.random.default_rng(7)
    mask = random_mask(generator, (9, 11, 13), 20)
    for own in (mask, mask.astype(np.uint8), mask.astype(np.int64), np.asfortranarray(mask)):
        fast = extents(own, 20)
        with portable_only():
            slow = extents(own, 20)
        np.testing.assert_array_equal(fast.radius_voxel, slow.radius_voxel)
        np.testing.assert_array_equal(fast.centroid_voxel, slow.centroid_voxel)
    mask[0, 0, 0] = -3
    for context in (nullcontext(), portable_only()):
        with context, pytest.raises(DataError, match="-3, which is no particle id"):
            extents(mask, 20)


def test_a_hollow_particle_is_near_its_centre() -> None:
    mask = np.zeros((1, 21, 21), dtype=np.int32)
    y, x = np.mgrid[:21, :21]
    mask[0, np.abs(np.hypot(y - 10, x - 10) - 9) < 0.5] = 1
    found = extents(mask, 1)
    assert found.radius_voxel[0] < 8
    assert found.near(np.array([[0.0, 10.0, 10.0]]), 2.0)[0]
    assert not found.near(np.array([[0.0, 10.0, 18.0]]), 2.0)[0]


def test_nearest_voxels_rounds_halves_to_even_and_moves_strangers_inside() -> None:
    voxel, outside = nearest_voxels(np.array([[0.5, 1.5, 2.5 + 1e-9], [-0.4, 7.6, 1.0]]), (4, 8, 8))
    np.testing.assert_array_equal(voxel, [[0, 2, 2], [0, 7, 1]])
    np.testing.assert_array_equal(outside, [False, True])


def naive_shrec21(
    truth_voxel: Floats, truth_label: Ints, pick_voxel: Ints, pick_label: Ints, dilated: Ints
) -> tuple[dict[str, int], float, npt.NDArray[np.int64]]:
    """The benchmark's rules in plain loops, one particle at a time."""
    hits: dict[int, list[int]] = {k: [] for k in range(len(truth_label) + 1)}
    for pick, voxel in enumerate(pick_voxel):
        hits[int(dilated[tuple(voxel)])].append(pick)
    result = dict.fromkeys(("found", "missed", "multiply_found", "recall_base"), 0)
    result["false_positive"] = len(hits[0])
    total = 0.0
    confusion = np.zeros((N_LABELS, N_LABELS), dtype=np.int64)
    for k, label in enumerate(truth_label, start=1):
        result["recall_base"] += label != 1
        if label in EXCLUDED:
            continue
        own = hits[k]
        result["found"] += len(own) >= 1
        result["missed"] += len(own) == 0
        result["multiply_found"] += len(own) > 1
        picked = 0
        if own:
            total += float(np.linalg.norm(np.asarray(pick_voxel[own[0]]) - truth_voxel[k - 1]))
            picked = 0 if pick_label[own[0]] in (1, -1) else pick_label[own[0]]
        confusion[label, picked] += 1
    return result, total, confusion


def test_shrec21_equals_the_naive_reference() -> None:
    for seed in range(400):
        check_shrec21(seed)


def check_shrec21(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shape = (5, 6, 7)
    n, m = int(generator.integers(0, 12)), int(generator.integers(0, 25))
    mask = random_mask(generator, shape, n)
    truth_voxel = np.floor(generator.random((n, 3)) * shape)
    truth_label = generator.integers(1, N_LABELS, n)
    pick_voxel, _ = nearest_voxels(generator.uniform(-1, 8, (m, 3)), shape)
    pick_label = generator.choice([-1, 1, 2, 3, 4], m)
    dilated = scipy.ndimage.grey_dilation(mask, footprint=scipy.ndimage.generate_binary_structure(3, 1))

    judged = score_shrec21(
        truth_voxel,
        truth_label,
        pick_voxel,
        pick_label,
        dilated_ids(mask, pick_voxel),
        n_labels=N_LABELS,
        excluded=EXCLUDED,
        excluded_but_in_recall={4},
    )
    counts = judged.counts
    expected, total, confusion = naive_shrec21(
        truth_voxel, truth_label, pick_voxel, pick_label, dilated.astype(np.int64)
    )

    assert {name: getattr(counts, name) for name in expected} == expected
    assert int((judged.found_by >= 0).sum()) == counts.found
    assert int(judged.against.sum()) == counts.false_positive
    for pick, row in enumerate(judged.lies_on):
        own = int(dilated[tuple(pick_voxel[pick])])
        assert row == (own - 1 if own and truth_label[own - 1] not in EXCLUDED else -1)
    assert counts.distance_sum / 2**40 == pytest.approx(total, abs=1e-9)
    np.testing.assert_array_equal(counts.confusion, confusion)
    assert counts.submitted == counts.found + counts.false_positive + counts.extra_picks + counts.ignored_picks
    assert counts.found + counts.missed == int(np.sum(confusion))
    assert counts.precision_base == m


def test_the_first_pick_in_the_file_decides() -> None:
    particle = np.array([0, 2, 1, 2])
    np.testing.assert_array_equal(first_picks(particle, 3), [2, 1, -1])
    with pytest.raises(DataError, match="id 2"):
        first_picks(particle, 1)


def naive_greedy(truth: Floats, tolerance: Floats, pick: Floats, score: Floats) -> list[tuple[int, int]]:
    """(pick, truth) pairs: repeatedly, the best pick left takes the nearest truth particle left."""
    pairs: list[tuple[int, int]] = []
    free = set(range(len(truth)))
    for p in sorted(range(len(pick)), key=lambda p: (np.inf if np.isnan(score[p]) else -score[p], p)):
        within = [(float(np.linalg.norm(truth[t] - pick[p])), t) for t in free]
        within = [(d, t) for d, t in within if d <= tolerance[t]]
        if within:
            pairs.append((p, min(within)[1]))
            free.remove(min(within)[1])
    return pairs


def test_strict_equals_the_naive_reference() -> None:
    for seed in range(300):
        check_strict(seed)


def check_strict(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n, m = int(generator.integers(0, 12)), int(generator.integers(0, 20))
    truth, pick = generator.uniform(0, 9, (n, 3)), generator.uniform(0, 9, (m, 3))
    truth_label, pick_label = generator.integers(1, N_LABELS, n), generator.choice([-1, 1, 2, 3, 4], m)
    tolerance = generator.uniform(1.5, 4, n)
    score = np.where(generator.random(m) < 0.2, np.nan, np.round(generator.random(m), 1))
    on_excluded = generator.random(m) < 0.1
    judged = score_strict(
        truth,
        truth_label,
        tolerance,
        pick,
        pick_label,
        score,
        n_labels=N_LABELS,
        excluded={4},
        pick_on_excluded=on_excluded,
    )
    counts = judged.counts

    of_interest = np.flatnonzero(pick_label != 4)
    real = np.flatnonzero(truth_label != 4)
    pairs = naive_greedy(truth[real], tolerance[real], pick[of_interest], score[of_interest])
    hit = {int(of_interest[p]) for p, _ in pairs}
    against = {int(p) for p in of_interest if p not in hit and not on_excluded[p]}
    assert (counts.found, counts.missed) == (len(pairs), len(real) - len(pairs))
    assert counts.false_positive == len(against)
    assert counts.submitted == m == counts.found + counts.false_positive + counts.ignored_picks
    assert {(p, t) for p, t in enumerate(judged.lies_on) if t >= 0} == {(of_interest[p], real[t]) for p, t in pairs}
    assert {(p, t) for t, p in enumerate(judged.found_by) if p >= 0} == {(of_interest[p], real[t]) for p, t in pairs}
    assert set(np.flatnonzero(judged.against)) == against
    assert set(np.flatnonzero(judged.counted)) == against | hit
    assert (counts.recall_base, counts.precision_base) == (len(real), len(pairs) + len(against))
    total = sum(np.linalg.norm(truth[real[t]] - pick[of_interest[p]]) for p, t in pairs)
    assert counts.distance_sum / 2**40 == pytest.approx(total, abs=1e-9)
    for label in (1, 2, 3):
        own, picks = np.flatnonzero(truth_label == label), np.flatnonzero(pick_label == label)
        found = naive_greedy(truth[own], tolerance[own], pick[picks], score[picks])
        taken = {int(picks[p]) for p, _ in found}
        assert counts.class_found[label] == len(found)
        assert counts.class_missed[label] == len(own) - len(found)
        assert counts.class_false_positive[label] == sum(
            int(p) not in taken and (p in hit or p in against) for p in picks
        )
    confusion = np.asarray(counts.confusion)
    np.testing.assert_array_equal(confusion.sum(axis=1)[1:4], [int((truth_label == k).sum()) for k in (1, 2, 3)])
    assert confusion[0].sum() == sum(int(pick_label[p]) > 0 for p in against)


def strict(
    truth_voxel: list[list[float]], pick_voxel: list[list[float]], score: list[float], tolerance: float = 2.5
) -> Counts:
    """All of one class."""
    truth, pick = np.array(truth_voxel, dtype=float), np.array(pick_voxel, dtype=float)
    return score_strict(
        truth,
        np.ones(len(truth), dtype=np.int64),
        np.full(len(truth), tolerance),
        pick,
        np.ones(len(pick), dtype=np.int64),
        np.array(score, dtype=float),
        n_labels=2,
        excluded=(),
    ).counts


def test_strict_takes_each_particle_once_and_counts_the_rest_as_false() -> None:
    counts = strict([[0, 0, 0]], [[0, 0, 1], [0, 0, 0], [0, 0, 2.5], [0, 0, 2.6]], [1, 2, 3, 4])
    assert (counts.found, counts.false_positive, counts.multiply_found, counts.extra_picks) == (1, 3, 1, 2)
    assert counts.distance_sum == fixed_point(np.array([2.5]))  # the best score within the tolerance, not the nearest
    assert counts.class_false_positive[1] == 3


def test_strict_prefers_a_free_neighbour_to_a_taken_particle() -> None:
    counts = strict([[0, 0, 0], [0, 0, 2]], [[0, 0, 0.5], [0, 0, 0.6]], [2, 1])
    assert (counts.found, counts.multiply_found) == (2, 0)


def test_picks_without_a_score_come_last_in_their_order() -> None:
    np.testing.assert_array_equal(best_first(np.array([np.nan, 1, 2, np.nan, 2])), [2, 4, 1, 0, 3])


def test_matching_nothing_gives_nothing() -> None:
    taken, near = match_greedily(np.empty((0, 3)), np.empty(0), np.zeros((2, 3)), np.arange(2))
    np.testing.assert_array_equal(taken, [-1, -1])
    assert near.shape == (0,)


def counts_strategy(n_labels: int = 3) -> st.SearchStrategy[Counts]:
    number = st.integers(0, 10**6)
    row = st.tuples(*[number] * n_labels)
    rows = {"confusion": st.tuples(*[row] * n_labels)} | dict.fromkeys(
        ("class_found", "class_false_positive", "class_missed"), row
    )
    values = {item.name: rows.get(item.name, number) for item in fields(Counts)}
    values["distance_sum"] = st.lists(st.floats(0, 100), max_size=4).map(lambda d: fixed_point(np.array(d)))
    return st.builds(Counts, **values)


@given(counts_strategy(), counts_strategy(), counts_strategy())
@settings(deadline=None, max_examples=50)
def test_merge_is_associative_commutative_and_has_a_neutral_element(a: Counts, b: Counts, c: Counts) -> None:
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(b) == b.merge(a)
    assert Counts.zero(3).merge(a) == a
    assert a.merge(b).confusion[1][2] == a.confusion[1][2] + b.confusion[1][2]


def test_counts_of_different_labels_do_not_merge() -> None:
    with pytest.raises(ConfigError, match="3 labels"):
        Counts.zero(3).merge(Counts.zero(4))
