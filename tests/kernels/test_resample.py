"""Rotated volumes against the same object written down rotated."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage

from cryodask.backend import portable_only, to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.resample import rotate_volume, spline_coefficients
from cryodask.kernels.rotations import matrix_from_zxz_deg
from tests.conftest import Namespace

Floats = npt.NDArray[np.float64]

# (x, y, z), amplitude, sigma: no symmetry, so that a transposed or inverted matrix shows.
BLOBS = [
    ((0.0, 0.0, 0.0), 1.0, 3.0),
    ((5.0, 1.0, 0.5), 0.8, 2.5),
    ((-1.0, 4.5, 2.0), 0.6, 2.2),
    ((0.5, -2.0, 5.0), -0.5, 2.4),
]
ROTATION = matrix_from_zxz_deg([35, 50, -110])


def blobs(
    shape: tuple[int, int, int],
    rotation: Floats,
    step: float = 1.0,
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Floats:
    """The object, rotated analytically, on a grid of voxels of size ``step``, its centre ``offset`` from the middle."""
    z, y, x = np.meshgrid(
        *(step * (np.arange(n) - (n - 1) / 2 - o) for n, o in zip(shape, offset, strict=True)), indexing="ij"
    )
    total = np.zeros(shape)
    for centre, amplitude, sigma in BLOBS:
        cx, cy, cz = rotation @ np.array(centre)
        total += amplitude * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * sigma**2))
    return total


@pytest.mark.parametrize(
    ("shape", "step", "offset"),
    [
        ((33, 33, 33), 1.0, (0.0, 0.0, 0.0)),
        ((25, 22, 27), 1.3, (0.0, 0.0, 0.0)),
        ((31, 32, 33), 0.8, (0.4, -1.25, 2.5)),
    ],
)
def test_cubic_rotation_equals_the_object_rotated_analytically(
    arrays: Namespace, shape: tuple[int, int, int], step: float, offset: tuple[float, float, float]
) -> None:
    volume = arrays.asarray(blobs((44, 43, 45), np.eye(3)))
    rotated = rotate_volume(volume, ROTATION, output_shape=shape, zoom=step, centre_offset=offset)
    # A cubic spline through a Gaussian of sigma 2.2 voxels errs by about 1e-3 of its height.
    np.testing.assert_allclose(to_host(rotated), blobs(shape, ROTATION, step, offset), atol=2e-3)


def test_linear_rotation_is_near_the_analytic_one(arrays: Namespace) -> None:
    volume = arrays.asarray(blobs((44, 43, 45), np.eye(3)).astype(np.float32))
    rotated = rotate_volume(volume, ROTATION, output_shape=(33, 33, 33), order=1)
    assert rotated.dtype == arrays.xp.float32
    np.testing.assert_allclose(to_host(rotated), blobs((33, 33, 33), ROTATION), atol=0.06)


@pytest.mark.parametrize("order", [1, 3])
def test_identity_and_quarter_turns_move_voxels_exactly(arrays: Namespace, order: int) -> None:
    values = np.random.default_rng(0).standard_normal((6, 6, 6))
    volume = arrays.asarray(values)
    same = rotate_volume(volume, np.eye(3), output_shape=(6, 6, 6), order=order)
    np.testing.assert_allclose(to_host(same), values, atol=1e-12)
    # A quarter turn about z takes x to y: out[z, y, x] = volume[z, 5 - x, y].
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = rotate_volume(volume, quarter, output_shape=(6, 6, 6), order=order)
    np.testing.assert_allclose(to_host(turned), values.transpose(0, 2, 1)[:, :, ::-1], atol=1e-12)


def test_coefficients_computed_once_give_the_same_result(arrays: Namespace) -> None:
    volume = arrays.asarray(np.random.default_rng(1).standard_normal((9, 8, 7)))
    at_once = rotate_volume(volume, ROTATION, output_shape=(9, 9, 9))
    prepared = rotate_volume(spline_coefficients(volume), ROTATION, output_shape=(9, 9, 9), prefilter=False)
    assert np.array_equal(to_host(at_once), to_host(prepared))


def test_spline_coefficients_are_scipys() -> None:
    values = np.random.default_rng(1).standard_normal((9, 8, 7))
    np.testing.assert_allclose(spline_coefficients(values), scipy.ndimage.spline_filter(values, 3, mode="mirror"))


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(12, 13, 11), (2, 3, 5)])
def test_compiled_path_equals_the_portable_one(order: int, dtype: type, shape: tuple[int, int, int]) -> None:
    values: npt.NDArray[Any] = np.random.default_rng(2).standard_normal(shape).astype(dtype)
    for seed in range(5):
        rotation = matrix_from_zxz_deg(np.random.default_rng(seed).uniform(-180, 180, 3))
        fast = rotate_volume(values, rotation, output_shape=(14, 12, 13), zoom=0.9, order=order)
        with portable_only():
            portable = rotate_volume(values, rotation, output_shape=(14, 12, 13), zoom=0.9, order=order)
        assert fast.dtype == dtype
        np.testing.assert_allclose(fast, portable, atol=1e-6 if dtype is np.float32 else 1e-13)


def test_bad_arguments_are_refused() -> None:
    volume = np.zeros((4, 4, 4))
    with pytest.raises(ConfigError, match="order=2"):
        rotate_volume(volume, np.eye(3), output_shape=(4, 4, 4), order=2)
    with pytest.raises(ConfigError, match="zoom=0"):
        rotate_volume(volume, np.eye(3), output_shape=(4, 4, 4), zoom=0)
    with pytest.raises(ConfigError, match="output_shape"):
        rotate_volume(volume, np.eye(3), output_shape=(4, 0, 4))
    with pytest.raises(ConfigError, match="matrix_xyz"):
        rotate_volume(volume, np.full((3, 3), np.nan), output_shape=(4, 4, 4))
    with pytest.raises(DataError, match="shape"):
        rotate_volume(volume[0], np.eye(3), output_shape=(4, 4, 4))
