"""Template search: any tiling and any batches give one answer, and a planted particle is it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryodask.errors import DataError
from cryodask.kernels.resample import rotate_volume
from cryodask.kernels.rotations import rotation_set
from cryodask.kernels.templates import wedge_mask
from cryodask.model.source import ArraySource
from cryodask.ops import matching
from cryodask.ops.matching import (
    EDGE_FRACTION,
    Tile,
    batches,
    core_of,
    filtered_tomogram,
    merge,
    peaks_of,
    prepare_tile,
    search_batch,
    tiles,
    whitening_filter,
)
from cryodask.ops.templates import FineTemplate, SearchFilter, TemplateSource, fine_template
from tests.tiny import gaussian

VOXEL = 10.0
SHAPE = (26, 34, 38)
TILTS = tuple(np.linspace(-60.0, 60.0, 21).tolist())
SEARCH = SearchFilter(voxel_size_angstrom=VOXEL, low_pass_angstrom=30.0, tilt_deg=TILTS, dark=False)
MATRICES = rotation_set(60.0)
PLACE = (11, 18, 22)
PLANTED = 17
"""Rotation, of ``MATRICES``, of the particle in the volume."""

Result = tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]


def density() -> npt.NDArray[np.float32]:
    """Four unequal blobs without any symmetry, 5 angstrom voxels."""
    middle = np.array([12.0, 12.0, 12.0])
    spots = [((0, 0, 0), 1.0), ((0, 6, 1), 0.9), ((5, -3, 0), 0.7), ((0, 0, -6), 0.5)]
    volume = sum(weight * gaussian((25, 25, 25), (middle + place).tolist(), 1.6) for place, weight in spots)
    return np.asarray(volume, dtype=np.float32)


@pytest.fixture(scope="module")
def template() -> FineTemplate:
    source = TemplateSource(
        template_id="t", density=ArraySource(density()), voxel_size_angstrom=5.0, radius_angstrom=48.0
    )
    return fine_template(source, SEARCH)


@pytest.fixture(scope="module")
def filtered() -> ArraySource:
    offset = np.array(PLACE) - (np.array(SHAPE) - 1) / 2
    particle = rotate_volume(
        density(),
        MATRICES[PLANTED],
        output_shape=SHAPE,
        zoom=VOXEL / 5.0,
        centre_offset=(float(offset[0]), float(offset[1]), float(offset[2])),
    )
    noise = np.random.default_rng(0).normal(0, 0.3, SHAPE).astype(np.float32)
    spectrum = np.fft.rfftn(particle + noise) * wedge_mask(SHAPE, TILTS, particle)
    volume = np.fft.irfftn(spectrum, s=SHAPE, axes=(0, 1, 2)).astype(np.float32)
    return ArraySource(filtered_tomogram(volume, SEARCH))


def searched(filtered: ArraySource, template: FineTemplate, parts: list[Tile], size: int = 1000) -> Result:
    """The whole map, tile by tile and batch by batch."""
    score, rotation = np.zeros(filtered.shape, np.float32), np.full(filtered.shape, -7, np.int32)
    for tile in parts:
        prepared = prepare_tile(filtered, tile, template)
        found = [search_batch(prepared, template, MATRICES[a:b], a) for a, b in batches(len(MATRICES), size)]
        while len(found) > 1:
            found = [merge(found[0], found[1]), *found[2:]]
        core = tuple(slice(s, s + n) for s, n in zip(tile.start, tile.shape, strict=True))
        score[core], rotation[core] = core_of(found[0], tile, filtered.shape, template)
    return score, rotation


@pytest.fixture(scope="module")
def whole(filtered: ArraySource, template: FineTemplate) -> Result:
    return searched(filtered, template, tiles(SHAPE))


@given(
    shape=st.tuples(*[st.integers(1, 30)] * 3),
    largest=st.integers(1, 12),
)
@settings(max_examples=40, deadline=None)
def test_tiles_cover_every_voxel_once(shape: tuple[int, int, int], largest: int) -> None:
    count = np.zeros(shape, np.int32)
    parts = tiles(shape, largest)
    for tile in parts:
        assert all(1 <= n <= largest for n in tile.shape)
        count[tuple(slice(s, s + n) for s, n in zip(tile.start, tile.shape, strict=True))] += 1
    assert (count == 1).all()
    assert len(parts) == np.prod([-(-n // largest) for n in shape])


@given(count=st.integers(1, 300), size=st.integers(1, 50))
def test_batches_cover_every_rotation_once(count: int, size: int) -> None:
    ids = [i for first, last in batches(count, size) for i in range(first, last)]
    assert ids == list(range(count))
    assert max(last - first for first, last in batches(count, size)) <= size


def test_a_tile_may_be_as_large_as_the_benchmark_allows() -> None:
    assert len(tiles((192, 192, 192))) == 1
    assert len(tiles((180, 512, 512))) == 9


def test_whitening_makes_the_measured_spectrum_flat() -> None:
    shape = (32, 36, 40)
    generator = np.random.default_rng(1)
    wedge = wedge_mask(shape, TILTS, np.zeros(1, np.float32))
    axes = [np.fft.fftfreq(32, VOXEL), np.fft.fftfreq(36, VOXEL), np.fft.rfftfreq(40, VOXEL)]
    k = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    colour = 0.2 + np.exp(-((k / 0.02) ** 2))
    spectrum = np.fft.rfftn(generator.normal(size=shape)) * colour * wedge
    volume = np.fft.irfftn(spectrum, s=shape, axes=(0, 1, 2)).astype(np.float32)
    gains = whitening_filter(volume, VOXEL, TILTS)
    # A low-pass far beyond Nyquist leaves the whitening alone.
    search = replace(SEARCH, low_pass_angstrom=0.5, whitening=gains)
    power = np.abs(np.fft.rfftn(filtered_tomogram(volume, search))) ** 2

    def shells(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        edges = np.arange(0.006, 0.05, 0.004)
        return np.array([values[(k >= a) & (k < b) & (wedge > 0)].mean() for a, b in itertools.pairwise(edges)])

    before, after = shells(np.abs(np.fft.rfftn(volume)) ** 2), shells(power)
    assert before.max() / before.min() > 10
    assert after.max() / after.min() < 1.3


def test_gains_are_those_of_the_shells_within_the_wedge() -> None:
    n, narrow = 32, (-20.0, -10.0, 0.0, 10.0, 20.0)
    volume = np.random.default_rng(2).normal(size=(n, n, n)).astype(np.float32)
    frequencies, gains = (np.array(part) for part in whitening_filter(volume, VOXEL, narrow))
    np.testing.assert_allclose(frequencies, np.arange(17) / (n * VOXEL))
    index = np.fft.fftfreq(n) * n
    k = np.sqrt(index[:, None, None] ** 2 + index[:, None] ** 2 + np.arange(n // 2 + 1) ** 2)
    inside = wedge_mask((n, n, n), narrow, volume) > 0
    power = np.abs(np.fft.rfftn(volume)) ** 2
    rings = np.floor(k + 0.5).astype(int)
    amplitude = np.array([np.sqrt(power[inside & (rings == ring)].mean()) for ring in range(17)])
    amplitude[0] = amplitude[1]
    np.testing.assert_allclose(gains, amplitude.max() / amplitude, rtol=1e-3)
    # All of Fourier space would give others.
    everything = np.array(whitening_filter(volume, VOXEL, None)[1])
    assert np.abs(everything / gains - 1).max() > 0.05


def test_the_filtered_tomogram_has_mean_zero_and_deviation_one(filtered: ArraySource) -> None:
    values = filtered.read((slice(None),) * 3)
    assert values.dtype == np.float32
    assert values.mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert values.std(dtype=np.float64) == pytest.approx(1, rel=1e-5)
    # Neither the offset nor the scale of the tomogram matters.
    again = filtered_tomogram(3 * values + 100, SEARCH)
    np.testing.assert_allclose(again, filtered_tomogram(values, SEARCH), atol=1e-4)


def test_a_constant_tomogram_is_refused() -> None:
    flat = np.zeros((16, 16, 16), np.float32)
    with pytest.raises(DataError, match="constant"):
        whitening_filter(flat, VOXEL, TILTS)
    with pytest.raises(DataError, match="constant or not finite"):
        filtered_tomogram(flat, SEARCH)
    flat[3, 4, 5] = np.nan
    with pytest.raises(DataError, match="constant or not finite"):
        filtered_tomogram(flat, SEARCH)


@pytest.mark.parametrize("largest", [13, 20, 30])
def test_tiles_give_the_scores_of_the_whole(
    filtered: ArraySource, template: FineTemplate, whole: Result, largest: int
) -> None:
    score, rotation = searched(filtered, template, tiles(SHAPE, largest))
    assert np.array_equal(np.isnan(score), np.isnan(whole[0]))
    np.testing.assert_allclose(score, whole[0], rtol=0, atol=1e-5)
    # Where rounding lets another rotation win, both are as good.
    assert np.mean(rotation != whole[1]) < 1e-3


@pytest.mark.parametrize("size", [1, 7, 50])
def test_batches_of_any_size_give_the_same_bits(
    filtered: ArraySource, template: FineTemplate, whole: Result, size: int
) -> None:
    score, rotation = searched(filtered, template, tiles(SHAPE), size)
    assert score.tobytes() == whole[0].tobytes()
    assert rotation.tobytes() == whole[1].tobytes()


def test_no_score_at_the_faces_and_one_everywhere_else(whole: Result, template: FineTemplate) -> None:
    margin = int(np.ceil(EDGE_FRACTION * template.reach_voxels))
    assert margin >= 1
    searched_at = np.zeros(SHAPE, bool)
    searched_at[(slice(margin, -margin),) * 3] = True
    assert np.array_equal(np.isfinite(whole[0]), searched_at)
    assert np.array_equal(whole[1] >= 0, searched_at)
    assert set(np.unique(whole[1][~searched_at])) == {-1}
    assert np.nanmax(np.abs(whole[0])) <= 1.0 + 1e-5


def test_a_tile_scores_its_core_and_not_its_halo(filtered: ArraySource, template: FineTemplate) -> None:
    tile = Tile((8, 10, 12), (9, 9, 9))
    prepared = prepare_tile(filtered, tile, template)
    assert prepared.shape == tuple(
        min(n, s + 9 + template.reach_voxels) - max(0, s - template.reach_voxels)
        for s, n in zip(tile.start, SHAPE, strict=True)
    )
    score, _ = search_batch(prepared, template, MATRICES[:3], 0)
    assert np.isfinite(score).sum() == 9**3
    core, _ = core_of((score, np.zeros(score.shape, np.int32)), tile, SHAPE, template)
    assert core.shape == (9, 9, 9)
    assert np.isfinite(core).all()


def test_where_nothing_is_there_is_no_score(template: FineTemplate) -> None:
    volume = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    volume[:, :, 19:] = 0
    prepared = prepare_tile(ArraySource(volume), Tile((0, 0, 0), SHAPE), template)
    score, rotation = search_batch(prepared, template, MATRICES[:2], 0)
    reach = template.reach_voxels
    assert np.isnan(score[:, :, 19 + reach :]).all()
    assert (rotation[:, :, 19 + reach :] == -1).all()
    assert np.isfinite(score[4:-4, 4:-4, 4:15]).all()


def test_ids_count_from_the_first_of_the_batch(filtered: ArraySource, template: FineTemplate) -> None:
    prepared = prepare_tile(filtered, Tile((8, 10, 12), (6, 6, 6)), template)
    _, low = search_batch(prepared, template, MATRICES[:4], 0)
    _, high = search_batch(prepared, template, MATRICES[:4], 100)
    assert np.array_equal(np.where(low < 0, -1, low + 100), high)
    assert set(np.unique(high)) <= {-1, 100, 101, 102, 103}


def test_the_planted_particle_is_the_best_place(whole: Result) -> None:
    score, rotation = whole
    best = np.array(np.unravel_index(int(np.nanargmax(score)), SHAPE))
    assert best.tolist() == list(PLACE)
    found = Rotation.from_matrix(MATRICES[rotation[PLACE]])
    assert (found * Rotation.from_matrix(MATRICES[PLANTED]).inv()).magnitude() < np.radians(1)
    peaks = peaks_of(ArraySource(score), ArraySource(rotation), 5.0, 10, 3.0)
    assert peaks.index[0].tolist() == list(PLACE)
    assert peaks.rotation_id[0] == PLANTED
    assert peaks.z[0] > peaks.z[1] + 1


def test_peaks_are_apart_above_the_threshold_and_best_first(whole: Result) -> None:
    score, rotation = whole
    peaks = peaks_of(ArraySource(score), ArraySource(rotation), 4.0, 6, 1.0)
    valid = score[np.isfinite(score)].astype(np.float64)
    median = float(np.median(valid))
    sigma = 1.4826 * float(np.median(np.abs(valid - median)))
    assert peaks.median == pytest.approx(median, abs=1e-6)
    assert peaks.sigma == pytest.approx(sigma, rel=1e-5)
    np.testing.assert_allclose(peaks.z, (peaks.score - median) / sigma, rtol=1e-4)
    assert len(peaks.score) == 6
    assert (np.diff(peaks.score) <= 0).all()
    apart = np.linalg.norm(peaks.index[:, None] - peaks.index[None], axis=2) + 100 * np.eye(6)
    assert apart.min() >= 4.0
    assert np.array_equal(peaks.score, score[tuple(peaks.index.T)])
    assert np.array_equal(peaks.rotation_id, rotation[tuple(peaks.index.T)])
    assert peaks_of(ArraySource(score), ArraySource(rotation), 4.0, 100, 4.0).z.min() >= 4.0
    assert len(peaks_of(ArraySource(score), ArraySource(rotation), 4.0, 100, 1e6).score) == 0


def test_a_constant_map_is_refused() -> None:
    flat = ArraySource(np.ones((5, 5, 5), np.float32))
    with pytest.raises(DataError, match="the score map is constant"):
        peaks_of(flat, ArraySource(np.zeros((5, 5, 5), np.int32)), 2.0, 5, 3.0)


def random_result(seed: int) -> Result:
    """Few different scores, so that ties are common, and NaN where the id is -1."""
    generator = np.random.default_rng(seed)
    rotation = generator.integers(-1, 6, (4, 5, 6)).astype(np.int32)
    score = generator.integers(0, 4, rotation.shape).astype(np.float32)
    return np.where(rotation < 0, np.float32(np.nan), score), rotation


def same(one: Result, other: Result) -> bool:
    return np.array_equal(one[0], other[0], equal_nan=True) and np.array_equal(one[1], other[1])


@given(seeds=st.lists(st.integers(0, 10_000), min_size=3, max_size=3))
@settings(deadline=None)
def test_merging_is_associative_and_commutative(seeds: list[int]) -> None:
    a, b, c = (random_result(seed) for seed in seeds)
    assert same(merge(a, b), merge(b, a))
    assert same(merge(merge(a, b), c), merge(a, merge(b, c)))
    assert same(merge(a, a), a)


def test_merging_takes_the_higher_score_and_of_equal_ones_the_lower_id() -> None:
    a = np.array([1.0, 2.0, 2.0, np.nan], np.float32), np.array([5, 6, 7, -1], np.int32)
    b = np.array([3.0, 1.0, 2.0, 0.5], np.float32), np.array([8, 9, 2, 4], np.int32)
    score, rotation = merge(a, b)
    assert score.tolist() == [3.0, 2.0, 2.0, 0.5]
    assert rotation.tolist() == [8, 6, 2, 4]


def test_memory_estimates_grow_with_the_work() -> None:
    assert matching.search_bytes((192,) * 3, 10) > matching.search_bytes((64,) * 3, 10) > 64**3 * 8
    assert matching.search_bytes((64,) * 3, 20) > matching.search_bytes((64,) * 3, 10)
    assert matching.filter_bytes(1000) >= 4 * 3 * 1000
    assert matching.peaks_bytes(1000) >= 8 * 1000
