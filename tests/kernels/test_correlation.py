"""Scores against the definition in real space, planted particles, and independence of how rotations are divided."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import portable_only, to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.correlation import (
    SearchVolume,
    best_scores,
    correlate,
    local_deviation,
    merge_best,
    search_volume,
    with_mask,
)
from cryodask.kernels.resample import rotate_volume, spline_coefficients
from cryodask.kernels.rotations import rotation_set
from cryodask.kernels.templates import prepare_template, prepared_templates, soft_sphere_mask
from tests.conftest import Namespace

Real = npt.NDArray[Any]

SHAPE = (13, 11, 14)
BOX = (5, 7, 5)
LIKE = np.zeros(1)


def soft_mask() -> Real:
    return to_host(soft_sphere_mask(BOX, 1.7, 0.8, LIKE))


def noise(shape: tuple[int, ...], seed: int) -> Real:
    return np.random.default_rng(seed).standard_normal(shape)


def pearson_map(volume: Real, density: Real, mask: Real) -> Real:
    """The score's definition at every voxel: weighted Pearson correlation of the window with the density."""
    margins = [n // 2 for n in density.shape]
    padded = np.pad(volume, [(m, m) for m in margins], constant_values=volume.mean())
    weights = mask / mask.sum()
    template = density - (weights * density).sum()
    out = np.zeros(volume.shape)
    for at in np.ndindex(*volume.shape):
        window = padded[tuple(slice(i, i + n) for i, n in zip(at, density.shape, strict=True))]
        window = window - (weights * window).sum()
        norm = np.sqrt((weights * window**2).sum() * (weights * template**2).sum())
        out[at] = (weights * window * template).sum() / norm
    return out


def same_bits(a: tuple[Any, Any], b: tuple[Any, Any]) -> bool:
    scores = np.array_equal(to_host(a[0]), to_host(b[0]), equal_nan=True)
    return scores and np.array_equal(to_host(a[1]), to_host(b[1]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hard", [False, True])
def test_scores_are_the_weighted_pearson_correlation(arrays: Namespace, dtype: type, hard: bool) -> None:
    mask = np.ones(BOX) if hard else soft_mask()
    volume = 40 + 7 * noise(SHAPE, 0)
    densities = [noise(BOX, seed) for seed in (1, 2, 3)]
    maps = np.stack([pearson_map(volume, density, mask) for density in densities])
    device_mask = arrays.asarray(mask.astype(dtype))
    plan = search_volume(arrays.asarray(volume.astype(dtype)), device_mask)
    templates = [prepare_template(arrays.asarray(d.astype(dtype)), device_mask) for d in densities]
    score, rotation_id = best_scores(plan, templates, [0, 1, 2])
    assert score.dtype == device_mask.dtype
    assert rotation_id.dtype == arrays.xp.int32
    np.testing.assert_allclose(to_host(score), maps.max(axis=0), atol=1e-5 if dtype is np.float32 else 1e-12)
    assert np.array_equal(to_host(rotation_id), maps.argmax(axis=0))


def test_local_deviation_is_that_of_every_window(arrays: Namespace) -> None:
    volume, mask = 5 + 3 * noise(SHAPE, 0), soft_mask()
    sigma = to_host(local_deviation(arrays.asarray(volume), arrays.asarray(mask)))
    padded = np.pad(volume, [(2, 2), (3, 3), (2, 2)], constant_values=volume.mean())
    weights = mask / mask.sum()
    for at in [(0, 0, 0), (6, 5, 7), (12, 10, 13), (3, 0, 9)]:
        window = padded[tuple(slice(i, i + n) for i, n in zip(at, BOX, strict=True))]
        variance = (weights * window**2).sum() - (weights * window).sum() ** 2
        assert sigma[at] == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_correlation_with_a_point_reads_the_volume_at_the_point() -> None:
    volume, mask = noise(SHAPE, 4), np.ones(BOX)
    plan = search_volume(volume, mask, mean_and_deviation=(0.0, 1.0))
    template = np.zeros(BOX)
    template[4, 3, 1] = 1  # two voxels along z and minus one along x from the centre
    result = correlate(plan, template)
    np.testing.assert_allclose(result[:-2, :, 1:], volume[2:, :, :-1], atol=1e-12)
    np.testing.assert_allclose(result[-2:], 0, atol=1e-12)


@pytest.mark.parametrize("scale", [(3.5, 100.0), (1e-4, -2.0)])
def test_scores_do_not_depend_on_the_volumes_scale_and_offset(scale: tuple[float, float]) -> None:
    volume, mask = noise(SHAPE, 0), soft_mask()
    templates = [prepare_template(noise(BOX, seed), mask) for seed in range(3)]
    plain = best_scores(search_volume(volume, mask), templates, range(3))
    other = best_scores(search_volume(scale[0] * volume + scale[1], mask), templates, range(3))
    np.testing.assert_allclose(other[0], plain[0], atol=1e-9)
    assert np.array_equal(other[1], plain[1])
    # A negative factor turns the sign of one template's score.
    one = best_scores(search_volume(volume, mask), templates[:1], [0])[0]
    np.testing.assert_allclose(best_scores(search_volume(-volume, mask), templates[:1], [0])[0], -one, atol=1e-9)


def test_score_of_the_template_itself_is_one() -> None:
    mask, density = soft_mask(), noise(BOX, 1)
    volume = noise(SHAPE, 0)
    volume[4:9, 2:9, 6:11] = 2 * density + 7
    score, _ = best_scores(search_volume(volume, mask), [prepare_template(density, mask)], [0])
    assert score[6, 5, 8] == pytest.approx(1, abs=1e-10)
    assert np.all(np.abs(score) <= 1 + 1e-10)


def asymmetric_particle(size: int) -> Real:
    axis = np.arange(size) - (size - 1) / 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    total = np.zeros((size,) * 3)
    for (cx, cy, cz), height in [((0, 0, 0), 1.0), ((4, 0, 1), 1.2), ((-1, 4, 0), 0.9), ((1, -1, 4), 0.7)]:
        total += height * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / 4.5)
    return total


def test_planted_particle_is_found_at_its_place_in_its_orientation(arrays: Namespace) -> None:
    box = (13, 13, 13)
    particle, matrices = asymmetric_particle(17), rotation_set(60)
    volume = 0.15 * noise((24, 26, 28), 0)
    for rotation, (z, y, x) in [(11, (8, 9, 10)), (40, (16, 17, 20))]:
        shown = rotate_volume(particle, matrices[rotation], output_shape=box)
        volume[z - 6 : z + 7, y - 6 : y + 7, x - 6 : x + 7] += shown
    like = arrays.asarray(volume.astype(np.float32))
    mask = soft_sphere_mask(box, 5.0, 1.0, like)
    coefficients = spline_coefficients(arrays.asarray(particle.astype(np.float32)))
    templates = prepared_templates(coefficients, matrices, mask, box_shape=box)
    score, rotation_id = best_scores(search_volume(like, mask), templates, range(len(matrices)))
    score, rotation_id = to_host(score), to_host(rotation_id)
    best_two = np.argsort(score, axis=None)[::-1][:2]
    assert {tuple(int(i) for i in np.unravel_index(b, score.shape)) for b in best_two} == {(8, 9, 10), (16, 17, 20)}
    assert rotation_id[8, 9, 10] == 11
    assert rotation_id[16, 17, 20] == 40


def make_search(arrays: Namespace) -> tuple[SearchVolume, list[Any]]:
    """Twelve templates of which several are equal, so that ties occur at every voxel."""
    mask = arrays.asarray(soft_mask().astype(np.float32))
    valid = np.ones(SHAPE, dtype=bool)
    valid[:3, :3] = False
    plan = search_volume(arrays.asarray(noise(SHAPE, 0).astype(np.float32)), mask, valid=arrays.asarray(valid))
    distinct = [prepare_template(arrays.asarray(noise(BOX, s).astype(np.float32)), mask) for s in range(6)]
    return plan, [distinct[i] for i in (0, 1, 2, 1, 3, 0, 4, 4, 2, 5, 5, 3)]


@pytest.mark.parametrize("seed", range(4))
def test_any_division_of_the_rotations_gives_the_same_bits(arrays: Namespace, seed: int) -> None:
    plan, templates = make_search(arrays)
    at_once = best_scores(plan, templates, range(12))
    generator = np.random.default_rng(seed)
    order = generator.permutation(12)
    cuts = np.sort(generator.choice(np.arange(1, 12), 3, replace=False))
    parts = [best_scores(plan, [templates[i] for i in ids], ids.tolist()) for ids in np.split(order, cuts)]
    parts.append(best_scores(plan, [], []))
    shuffled = [parts[i] for i in generator.permutation(len(parts))]
    assert same_bits(reduce(merge_best, shuffled), at_once)
    assert same_bits(reduce(lambda a, b: merge_best(b, a), shuffled), at_once)
    # Of two equal templates only the first can win.
    assert set(np.unique(to_host(at_once[1]))) <= {-1, 0, 1, 2, 4, 6, 9}


def test_rounding_of_the_division_cannot_change_the_winner() -> None:
    # Two templates one unit in the last place apart: after division their scores are often equal.
    mask = soft_mask().astype(np.float32)
    plan = search_volume(noise(SHAPE, 0).astype(np.float32), mask)
    template = prepare_template(noise(BOX, 1).astype(np.float32), mask)
    nearly = np.nextafter(template, np.float32(np.inf))
    at_once = best_scores(plan, [template, nearly], [0, 1])
    apart = [best_scores(plan, [t], [i]) for i, t in enumerate((template, nearly))]
    assert same_bits(at_once, merge_best(apart[1], apart[0]))


def test_merge_prefers_numbers_then_scores_then_low_ids(arrays: Namespace) -> None:
    nan = np.nan
    a = (arrays.asarray([nan, nan, 0.5, 0.5, 0.1]), arrays.asarray([-1, -1, 7, 2, 0]))
    b = (arrays.asarray([nan, 0.2, 0.5, 0.5, 0.3]), arrays.asarray([-1, 9, 3, 4, 5]))
    for first, second in [(a, b), (b, a)]:
        score, ids = merge_best(first, second)
        np.testing.assert_array_equal(to_host(score), [nan, 0.2, 0.5, 0.5, 0.3])
        assert to_host(ids).tolist() == [-1, 9, 3, 2, 5]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [SHAPE, (1, 9, 3), (40, 60, 70)])
def test_compiled_path_equals_the_portable_one(dtype: type, shape: tuple[int, int, int]) -> None:
    mask: Real = soft_mask().astype(dtype)
    plan = search_volume(noise(shape, 0).astype(dtype), mask)
    templates = [prepare_template(noise(BOX, seed).astype(dtype), mask) for seed in range(4)]
    ids = [5, 3, 8, 1]
    fast = best_scores(plan, templates, ids)
    with portable_only():
        portable = best_scores(plan, templates, ids)
    np.testing.assert_allclose(fast[0], portable[0], atol=2e-6 if dtype is np.float32 else 1e-13)
    # Ids may differ only where two scores are equal within rounding.
    assert np.mean(fast[1] != portable[1]) < 1e-4
    assert fast[1].dtype == portable[1].dtype == np.int32


def test_invalid_voxels_are_nan_never_zero(arrays: Namespace) -> None:
    volume, mask = noise((20, 16, 16), 0), soft_mask()
    volume[12:] = volume[:12].mean()
    valid = np.ones(volume.shape, dtype=bool)
    valid[:, :2] = False
    plan = search_volume(arrays.asarray(volume), arrays.asarray(mask), valid=arrays.asarray(valid))
    template = prepare_template(arrays.asarray(noise(BOX, 1)), arrays.asarray(mask))
    score, rotation_id = (to_host(x) for x in best_scores(plan, [template], [4]))
    assert np.isnan(score[14:]).all()
    assert np.isnan(score[:, :2]).all()
    assert np.isfinite(score[:12, 2:]).all()
    assert np.array_equal(rotation_id == -1, np.isnan(score))
    assert set(np.unique(rotation_id)) == {-1, 4}


def test_constant_volume_has_no_valid_voxel_and_no_rotations_no_score() -> None:
    mask = soft_mask()
    template = prepare_template(noise(BOX, 1), mask)
    assert np.isnan(best_scores(search_volume(np.full(SHAPE, 3.0), mask), [template], [0])[0]).all()
    score, rotation_id = best_scores(search_volume(noise(SHAPE, 0), mask), [], [])
    assert np.isnan(score).all()
    assert (rotation_id == -1).all()


def test_tile_with_halo_scores_as_the_whole() -> None:
    volume, mask = 3 + noise((20, 18, 22), 0), soft_mask()
    templates = [prepare_template(noise(BOX, seed), mask) for seed in range(3)]
    whole, whole_ids = best_scores(search_volume(volume, mask), templates, range(3))
    common = {"mean_and_deviation": (float(volume.mean()), float(volume.std())), "minimum_deviation": 0.05}
    # A tile at the volume's face in x, with a halo of the box's radius elsewhere.
    plan = search_volume(volume[3:17, 2:16, :12], mask, **common)  # type: ignore[arg-type]
    score, ids = best_scores(plan, templates, range(3))
    inner = (slice(2, -2), slice(3, -3), slice(0, -2))
    np.testing.assert_allclose(score[inner], whole[5:15, 5:13, :10], atol=1e-12)
    assert np.array_equal(ids[inner], whole_ids[5:15, 5:13, :10])


def test_changing_masks_equal_searches_made_for_each(arrays: Namespace) -> None:
    volume = arrays.asarray(noise(SHAPE, 0))
    first, second = (arrays.asarray(np.random.default_rng(seed).random(BOX)) for seed in (1, 2))
    template = prepare_template(arrays.asarray(noise(BOX, 3)), second)
    changed = with_mask(search_volume(volume, first, mask_changes=True), second)
    assert same_bits(best_scores(changed, [template], [0]), best_scores(search_volume(volume, second), [template], [0]))
    with pytest.raises(ConfigError, match="mask_changes"):
        with_mask(search_volume(volume, first), second)


def test_bad_input_is_refused() -> None:
    volume, mask = noise(SHAPE, 0), soft_mask()
    plan = search_volume(volume, mask)
    with pytest.raises(ConfigError, match="odd box"):
        search_volume(volume, np.ones((4, 5, 5)))
    with pytest.raises(ConfigError, match="positive weights"):
        search_volume(volume, np.zeros(BOX))
    with pytest.raises(ConfigError, match="valid has shape"):
        search_volume(volume, mask, valid=np.ones((2, 2, 2), dtype=bool))
    broken = volume.copy()
    broken[1, 2, 3] = np.nan
    with pytest.raises(DataError, match="1 voxels that are NaN"):
        search_volume(broken, mask)
    with pytest.raises(DataError, match="int64"):
        search_volume(np.zeros(SHAPE, dtype=np.int64), mask)
    with pytest.raises(ConfigError, match="template of shape"):
        best_scores(plan, [np.zeros((3, 3, 3))], [0])
    with pytest.raises(ConfigError, match="float32"):
        best_scores(plan, [np.zeros(BOX, dtype=np.float32)], [0])
    with pytest.raises(ValueError, match="zip"):
        best_scores(plan, [prepare_template(noise(BOX, 1), mask)], [0, 1])
