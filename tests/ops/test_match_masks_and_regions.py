"""Masks that turn with the template, searches of a part, symmetric templates, and the engines on other libraries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from cryodask.backend import portable_only, to_host
from cryodask.errors import DataError
from cryodask.kernels.correlation import best_scores_under_masks, search_volume
from cryodask.kernels.rotations import rotation_set, symmetry_rotations, without_symmetry_mates
from cryodask.kernels.templates import prepare_template, soft_sphere_mask
from cryodask.model.source import ArraySource
from cryodask.ops import low_rank, matching
from cryodask.ops.low_rank import LowRankSettings, make_banks, rotations_of, search_low_rank, thinned
from cryodask.ops.matching import Tile, prepare_tile, search_batch, tiles
from cryodask.ops.search_region import SearchRegion, no_scores, searched_tiles
from cryodask.ops.templates import FineTemplate, SearchFilter, TemplateSource, fine_template, mask_extent
from tests.conftest import Namespace
from tests.kernels.test_correlation import noise, pearson_map
from tests.tiny import gaussian

VOXEL = 10.0
SHAPE = (22, 24, 26)
TILTS = tuple(np.linspace(-60.0, 60.0, 21).tolist())
SEARCH = SearchFilter(voxel_size_angstrom=VOXEL, low_pass_angstrom=30.0, tilt_deg=TILTS, dark=False)
WHOLE = Tile((0, 0, 0), SHAPE)


def density() -> npt.NDArray[np.float32]:
    middle = np.array([12.0, 12.0, 12.0])
    spots = [((0, 0, 0), 1.0), ((0, 6, 1), 0.9), ((5, -3, 0), 0.7), ((0, 0, -6), 0.5)]
    blobs = [w * gaussian((25, 25, 25), (middle + place).tolist(), 1.6) for place, w in spots]
    return np.asarray(np.sum(blobs, axis=0), dtype=np.float32)


def ellipsoid() -> npt.NDArray[np.float32]:
    """Long along x, short along z; a soft edge."""
    z, y, x = np.indices((25, 25, 25)) - 12.0
    soft = 3 * (1 - np.sqrt((z / 5) ** 2 + (y / 8) ** 2 + (x / 11) ** 2))
    return np.asarray(np.clip(soft, 0, 1), dtype=np.float32)


def source(mask: npt.NDArray[np.float32] | None = None) -> TemplateSource:
    return TemplateSource(
        template_id="t",
        density=ArraySource(density()),
        voxel_size_angstrom=5.0,
        radius_angstrom=48.0,
        mask=None if mask is None else ArraySource(mask),
    )


def filtered() -> ArraySource:
    values = np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)
    return ArraySource(values / values.std())


# -- masks that turn -----------------------------------------------------------------------------------------------


def test_scores_under_turning_masks_are_direct_sums(arrays: Namespace) -> None:
    shape, box = (11, 9, 12), (5, 7, 5)
    volume = 3 + 2 * noise(shape, 0)
    masks = [np.clip(np.random.default_rng(seed).random(box) - 0.3, 0, 1) for seed in range(3)]
    densities = [noise(box, seed + 20) for seed in range(3)]
    expected = np.stack([pearson_map(volume, d, m) for d, m in zip(densities, masks, strict=True)])
    plan = search_volume(arrays.asarray(volume), arrays.asarray(masks[0]), mask_changes=True, minimum_deviation=1e-6)
    on_device = [(arrays.asarray(d), arrays.asarray(m)) for d, m in zip(densities, masks, strict=True)]
    pairs = [(prepare_template(d, m), m) for d, m in on_device]
    score, ids = best_scores_under_masks(plan, pairs, range(3))
    np.testing.assert_allclose(to_host(score), expected.max(axis=0), atol=1e-11)
    np.testing.assert_array_equal(to_host(ids), expected.argmax(axis=0))


def test_a_search_under_a_masks_own_shape_is_the_direct_sum() -> None:
    template = fine_template(source(ellipsoid()), SEARCH)
    matrices = rotation_set(60.0)[:5]
    volume = filtered()
    score, _ = search_batch(prepare_tile(volume, WHOLE, template), template, matrices, 0)
    values = volume.read((slice(None),) * 3).astype(np.float64)
    half = template.mask.shape[0] // 2
    padded = np.pad(values, half)
    pairs = list(template.with_masks(matrices))
    assert len({float(mask.sum()) for _, mask in pairs}) > 1  # N changes from rotation to rotation
    for place in [(11, 12, 13), (4, 5, 6), (17, 19, 20), (6, 18, 9)]:
        window = padded[tuple(slice(p, p + 2 * half + 1) for p in place)]
        direct = []
        for product, mask in pairs:
            weights = mask.astype(np.float64) / mask.sum(dtype=np.float64)
            deviation = np.sqrt((weights * window**2).sum() - (weights * window).sum() ** 2)
            direct.append((window * product.astype(np.float64)).sum() / (mask.sum(dtype=np.float64) * deviation))
        assert score[place] == pytest.approx(max(direct), abs=1e-5)


def test_a_mask_turns_with_its_template() -> None:
    template = fine_template(source(ellipsoid()), SEARCH)
    (_, upright), (_, turned) = template.with_masks(
        np.stack([np.eye(3), Rotation.from_euler("z", 90, degrees=True).as_matrix()])
    )
    z, y, x = (np.flatnonzero(upright.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    assert len(z) < len(y) < len(x) <= template.mask.shape[0]
    np.testing.assert_allclose(turned, np.rot90(upright, axes=(1, 2)), atol=1e-5)
    assert template.reach_voxels == template.mask.shape[0] // 2


def test_a_sphere_as_a_mask_of_its_own_scores_as_the_sphere() -> None:
    # 48 angstrom and an edge of one tomogram voxel, which is two of these.
    ball = soft_sphere_mask((41, 41, 41), 9.6, 2.0, np.zeros(1, np.float32))
    wide = np.pad(density(), 8)
    own = replace(source(), density=ArraySource(wide), mask=ArraySource(ball))
    matrices = rotation_set(90.0)[:4]
    found = []
    for each in (own, replace(own, mask=None)):
        template = fine_template(each, SEARCH)
        found.append(search_batch(prepare_tile(filtered(), WHOLE, template), template, matrices, 0)[0])
    valid = np.isfinite(found[0]) & np.isfinite(found[1])
    assert np.corrcoef(found[0][valid], found[1][valid])[0, 1] > 0.98


@pytest.mark.parametrize("weights", [np.zeros((5, 5, 5)), -np.ones((5, 5, 5)), np.full((5, 5, 5), np.nan)])
def test_weights_that_mask_nothing_are_refused(weights: npt.NDArray[np.float64]) -> None:
    with pytest.raises(DataError, match="finite weights that are not negative"):
        mask_extent(weights.astype(np.float32))


# -- parts of a tomogram -------------------------------------------------------------------------------------------


def test_only_the_region_has_scores_and_they_are_the_same() -> None:
    specimen = np.zeros(SHAPE, np.float32)
    specimen[:, 6:20] = 1
    region = SearchRegion(shape=SHAPE, low=(0, 0, 8), high=(22, 24, 20), mask=ArraySource(specimen))
    template, matrices = fine_template(source(), SEARCH), rotation_set(90.0)[:6]
    everywhere, _ = search_batch(prepare_tile(filtered(), WHOLE, template), template, matrices, 0)
    within, ids = search_batch(prepare_tile(filtered(), WHOLE, template, region), template, matrices, 0)
    inside = region.read((slice(None),) * 3) > 0
    assert 0 < inside.sum() < inside.size
    np.testing.assert_array_equal(np.isfinite(within), np.isfinite(everywhere) & inside)
    # A smaller part is padded less, which rounds otherwise.
    np.testing.assert_allclose(within[np.isfinite(within)], everywhere[np.isfinite(within)], atol=2e-6)
    assert (ids[~inside] == -1).all()
    np.testing.assert_array_equal(
        region.read((slice(3, 9), slice(2, 12), slice(5, 25))), inside[3:9, 2:12, 5:25].astype(np.uint8)
    )


def test_tiles_without_specimen_are_known_beforehand() -> None:
    region = SearchRegion(shape=SHAPE, low=(0, 0, 0), high=(22, 24, 10))
    parts = tiles(SHAPE, 12)
    wanted = [tile.start[2] < 10 for tile in parts]
    assert searched_tiles(region, parts) == wanted
    assert False in wanted
    assert searched_tiles(None, parts) == [True] * len(parts)
    score, ids = no_scores(parts[-1])
    assert score.shape == ids.shape == parts[-1].shape
    assert np.isnan(score).all()


# -- symmetry ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetry", ["C3", "D2", "T", "O", "I"])
def test_a_symmetric_template_needs_one_of_its_mates(symmetry: str) -> None:
    group = symmetry_rotations(symmetry)
    middle = np.array([12.0, 12.0, 12.0])
    orbit = np.concatenate([(group @ np.array(place))[:, ::-1] for place in ((1.0, 2.0, 7.0), (5.0, -3.0, 2.5))])
    symmetric = np.sum([gaussian((25, 25, 25), (middle + place).tolist(), 1.3) for place in orbit], axis=0)
    template = fine_template(replace(source(), density=ArraySource(symmetric)), SEARCH)
    base = rotation_set(90.0)[:2]
    closed = np.einsum("nij,gjk->ngik", base, group).reshape(-1, 3, 3)
    few = without_symmetry_mates(closed, symmetry)
    assert len(few) == len(base)
    images = [list(template.at_rotations(each)) for each in (closed, few)]
    for image in images[0]:
        nearest = min(float(np.abs(image - other).max()) for other in images[1])
        assert nearest < 0.06 * float(np.abs(image).max())


# -- lists of one's own, and other libraries -----------------------------------------------------------------------

LOW = LowRankSettings(angular_step_deg=40.0, coarse_step_deg=60.0, tolerance=0.1, keep=0.3)


def test_a_list_of_ones_own_is_searched_as_it_is() -> None:
    own = Rotation.random(150, random_state=4).as_matrix()
    template = fine_template(source(), SEARCH)
    banks = make_banks(template, replace(LOW, keep=1.0), own)
    every = rotations_of(TILTS, LOW, own)
    assert len(every) == len(own) + len(thinned(own, 60.0))
    assert len(thinned(own, 60.0)) < len(own)
    prepared = prepare_tile(filtered(), WHOLE, template)
    found, ids = search_low_rank(prepared, banks)
    exact, _ = search_batch(prepared, template, own, 0)
    valid = np.isfinite(exact)
    assert np.corrcoef(found[valid], exact[valid])[0, 1] > 0.99
    assert set(np.unique(ids[valid])) <= set(range(len(own)))
    one, _ = search_batch(prepared, template, every[[ids[11, 12, 13]]], 0)
    assert found[11, 12, 13] == pytest.approx(float(one[11, 12, 13]), abs=0.03)


@pytest.fixture(scope="module")
def on_host() -> tuple[FineTemplate, tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]]:
    template = fine_template(source(), SEARCH)
    return template, search_low_rank(prepare_tile(filtered(), WHOLE, template), make_banks(template, LOW))


def test_both_engines_run_where_the_workers_arrays_are(
    arrays: Namespace,
    monkeypatch: pytest.MonkeyPatch,
    on_host: tuple[FineTemplate, tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]],
) -> None:
    template, (low_score, _) = on_host
    matrices = rotation_set(90.0)[:5]
    exact = search_batch(prepare_tile(filtered(), WHOLE, template), template, matrices, 0)
    masked = fine_template(source(ellipsoid()), SEARCH)
    under_mask = search_batch(prepare_tile(filtered(), WHOLE, masked), masked, matrices[:2], 0)
    like = arrays.asarray(np.empty(0, np.float32))
    for module in (matching, low_rank):
        monkeypatch.setattr(module, "worker_array", lambda: like)
    with portable_only():
        prepared = prepare_tile(filtered(), WHOLE, template)
        assert type(prepared.weight) is type(like)
        score, ids = search_batch(prepared, template, matrices, 0)
        other = search_batch(prepare_tile(filtered(), WHOLE, masked), masked, matrices[:2], 0)
        banks = make_banks(template, LOW)
        approximate, _ = search_low_rank(prepared, banks)
    assert type(score) is np.ndarray
    np.testing.assert_allclose(score, exact[0], atol=1e-5)
    np.testing.assert_allclose(other[0], under_mask[0], atol=1e-5)
    assert (ids != exact[1]).mean() < 1e-3
    # Bases of two libraries miss different parts of the last per cent.
    valid = np.isfinite(low_score)
    np.testing.assert_array_equal(np.isfinite(approximate), valid)
    assert np.corrcoef(approximate[valid], low_score[valid])[0, 1] > 0.995
