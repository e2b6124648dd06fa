"""Images of a tilt series brought upright: places by the convention, values by band-limited phantoms."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryodask.backend import to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.image_alignment import align_image
from cryodask.model.alignment import rotation_xy
from tests.conftest import Namespace

BLOBS = ((3.0, -9.0, 1.0), (-11.0, 6.0, -0.7), (9.0, 12.0, 0.5))
"""x, y from the centre, height."""


def picture(
    shape: tuple[int, int], matrix: npt.ArrayLike, shift: tuple[float, float], sigma: float = 2.5
) -> npt.NDArray[np.float64]:
    """Gaussians, given in the aligned frame, as the raw image has them; ``shift`` (x, y)."""
    y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    inverse = np.linalg.inv(np.asarray(matrix))
    u, v = np.einsum("ij,j...->i...", inverse, np.stack([x - shift[0], y - shift[1]]))
    return np.asarray(sum(h * np.exp(-((u - a) ** 2 + (v - b) ** 2) / (2 * sigma**2)) for a, b, h in BLOBS))


@pytest.mark.parametrize("angle", [0.0, 0.4, -12.7, 84.3, -95.2, 180.0])
@pytest.mark.parametrize("shape", [(64, 64), (63, 64), (65, 63)])
def test_things_come_back_where_they_were(angle: float, shape: tuple[int, int]) -> None:
    shift = (2.3, -3.75)
    matrix = rotation_xy(angle)
    raw = picture((72, 70), matrix, shift)
    aligned = align_image(raw, matrix_xy=matrix, shift_x_px=shift[0], shift_y_px=shift[1], output_shape=shape)
    assert aligned.shape == shape
    np.testing.assert_allclose(aligned, picture(shape, np.eye(2), (0, 0)), atol=1.5e-3)


def test_magnification_is_undone() -> None:
    matrix = 1.05 * rotation_xy(20.0)
    aligned = align_image(
        picture((80, 80), matrix, (0, 0)), matrix_xy=matrix, shift_x_px=0, shift_y_px=0, output_shape=(64, 64)
    )
    np.testing.assert_allclose(aligned, picture((64, 64), np.eye(2), (0, 0)), atol=1.5e-3)


def test_fine_detail_survives_rotation() -> None:
    """A wave of half Nyquist keeps 99 % of its amplitude; with linear interpolation it would be 75 %."""
    n = 96
    y, x = np.meshgrid(np.arange(n) - (n - 1) / 2, np.arange(n) - (n - 1) / 2, indexing="ij")
    matrix = rotation_xy(33.0)
    wave = np.cos(2 * np.pi * 0.25 * x)
    aligned = align_image(wave, matrix_xy=matrix, shift_x_px=0, shift_y_px=0, output_shape=(n, n))
    u = np.cos(np.radians(33)) * x - np.sin(np.radians(33)) * y
    expected = np.cos(2 * np.pi * 0.25 * u)
    middle = np.s_[28:-28, 28:-28]
    np.testing.assert_allclose(aligned[middle], expected[middle], atol=0.01)


@settings(max_examples=20, deadline=None)
@given(st.floats(-40, 40), st.floats(-40, 40))
def test_what_lies_outside_is_zero(shift_x: float, shift_y: float) -> None:
    image = np.ones((24, 24))
    aligned = align_image(image, matrix_xy=np.eye(2), shift_x_px=shift_x, shift_y_px=shift_y, output_shape=(24, 24))
    outside_x, outside_y = min(24, int(abs(shift_x))), min(24, int(abs(shift_y)))
    if outside_x:
        columns = aligned[:, 24 - outside_x :] if shift_x > 0 else aligned[:, :outside_x]
        assert np.abs(columns).max() == 0
    if outside_y:
        rows = aligned[24 - outside_y :] if shift_y > 0 else aligned[:outside_y]
        assert np.abs(rows).max() == 0


@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_every_library_gives_the_same_image(arrays: Namespace, angle: float) -> None:
    raw = picture((40, 44), rotation_xy(angle), (1.5, 0.25)).astype(np.float32)
    settings_: dict[str, Any] = {
        "matrix_xy": rotation_xy(angle),
        "shift_x_px": 1.5,
        "shift_y_px": 0.25,
        "output_shape": (38, 41),
    }
    result = align_image(arrays.asarray(raw), **settings_)
    assert result.dtype == arrays.xp.float32
    np.testing.assert_allclose(to_host(result), align_image(raw.astype(np.float64), **settings_), atol=3e-6)


def test_what_cannot_be_aligned_is_refused() -> None:
    image = np.zeros((8, 8))
    with pytest.raises(DataError, match="shape"):
        align_image(image[0], matrix_xy=np.eye(2), shift_x_px=0, shift_y_px=0, output_shape=(8, 8))
    with pytest.raises(ConfigError, match="shifts must be finite"):
        align_image(image, matrix_xy=np.eye(2), shift_x_px=np.nan, shift_y_px=0, output_shape=(8, 8))
    with pytest.raises(ConfigError, match="cannot align"):
        align_image(image, matrix_xy=np.eye(3), shift_x_px=0, shift_y_px=0, output_shape=(8, 8))
