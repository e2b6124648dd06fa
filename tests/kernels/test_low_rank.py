"""The low-rank search against the exact one: bounds, flips, planted templates, invariance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from cryodask.backend import portable_only, to_host
from cryodask.errors import ConfigError
from cryodask.kernels.correlation import SearchVolume, best_scores, search_volume
from cryodask.kernels.flips import flipped, flips_of, representatives
from cryodask.kernels.low_rank_basis import LowRankBasis, TemplateSampler, build_basis
from cryodask.kernels.low_rank_search import Bank, CoarseToFine, low_rank_scores
from cryodask.kernels.rescoring import NEIGHBOURS, exact_scores
from cryodask.kernels.rotations import coverage, rotation_set
from cryodask.kernels.templates import prepared_templates, soft_sphere_mask, wedge_mask
from tests.conftest import Namespace

EVEN, UNEVEN = tuple(range(-60, 61, 6)), tuple(range(-48, 61, 6))
SIDE = 36


def sampler(tilt_deg: tuple[float, ...] | None = EVEN) -> TemplateSampler:
    """An asymmetric chain of blobs, sampled twice as finely as the volume."""
    fine = np.zeros((35, 35, 35), np.float32)
    for place in ((-5, -4, 0), (0, -4, 2), (4, 0, 0), (4, 5, -3), (-2, 2, 5), (7, 0, 2)):
        fine[tuple(np.array(place) + 17)] = 1
    box, like = (15, 15, 15), np.zeros(1, np.float32)
    return TemplateSampler(
        density=gaussian_filter(fine, 2.4) * 100,
        zoom=2.0,
        mask=soft_sphere_mask((11, 11, 11), 4.0, 1.0, like),
        transfer=None if tilt_deg is None else wedge_mask(box, tilt_deg, like),
        box=box,
    )


@pytest.fixture(scope="module")
def basis() -> LowRankBasis:
    return build_basis(sampler(), 0.1)


def volume(seed: int = 0) -> npt.NDArray[np.float32]:
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((SIDE, SIDE + 4, SIDE + 2)), 0.8)
    return np.asarray(noise / noise.std(), dtype=np.float32)


def plan(values: npt.NDArray[np.float32]) -> SearchVolume:
    return search_volume(values, sampler().mask, mean_and_deviation=(0.0, 1.0))


def templates(given: TemplateSampler, matrices: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float32]]:
    made = prepared_templates(
        given.density, matrices, given.mask, given.transfer, box_shape=given.box, zoom=given.zoom, order=1
    )
    return [np.asarray(template) for template in made]


@pytest.mark.parametrize(("tilts", "count"), [(EVEN, 4), (UNEVEN, 2), (None, 4)])
def test_flips_cover_what_the_whole_list_covers(tilts: tuple[float, ...] | None, count: int) -> None:
    transfer = sampler(tilts).transfer
    flips = flips_of(transfer, (15, 15, 15))
    assert len(flips.signs_zyx) == count
    few = representatives(20.0, flips)
    every = flipped(few, flips)
    assert len(every) == pytest.approx(len(rotation_set(20.0)), rel=0.06)
    assert coverage(every).largest_deg < 1.2 * coverage(rotation_set(20.0)).largest_deg
    # Characters are orthogonal, and the trivial one comes first.
    np.testing.assert_array_equal(flips.characters.T @ flips.characters, count * np.eye(count))
    np.testing.assert_array_equal(flips.characters[:, 0], 1)


@pytest.mark.parametrize("tilts", [EVEN, UNEVEN])
def test_a_flipped_rotation_has_the_flipped_image(tilts: tuple[float, ...]) -> None:
    given = sampler(tilts)
    flips = flips_of(given.transfer, given.box)
    rotation = Rotation.random(1, random_state=3).as_matrix()
    images = list(given.images(flipped(rotation, flips)))
    for signs, image in zip(flips.signs_zyx, images, strict=True):
        axes = tuple(axis for axis in range(3) if signs[axis] < 0)
        np.testing.assert_allclose(image, np.flip(images[0], axes), atol=2e-6)


def test_coefficients_are_the_products_with_the_basis(basis: LowRankBasis) -> None:
    given = sampler()
    rotations = Rotation.random(20, random_state=5).as_matrix()
    root = np.sqrt(given.mask)
    phi = basis.kernels / np.where(root > 0, root, 1)
    np.testing.assert_allclose(np.einsum("kzyx,lzyx->kl", phi, phi), np.eye(len(phi)), atol=2e-4)
    exact = np.einsum("rzyx,kzyx->rk", np.stack(list(given.images(rotations))), phi)
    np.testing.assert_allclose(basis.coefficients(given, rotations), exact, atol=5e-3)


def test_the_residual_is_what_new_rotations_miss(basis: LowRankBasis) -> None:
    given = sampler()
    images = np.stack(list(given.images(Rotation.random(60, random_state=9).as_matrix())))
    root = np.sqrt(given.mask)
    phi = basis.kernels / np.where(root > 0, root, 1)
    shares = np.einsum("rzyx,kzyx->rk", images, phi)
    missed = np.sqrt(np.maximum(1 - (shares**2).sum(axis=1), 0)).mean()
    assert basis.residual[-1] <= 0.1
    assert missed == pytest.approx(basis.residual[-1], rel=0.15)
    assert np.all(np.diff(basis.residual) <= 1e-12)
    few = basis.first(basis.components(0.3))
    assert few.residual[-1] <= 0.3 < few.residual[-2]
    assert len(few.kernels) == few.offsets[-1] == few.adjoint.shape[1]


def banks(basis: LowRankBasis, keep: float, step: float = 30.0, coarse_step: float = 60.0) -> CoarseToFine:
    given = sampler()
    many, few = representatives(step, basis.flips), representatives(coarse_step, basis.flips)
    coarse = basis.first(basis.components(0.3))
    return CoarseToFine(
        coarse=Bank(basis=coarse, coefficients=coarse.coefficients(given, few), first_id=4 * len(many)),
        fine=Bank(basis=basis, coefficients=basis.coefficients(given, many)),
        keep=keep,
    )


def test_scores_are_within_the_bound_of_the_exact_ones(basis: LowRankBasis) -> None:
    given = sampler()
    search, values = banks(basis, keep=1.0), volume()
    rotations = flipped(representatives(30.0, basis.flips), basis.flips)
    exact, exact_id = best_scores(plan(values), templates(given, rotations), range(len(rotations)))
    found, found_id = low_rank_scores(plan(values), search)
    misses = [np.sqrt(max(0.0, 1 - float((c**2).sum()))) for c in basis.coefficients(given, rotations)]
    assert np.abs(found - exact).max() <= max(misses) + 0.02
    # Far below the bound on average, and mostly the same rotation.
    assert np.sqrt(((found - exact) ** 2).mean()) < 0.1 * exact.std()
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.995
    assert (found_id == exact_id).mean() > 0.6
    # The score found is that of the rotation that is named.
    for flat in range(0, found.size, 9001):
        place = np.unravel_index(flat, found.shape)
        one, _ = best_scores(plan(values), templates(given, rotations[[found_id[place]]]), [0])
        assert found[place] == pytest.approx(float(one[place]), abs=0.02)


def test_planted_templates_are_found_at_their_poses(basis: LowRankBasis) -> None:
    given, search = sampler(), banks(basis, keep=0.05)
    rotations = flipped(representatives(30.0, basis.flips), basis.flips)
    values = 0.5 * volume(4)
    places, which = [(9, 9, 9), (9, 28, 12), (26, 11, 26), (26, 29, 28)], [3, 70, 160, 300]
    for place, template in zip(places, templates(given, rotations[which]), strict=True):
        values[tuple(slice(p - 5, p + 6) for p in place)] += template
    score, found = low_rank_scores(plan(values), search)
    assert [int(found[place]) for place in places] == which
    best = np.sort(score.ravel())[-4:]
    np.testing.assert_allclose(np.sort([score[place] for place in places]), best)


def test_kept_voxels_have_the_fine_scores_and_others_the_coarse(basis: LowRankBasis) -> None:
    values, fine_count = volume(2), 4 * len(representatives(30.0, basis.flips))
    whole, _ = low_rank_scores(plan(values), banks(basis, keep=1.0))
    score, ids = low_rank_scores(plan(values), banks(basis, keep=0.1))
    fine = ids < fine_count
    assert fine.sum() == round(0.1 * score.size)
    # Products of other shapes are summed in another order.
    np.testing.assert_allclose(score[fine], whole[fine], atol=2e-6)
    assert ids[~fine].min() >= fine_count


def test_another_padding_changes_nothing_that_counts(basis: LowRankBasis) -> None:
    values, search = volume(6), banks(basis, keep=1.0)
    whole, _ = low_rank_scores(plan(values), search)
    part, _ = low_rank_scores(plan(values[:, :30]), search)
    np.testing.assert_allclose(part[:, 6:24], whole[:, 6:24], atol=1e-5)
    again, _ = low_rank_scores(plan(values), search)
    np.testing.assert_array_equal(again, whole)


def test_exact_scores_are_those_of_the_transforms() -> None:
    given, values = sampler(), volume(8)
    made = templates(given, Rotation.random(5, random_state=1).as_matrix())
    everywhere = [best_scores(plan(values), [template], [0])[0] for template in made]
    place = np.array([17, 20, 15])
    patch = values[tuple(slice(p - 6, p + 7) for p in place)]
    found = exact_scores(patch, given.mask, made)
    for row, score in zip(found, everywhere, strict=True):
        np.testing.assert_allclose(row, [score[tuple(place + step)] for step in NEIGHBOURS], atol=1e-5)


@pytest.mark.parametrize("tolerance", [0.0, 1.0, -0.1])
def test_tolerances_that_mean_nothing_are_refused(tolerance: float) -> None:
    with pytest.raises(ConfigError, match="tolerance between 0 and 1"):
        build_basis(sampler(), tolerance)


def test_a_basis_for_another_mask_is_refused(basis: LowRankBasis) -> None:
    other = search_volume(volume(), soft_sphere_mask((9, 9, 9), 3.0, 1.0, np.zeros(1, np.float32)))
    with pytest.raises(ConfigError, match=r"images of \(11, 11, 11\) voxels in a search with boxes of \(9, 9, 9\)"):
        low_rank_scores(other, banks(basis, keep=1.0))
    with pytest.raises(ConfigError, match="share of the voxels"):
        banks(basis, keep=0.0)


def test_every_library_makes_the_same_basis_and_scores(arrays: Namespace, basis: LowRankBasis) -> None:
    given, values = sampler(), volume(3)
    assert given.transfer is not None
    on_device = replace(
        given,
        density=arrays.asarray(given.density),
        mask=arrays.asarray(given.mask),
        transfer=arrays.asarray(given.transfer),
    )
    with portable_only():
        made = build_basis(on_device, 0.1)
        assert abs(len(made.kernels) - len(basis.kernels)) <= 1
        rotations = Rotation.random(12, random_state=2).as_matrix()
        # Eigenvectors are free in sign, and within equal eigenvalues; what they span is not.
        images = [
            np.einsum("rk,kzyx->rzyx", each.coefficients(source, rotations), each.kernels)
            for each, source in ((made, on_device), (basis, given))
        ]
        assert np.abs(images[0] - images[1]).max() < 0.02 * np.abs(images[1]).max()
        np.testing.assert_allclose(
            basis.coefficients(on_device, rotations), basis.coefficients(given, rotations), atol=2e-6
        )
        where = search_volume(
            arrays.asarray(values),
            arrays.asarray(given.mask),
            mean_and_deviation=(0.0, 1.0),
            valid=arrays.asarray(np.indices(values.shape).sum(axis=0) > 20),
        )
        score, ids = low_rank_scores(where, banks(basis, keep=0.1))
    assert score.dtype == arrays.xp.float32
    assert ids.dtype == arrays.xp.int32
    on_host = search_volume(
        values, given.mask, mean_and_deviation=(0.0, 1.0), valid=np.indices(values.shape).sum(axis=0) > 20
    )
    compiled, compiled_ids = low_rank_scores(on_host, banks(basis, keep=0.1))
    # A voxel at the border of what is kept may be kept by one path only.
    differing = ~np.isclose(to_host(score), compiled, atol=1e-5, equal_nan=True)
    assert differing.mean() < 1e-3
    assert (to_host(ids) != compiled_ids).mean() < 2e-3
    np.testing.assert_array_equal(np.isnan(to_host(score)), np.isnan(compiled))
