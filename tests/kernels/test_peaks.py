"""Peaks against a repeated argmax, robust statistics, and the overlap rule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.errors import ConfigError, DataError
from cryodask.kernels import peaks
from cryodask.kernels.peaks import extract_peaks, false_positive_z, joint_exclusion, robust_z, subvoxel_offsets
from tests.conftest import Namespace

Score = npt.NDArray[Any]


def repeated_argmax(
    score: Score, radius: float, max_peaks: int, threshold: float | None
) -> tuple[list[tuple[int, ...]], list[float]]:
    """The definition, voxel by voxel."""
    left = np.where(np.isnan(score), -np.inf, score)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in score.shape), indexing="ij"), axis=-1)
    index: list[tuple[int, ...]] = []
    value: list[float] = []
    while len(index) < max_peaks:
        at = np.unravel_index(int(np.argmax(left)), score.shape)
        if left[at] == -np.inf or (threshold is not None and left[at] < threshold):
            break
        index.append(tuple(int(i) for i in at))
        value.append(float(score[at]))
        left[np.linalg.norm(grid - np.array(at), axis=-1) < radius] = -np.inf
        left[at] = -np.inf
    return index, value


@pytest.mark.parametrize("seed", range(30))
def test_peaks_are_those_of_a_repeated_argmax(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(seed)
    # Small first blocks, so that several are needed.
    monkeypatch.setattr(peaks, "_CANDIDATES_PER_PEAK", int(generator.integers(1, 5)))
    monkeypatch.setattr(peaks, "_BATCH", 7)
    score: Score = generator.standard_normal(tuple(generator.integers(1, 11, 3))).astype(np.float32)
    if seed % 2:
        score = np.round(score * 2) / 2  # many equal scores
    score[generator.random(score.shape) < 0.2] = np.nan
    radius = float(generator.choice([0, 1, 1.5, 2, 3.3, 20]))
    max_peaks = int(generator.choice([0, 1, 5, 1000]))
    threshold = None if seed % 3 else 0.5
    index, value = extract_peaks(score, exclusion_radius_voxels=radius, max_peaks=max_peaks, threshold=threshold)
    expected_index, expected_value = repeated_argmax(score, radius, max_peaks, threshold)
    assert [tuple(row) for row in index.tolist()] == expected_index
    assert value.tolist() == expected_value
    assert index.shape == (len(expected_index), 3)


def test_peaks_come_to_the_host_from_every_library(arrays: Namespace) -> None:
    score = np.zeros((6, 7, 8), dtype=np.float32)
    score[1, 2, 3], score[4, 5, 6], score[1, 2, 4] = 0.9, 0.7, 0.8
    index, value = extract_peaks(arrays.asarray(score), exclusion_radius_voxels=2, max_peaks=2)
    assert index.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert value.dtype == np.float32
    assert value.tolist() == pytest.approx([0.9, 0.7])


def test_map_without_valid_voxels_has_no_peaks() -> None:
    index, value = extract_peaks(np.full((3, 3, 3), np.nan), exclusion_radius_voxels=1, max_peaks=5)
    assert index.shape == (0, 3)
    assert value.shape == (0,)


def test_bad_peak_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="exclusion_radius_voxels=-1"):
        extract_peaks(np.zeros((3, 3, 3)), exclusion_radius_voxels=-1, max_peaks=5)
    with pytest.raises(ConfigError, match="max_peaks=-1"):
        extract_peaks(np.zeros((3, 3, 3)), exclusion_radius_voxels=1, max_peaks=-1)
    with pytest.raises(DataError, match="shape"):
        extract_peaks(np.zeros((3, 3)), exclusion_radius_voxels=1, max_peaks=1)


def test_robust_z_finds_the_background_under_peaks_and_ignores_nan(arrays: Namespace) -> None:
    values = np.random.default_rng(0).normal(0.1, 0.02, (40, 40, 40))
    values[:2] = np.nan
    values[2:4] = 5.0
    median, sigma = robust_z(arrays.asarray(values))
    assert median == pytest.approx(
        0.1 + 0.02 * 0.066, abs=5e-4
    )  # 5 % outliers move the median to the 52.6th percentile
    assert sigma == pytest.approx(0.02, rel=0.09)
    assert robust_z(np.arange(5.0).reshape(1, 1, 5)) == pytest.approx((2.0, 1.4826))


def test_robust_z_needs_valid_voxels() -> None:
    with pytest.raises(DataError, match="valid"):
        robust_z(np.full((2, 2, 2), np.nan))


def naive_joint(positions: Score, radii: Score, z: Score, overlap: float) -> list[int]:
    kept: list[int] = []
    for i in sorted((i for i in range(len(z)) if not math.isnan(z[i])), key=lambda i: (-z[i], i)):
        if all(np.linalg.norm(positions[i] - positions[j]) >= overlap * (radii[i] + radii[j]) for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("seed", range(10))
def test_overlaps_are_resolved_best_first(seed: int) -> None:
    generator = np.random.default_rng(seed)
    positions = generator.uniform(0, 30, (60, 3))
    radii = generator.choice([2.0, 5.0, 9.0], 60)
    z = np.round(generator.standard_normal(60), 1)
    z[:3] = np.nan
    overlap = float(generator.choice([0.0, 0.5, 1.0, 2.0]))
    kept = joint_exclusion(positions, radii, z, overlap=overlap)
    assert kept.tolist() == naive_joint(positions, radii, z, overlap)


def test_overlap_of_one_keeps_neighbours_in_contact() -> None:
    z = [1.0, 2.0]
    assert joint_exclusion([[0, 0, 0], [0, 0, 12]], [10, 3], z, overlap=1.0).tolist() == [1]
    assert joint_exclusion([[0, 0, 0], [0, 0, 13]], [10, 3], z, overlap=1.0).tolist() == [1, 0]
    assert joint_exclusion([[0, 0, 0], [0, 0, 12]], [10, 3], z, overlap=0.9).tolist() == [1, 0]


def test_empty_and_bad_candidate_lists() -> None:
    assert joint_exclusion(np.zeros((0, 3)), [], []).tolist() == []
    with pytest.raises(ConfigError, match="radii"):
        joint_exclusion([[0, 0, 0]], [1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="finite"):
        joint_exclusion([[0, 0, math.nan]], [1.0], [1.0])


@pytest.mark.parametrize("expected", [3.0, 50.0])
def test_as_many_voxels_of_noise_pass_the_cut_off_as_expected(expected: float) -> None:
    noise = np.random.default_rng(5).standard_normal(2_000_000)
    passed = int((noise > false_positive_z(expected, noise.size)).sum())
    assert abs(passed - expected) < 4 * np.sqrt(expected)
    assert false_positive_z(1e9, 10) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ConfigError, match="some false positives"):
        false_positive_z(0.0, 10)


def test_the_top_of_a_paraboloid_is_found_between_voxels() -> None:
    top = np.array([[0.3, -0.2, 0.05], [-0.49, 0.0, 0.4]])
    grid = np.indices((3, 3, 3)).transpose(1, 2, 3, 0) - 1
    values = 5 - (np.array([1.0, 2.0, 0.5]) * (grid - top[:, None, None, None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(subvoxel_offsets(values), top, atol=1e-12)
    values[0, 2, 1, 1] = np.nan
    values[1, 1, 1, 2] = 9.0
    np.testing.assert_allclose(subvoxel_offsets(values), [[0, -0.2, 0.05], [-0.49, 0.0, 0]], atol=1e-12)
