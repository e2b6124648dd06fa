"""Slab rotation against scipy's spline rotation, its sign, its independence along y and the conservation of mass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage

from cryodask.backend import portable_only, to_host
from cryodask.errors import ConfigError
from cryodask.kernels.slab_rotation import (
    field_height_voxels,
    rotate_slab,
    slab_height_voxels,
    spline_coefficients,
)
from tests.conftest import Namespace

Volume = npt.NDArray[Any]


def noise(shape: tuple[int, int, int], dtype: type[Any] = np.float32) -> Volume:
    return np.random.default_rng(7).standard_normal(shape).astype(dtype)


def blob(shape: tuple[int, int, int], z: float, x: float, sigma: float) -> Volume:
    """Gaussian ridge along y, position relative to the centre."""
    nz, ny, nx = shape
    at_z, at_x = np.arange(nz)[:, None] - (nz - 1) / 2 - z, np.arange(nx) - (nx - 1) / 2 - x
    plane = np.exp(-(at_z**2 + at_x**2) / (2 * sigma**2))
    return np.repeat(plane[:, None, :], ny, axis=1)


def rotated_by_scipy(volume: Volume, tilt_deg: float, slice_voxels: int) -> Volume:
    """Cubic spline rotation of every y-plane of a volume with a broad margin of zeros, then the mean over slices."""
    nz, ny, nx = volume.shape
    height = slab_height_voxels(nz, nx, tilt_deg, slice_voxels)
    margin = 40
    cos_tilt, sin_tilt = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
    matrix = np.array([[cos_tilt, sin_tilt], [-sin_tilt, cos_tilt]])  # (z, x) of the sample from (h, u)
    centre_out = np.array([(height - 1) / 2, (nx - 1) / 2])
    offset = np.array([(nz - 1) / 2, (nx - 1) / 2]) + margin - matrix @ centre_out
    result = np.empty((height // slice_voxels, ny, nx))
    for y in range(ny):
        plane = np.pad(volume[:, y, :].astype(np.float64), margin)
        rotated = scipy.ndimage.affine_transform(plane, matrix, offset, output_shape=(height, nx), order=3)
        result[:, y, :] = rotated.reshape(-1, slice_voxels, nx).mean(axis=1)
    return result


@pytest.mark.parametrize("tilt_deg", [-60.0, -13.0, 0.0, 27.5, 60.0])
def test_equals_scipy(arrays: Namespace, tilt_deg: float) -> None:
    volume = noise((18, 3, 40))
    expected = rotated_by_scipy(volume, tilt_deg, 5)
    result = to_host(rotate_slab(spline_coefficients(arrays.asarray(volume)), tilt_deg, slice_voxels=5))
    assert result.dtype == np.float32
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, atol=1e-6 * np.ptp(volume))


def test_equals_scipy_in_double() -> None:
    volume = noise((15, 2, 33), np.float64)
    result = rotate_slab(spline_coefficients(volume), 41.0, slice_voxels=4)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, rotated_by_scipy(volume, 41.0, 4), atol=3e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fast_coefficients_equal_portable(dtype: type[Any]) -> None:
    volume = noise((9, 4, 14), dtype)
    fast = spline_coefficients(volume)
    with portable_only():
        portable = spline_coefficients(volume)
    assert fast.dtype == dtype
    np.testing.assert_allclose(fast, portable, atol=3e-6)


@pytest.mark.parametrize("slice_voxels", [1, 3, 10])
def test_fast_equals_portable(slice_voxels: int) -> None:
    coefficients = spline_coefficients(noise((20, 5, 31)))
    for tilt_deg in (-52.0, 0.0, 8.0):
        fast = rotate_slab(coefficients, tilt_deg, slice_voxels=slice_voxels)
        with portable_only():
            portable = rotate_slab(coefficients, tilt_deg, slice_voxels=slice_voxels)
        np.testing.assert_allclose(fast, portable, atol=3e-6)


@pytest.mark.parametrize("tilt_deg", [-45.0, 20.0, 60.0])
def test_detector_coordinate(tilt_deg: float) -> None:
    """A blob at (x, z) appears at u = x cos + z sin, and at h = z cos - x sin along the beam."""
    nz, nx, z, x = 40, 61, 9.0, 14.0
    slices = rotate_slab(spline_coefficients(blob((nz, 1, nx), z, x, 2.0)), tilt_deg, slice_voxels=1)[:, 0]
    weight = slices / slices.sum()
    u = (weight.sum(axis=0) * (np.arange(nx) - (nx - 1) / 2)).sum()
    h = (weight.sum(axis=1) * (np.arange(len(slices)) - (len(slices) - 1) / 2)).sum()
    cos_tilt, sin_tilt = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
    assert u == pytest.approx(x * cos_tilt + z * sin_tilt, abs=1e-3)
    assert h == pytest.approx(z * cos_tilt - x * sin_tilt, abs=1e-3)


def test_untilted_sample_is_averaged_as_it_is(arrays: Namespace) -> None:
    volume = noise((20, 4, 9))
    slices = to_host(rotate_slab(spline_coefficients(arrays.asarray(volume)), 0.0, slice_voxels=5))
    np.testing.assert_allclose(slices, volume.reshape(4, 5, 4, 9).mean(axis=1), atol=2e-6)


def test_any_range_of_y_gives_the_same_bits() -> None:
    volume = noise((16, 37, 30))
    whole = rotate_slab(spline_coefficients(volume), 33.0, slice_voxels=5)
    for start, stop in ((0, 1), (1, 8), (8, 37)):
        part = rotate_slab(spline_coefficients(volume[:, start:stop]), 33.0, slice_voxels=5)
        np.testing.assert_array_equal(part, whole[:, start:stop])


@pytest.mark.parametrize("tilt_deg", [1.0, -5.0, 15.0])
def test_mass_is_conserved(tilt_deg: float) -> None:
    volume = blob((30, 1, 50), 3.0, -8.0, 2.5)
    slices = rotate_slab(spline_coefficients(volume), tilt_deg, slice_voxels=5)
    assert 5 * slices.sum() == pytest.approx(volume.sum(), rel=1e-6)


def test_mirrored_sample_at_the_opposite_tilt_is_the_mirror_image() -> None:
    volume = noise((17, 2, 25))
    slices = rotate_slab(spline_coefficients(volume), 38.0, slice_voxels=3)
    mirrored = rotate_slab(spline_coefficients(volume[:, :, ::-1]), -38.0, slice_voxels=3)
    np.testing.assert_allclose(mirrored[:, :, ::-1], slices, atol=2e-6)


def test_height_and_width_are_centred() -> None:
    coefficients = spline_coefficients(noise((12, 2, 21)))
    own = rotate_slab(coefficients, 25.0, slice_voxels=4)
    wide = rotate_slab(coefficients, 25.0, slice_voxels=4, height_voxels=len(own) * 4 + 8, width_voxels=25)
    np.testing.assert_allclose(wide[1:-1, :, 2:-2], own, atol=2e-6)
    assert wide.shape == (len(own) + 2, 2, 25)


def test_heights() -> None:
    assert slab_height_voxels(360, 1024, 0.0, 10) == 360
    assert slab_height_voxels(360, 1024, 60.0, 10) == 1070  # 180 + 886.8
    assert slab_height_voxels(360, 1024, -60.0, 10) == 1070
    assert slab_height_voxels(7, 11, 0.0, 5) == 10
    assert field_height_voxels(360, 1024, 60.0, 10) == 2500  # 720 + 1773.6
    assert field_height_voxels(360, 1024, 0.0, 10) == 360


def test_refusals() -> None:
    coefficients = spline_coefficients(noise((5, 2, 6)))
    with pytest.raises(ConfigError, match="-90 and 90"):
        rotate_slab(coefficients, 90.0, slice_voxels=5)
    with pytest.raises(ConfigError, match="slice_voxels=0"):
        rotate_slab(coefficients, 10.0, slice_voxels=0)
    with pytest.raises(ConfigError, match="multiple of slice_voxels=5"):
        rotate_slab(coefficients, 10.0, slice_voxels=5, height_voxels=12)
    with pytest.raises(ConfigError, match="spline_coefficients"):
        rotate_slab(noise((5, 2, 6)), 10.0, slice_voxels=5)
    with pytest.raises(ConfigError, match="real volume"):
        spline_coefficients(np.zeros((4, 4)))
