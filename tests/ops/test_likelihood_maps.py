"""Maps and posteriors of the multi-class decision against direct sums over rotations and shifts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from cryodask.kernels.likelihood import log_ratio
from cryodask.model.source import ArraySource
from cryodask.ops import likelihood_maps, particle_models
from cryodask.ops.likelihood_maps import best_products, candidates_of, map_shape, map_tiles
from cryodask.ops.local_posterior import on_grid, patch_of, refined
from cryodask.ops.matching import CHUNK_VOXELS, Tile
from cryodask.ops.particle_models import ParticleModel, exact_kernels, make_model
from tests.pickers.planted import OPTICS, TILTS, VOXEL, templates

SHAPE = (37, 44, 41)


@pytest.fixture(scope="module")
def model() -> ParticleModel:
    filters = particle_models.likelihood_filter(VOXEL, TILTS, OPTICS, dark=True)
    return make_model("armed", templates()[0].source, filters, seed=0)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def test_images_keep_what_they_are_said_to_keep(model: ParticleModel) -> None:
    """Exact kernels against their images: lengths, and energies on average."""
    rows = np.arange(0, len(model.bank.coefficients), 200)
    flips = len(model.bank.basis.flips.signs_zyx)
    kernels, lengths = zip(*exact_kernels(model.template, model.matrices[rows * flips]), strict=True)
    np.testing.assert_allclose(lengths, model.length[rows], rtol=0.05)
    root = np.sqrt(model.template.mask)
    for kernel, row in zip(kernels, rows, strict=True):
        images = np.tensordot(model.bank.coefficients[row], model.bank.basis.kernels, 1)
        exact, approximate = (np.where(root > 0, k / np.where(root > 0, root, 1), 0) for k in (kernel, images))
        assert np.linalg.norm(exact) == pytest.approx(1, abs=1e-3)
        assert np.linalg.norm(exact - approximate) < 2.5 * float(model.bank.basis.residual[-1])
    assert model.kept_energy > 0.95


@pytest.mark.parametrize("every", [1, 2])
def test_maps_are_the_largest_products(
    model: ParticleModel, volume: np.ndarray, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if every == 2:
        for module in (particle_models, likelihood_maps):
            monkeypatch.setattr(module, "sample_distance", lambda _: 2)
    source = ArraySource(volume)
    whole, opposite = best_products(source, Tile((0, 0, 0), SHAPE), model, decoys=True)
    assert whole.shape == map_shape(SHAPE, every)
    assert opposite is not None
    flips, basis = model.bank.basis.flips, model.coarse.basis
    for sample in ((3, 4, 5), (9, 10, 10), (0, 0, 0)):
        patch = patch_of(volume, np.array(sample) * every, model.half)
        amplitudes = np.tensordot(basis.kernels, patch, 3)
        labels = np.searchsorted(basis.offsets, np.arange(len(amplitudes)), side="right") - 1
        signed = flips.characters[:, labels] * amplitudes
        products = model.coarse.coefficients @ signed.T
        assert whole[sample] == pytest.approx(products.max(), abs=1e-3)
        assert opposite[sample] == pytest.approx((-products).max(), abs=1e-3)
    parts = [Tile((0, 0, 0), (20, 44, 41)), Tile((20, 0, 0), (17, 44, 41))]
    tiled = np.concatenate([best_products(source, part, model, decoys=False)[0] for part in parts])
    np.testing.assert_allclose(tiled, whole, atol=1e-4)


def test_posterior_is_the_mean_over_rotations_and_the_sum_over_shifts(model: ParticleModel, volume: np.ndarray) -> None:
    place, alpha = np.array([18, 20, 20]), 1.2
    found = on_grid(model, patch_of(volume, place, model.half + 1), alpha)
    basis, flips = model.bank.basis, model.bank.basis.flips
    labels = np.searchsorted(basis.offsets, np.arange(len(basis.kernels)), side="right") - 1
    ratios = []
    for shift in np.ndindex(3, 3, 3):
        patch = patch_of(volume, place + np.array(shift) - 1, model.half)
        signed = flips.characters[:, labels] * np.tensordot(basis.kernels, patch, 3)
        x = model.bank.coefficients @ signed.T
        ratios.append(log_ratio(x, model.length[:, None], alpha, model.kept_energy))
    expected = logsumexp(ratios) - np.log(ratios[0].size)
    assert found.log_mean == pytest.approx(expected, abs=1e-3)
    assert found.log_best == pytest.approx(np.max(ratios), abs=1e-3)
    better = refined(model, patch_of(volume, place, model.half + 1), alpha)
    assert better.gain >= 0
    (kernel, length), *_ = exact_kernels(model.template, better.matrix[None])
    at = patch_of(volume, place + np.array(better.shift), model.half)
    assert better.x == pytest.approx(float((kernel * at).sum()), abs=1e-3)
    assert better.length == pytest.approx(length)


def test_candidates_are_maxima_and_far_apart(model: ParticleModel) -> None:
    products = np.random.default_rng(1).random((30, 30, 30)).astype(np.float32)
    products[10, 10, 10] = products[10, 10, 11] = 2.0
    products[20, 20, 20] = 1.5
    index, value = candidates_of(ArraySource(products), model, 50)
    assert index[0].tolist() == [10, 10, 10]
    assert index[1].tolist() == [20, 20, 20]
    assert np.all(np.diff(value) <= 0)
    apart = np.linalg.norm(index[:, None] - index[None], axis=2)[np.triu_indices(len(index), 1)]
    assert apart.min() >= 2.5


@pytest.mark.parametrize("images", [20, 120, 230, 600])
def test_tiles_cover_the_volume_once_in_whole_chunks(images: int) -> None:
    shape = (180, 512, 300)
    covered = np.zeros(shape, np.int8)
    for tile in map_tiles(shape, images):
        assert all(start % CHUNK_VOXELS == 0 for start in tile.start)
        covered[tuple(slice(s, s + n) for s, n in zip(tile.start, tile.shape, strict=True))] += 1
        voxels = np.prod(tile.shape) / particle_models.sample_distance(images) ** 3
        assert 4 * images * voxels <= likelihood_maps.MAPS_BUDGET_BYTES
    assert covered.min() == covered.max() == 1
