"""Masks, the missing wedge, and the normalisation of templates."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.resample import rotate_volume, spline_coefficients
from cryodask.kernels.rotations import rotation_set
from cryodask.kernels.templates import (
    mask_reach_voxels,
    prepare_template,
    prepared_templates,
    soft_sphere_mask,
    template_box_size,
    wedge_mask,
)
from tests.conftest import Namespace

LIKE = np.zeros(1)
TILTS = [float(t) for t in range(-60, 61, 2)]


def random_box(shape: tuple[int, int, int], seed: int = 0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(shape)


def test_soft_sphere_follows_its_formula(arrays: Namespace) -> None:
    like = arrays.asarray(np.zeros(1, dtype=np.float32))
    mask = soft_sphere_mask((21, 19, 23), 5.0, 2.0, like)
    assert mask.dtype == arrays.xp.float32
    host = to_host(mask)
    for d, expected in [(0, 1.0), (5, 1.0), (6, math.exp(-0.25)), (7, math.exp(-1.0)), (8, 0.0)]:
        assert host[10 + d, 9, 11] == pytest.approx(expected, rel=1e-6)
        assert host[10, 9, 11 - d] == pytest.approx(expected, rel=1e-6)
    assert host[host > 0].min() >= math.exp(-2) - 1e-6


def test_hard_sphere_counts_voxels() -> None:
    mask = soft_sphere_mask((5, 5, 5), 1.0, 0.0, LIKE)
    assert mask.sum() == 7
    # In an even box the centre lies between voxels, eight of them at distance sqrt(3)/2.
    assert soft_sphere_mask((4, 4, 4), 0.9, 0.0, LIKE).sum() == 8


def test_box_holds_the_whole_mask_and_no_more() -> None:
    for radius, sigma in [(9.0, 2.0), (4.0, 0.0), (7.3, 1.1)]:
        box = template_box_size(radius, sigma)
        assert box % 2 == 1
        mask = soft_sphere_mask((box, box, box), radius, sigma, LIKE)
        larger = soft_sphere_mask((box + 2, box + 2, box + 2), radius, sigma, LIKE)
        assert mask[0].any()
        assert np.array_equal(np.pad(mask, 1), larger)
        assert box // 2 <= mask_reach_voxels(radius, sigma)


def test_impossible_masks_are_refused() -> None:
    with pytest.raises(ConfigError, match="radius_voxels=0"):
        soft_sphere_mask((5, 5, 5), 0.0, 1.0, LIKE)
    with pytest.raises(ConfigError, match="edge_sigma_voxels=-1"):
        soft_sphere_mask((5, 5, 5), 2.0, -1.0, LIKE)


def test_wedge_equals_the_definition_by_angles(arrays: Namespace) -> None:
    shape = (15, 4, 17)
    tilts = [float(t) for t in range(-40, 61, 4)]
    mask = to_host(wedge_mask(shape, tilts, arrays.asarray(np.zeros(1)), real=False))
    kz, kx = np.meshgrid(np.fft.fftfreq(15), np.fft.fftfreq(17), indexing="ij")
    angle = np.rad2deg(np.arctan2(kz, kx))
    inside = ((angle >= -42) & (angle <= 62)) | (angle <= 62 - 180) | (angle >= -42 + 180) | ((kz == 0) & (kx == 0))
    for y in range(4):
        assert np.array_equal(mask[:, y] > 0, inside)
    assert set(np.unique(mask)) == {0.0, 1.0}


def test_ideal_slices_of_a_tilted_object_are_inside() -> None:
    # A slice of the spectrum of one tilt: for points (x, z), the transform of the projection onto u = x cos t + z sin t
    # at k equals the object's at (kx, kz) = k (cos t, sin t). Those are the frequencies the series measures.
    n = 32
    points = np.random.default_rng(0).uniform(-5, 5, (20, 2))
    mask = wedge_mask((n, n, n), [10.0, 20.0, 30.0, 40.0, 50.0], LIKE, real=False)
    for tilt in np.deg2rad([10, 25, 50]):
        for k in (0.2, 0.4):
            kx, kz = k * np.cos(tilt), k * np.sin(tilt)
            u = points[:, 0] * np.cos(tilt) + points[:, 1] * np.sin(tilt)
            projection = np.exp(-2j * np.pi * k * u).sum()
            assert projection == pytest.approx(np.exp(-2j * np.pi * (kx * points[:, 0] + kz * points[:, 1])).sum())
            for sign in (1, -1):
                assert mask[round(sign * kz * n) % n, 5, round(sign * kx * n) % n] == 1
                # The mirror image across the x axis belongs to the opposite tilt, which was not taken.
                assert mask[round(-sign * kz * n) % n, 5, round(sign * kx * n) % n] == 0


@pytest.mark.parametrize("shape", [(9, 8, 11), (10, 7, 12), (8, 8, 7), (16, 5, 16)])
@pytest.mark.parametrize("tilts", [TILTS, [-35.0, -10.0, 20.0, 61.0], [0.0, 45.0]])
def test_wedge_is_point_symmetric_and_its_layouts_agree(shape: tuple[int, int, int], tilts: list[float]) -> None:
    full = wedge_mask(shape, tilts, LIKE, real=False)
    opposite = np.roll(full[::-1, ::-1, ::-1], (1, 1, 1), axis=(0, 1, 2))
    assert np.array_equal(full, opposite)
    assert np.array_equal(wedge_mask(shape, tilts, LIKE), full[:, :, : shape[2] // 2 + 1])


def test_wedge_keeps_the_axis_and_reaches_half_a_step_beyond_the_last_tilt() -> None:
    mask = wedge_mask((401, 3, 401), TILTS, LIKE, real=False)
    assert mask[0, :, 0].all()
    # Share of the plane that +-61 degrees cover, measured inside the largest circle.
    kz, kx = np.meshgrid(np.fft.fftfreq(401), np.fft.fftfreq(401), indexing="ij")
    circle = np.hypot(kz, kx) < 0.5
    assert mask[:, 1][circle].mean() == pytest.approx(122 / 180, abs=2e-3)
    assert np.array_equal(wedge_mask((9, 9, 9), TILTS[::-1], LIKE), wedge_mask((9, 9, 9), TILTS, LIKE))


def test_full_range_has_no_wedge_and_one_tilt_has_no_range() -> None:
    assert wedge_mask((8, 8, 8), [-90.0, -45.0, 0.0, 45.0, 90.0], LIKE).all()
    for tilts in ([], [0.0], [5.0, 5.0], [0.0, math.nan]):
        with pytest.raises(ConfigError, match="two different"):
            wedge_mask((8, 8, 8), tilts, LIKE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_template_has_weighted_mean_zero_and_deviation_one(arrays: Namespace, dtype: type) -> None:
    shape = (9, 11, 9)
    mask = arrays.asarray(soft_sphere_mask(shape, 3.0, 1.0, LIKE).astype(dtype))
    wedge = wedge_mask(shape, TILTS, mask)
    template = prepare_template(arrays.asarray((3 + random_box(shape)).astype(dtype)), mask, wedge)
    assert template.dtype == mask.dtype
    t, m = to_host(template).astype(float), to_host(mask).astype(float)
    inside = m > 0
    assert t.sum() == pytest.approx(0, abs=1e-4)
    assert (t[inside] ** 2 / m[inside]).sum() == pytest.approx(m.sum(), rel=1e-5)
    assert not t[~inside].any()


def test_filter_acts_in_the_larger_box_before_cropping() -> None:
    density, mask = random_box((13, 15, 13)), soft_sphere_mask((9, 9, 9), 3.0, 1.0, LIKE)
    wedge = wedge_mask((13, 15, 13), TILTS, LIKE)
    filtered = np.fft.irfftn(np.fft.rfftn(density) * wedge, s=(13, 15, 13), axes=(0, 1, 2))[2:11, 3:12, 2:11]
    np.testing.assert_allclose(prepare_template(density, mask, wedge), prepare_template(filtered, mask), atol=1e-12)


def test_generator_yields_the_templates_one_by_one() -> None:
    density, mask = random_box((11, 11, 11)), soft_sphere_mask((9, 9, 9), 3.0, 1.0, LIKE)
    matrices = rotation_set(90)
    wedge = wedge_mask((11, 11, 11), TILTS, LIKE)
    made = list(prepared_templates(spline_coefficients(density), matrices, mask, wedge, box_shape=(11, 11, 11)))
    assert len(made) == len(matrices)
    rotated = rotate_volume(density, matrices[7], output_shape=(11, 11, 11))
    assert np.array_equal(made[7], prepare_template(rotated, mask, wedge))


def test_constant_density_and_misfitting_shapes_are_refused() -> None:
    mask = soft_sphere_mask((9, 9, 9), 3.0, 1.0, LIKE)
    with pytest.raises(DataError, match="constant"):
        prepare_template(np.zeros((9, 9, 9)), mask)
    with pytest.raises(DataError, match="finite"):
        prepare_template(np.full((9, 9, 9), np.nan), mask)
    with pytest.raises(ConfigError, match="filter"):
        prepare_template(random_box((9, 9, 9)), mask, np.ones((9, 9, 9)))
    for shape in [(10, 9, 9), (7, 9, 9)]:
        with pytest.raises(ConfigError, match="cropped"):
            prepare_template(random_box(shape), mask)
