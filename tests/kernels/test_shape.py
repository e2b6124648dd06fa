"""Volume, area and the shape numbers of SHREC 2021 against bodies whose values are known."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.errors import ConfigError, DataError
from cryodask.kernels.shape import ShapeStatistics, shape_statistics, solid
from tests.conftest import Namespace

Floats = npt.NDArray[np.float64]


def distance(side: int = 48, stretch: float = 1.0) -> Floats:
    """Distance of each voxel from the centre, measured with a ruler ``stretch`` times as long along z."""
    axis = np.arange(side) - (side - 1) / 2
    squared: Floats = (axis[:, None, None] / stretch) ** 2 + axis[:, None] ** 2 + axis**2
    return np.sqrt(squared)


def test_equations_on_a_ball_and_a_cube() -> None:
    ball = ShapeStatistics(4 / 3 * math.pi * 5**3, 4 * math.pi * 5**2)
    assert ball.sphericity == pytest.approx(1)
    assert ball.effective_radius == pytest.approx(5)
    cube = ShapeStatistics(2.0**3, 6 * 2.0**2)
    assert cube.sphericity == pytest.approx((math.pi / 6) ** (1 / 3))
    assert cube.effective_radius == pytest.approx(1)


def test_a_ball_has_the_numbers_of_a_ball(arrays: Namespace) -> None:
    radius = 15.0
    found = shape_statistics(arrays.asarray(-distance().astype(np.float32)), -radius, 0.5)
    assert found.volume == pytest.approx(4 / 3 * math.pi * (radius / 2) ** 3, rel=0.02)
    assert found.area == pytest.approx(4 * math.pi * (radius / 2) ** 2, rel=0.01)
    assert found.sphericity == pytest.approx(1, abs=0.02)
    assert found.effective_radius == pytest.approx(radius / 2, rel=0.02)


def test_a_spheroid_has_the_area_of_a_spheroid() -> None:
    a, stretch = 8.0, 2.5
    found = shape_statistics(-distance(stretch=stretch), -a, 1.0)
    e = math.sqrt(1 - 1 / stretch**2)
    assert found.volume == pytest.approx(4 / 3 * math.pi * a**3 * stretch, rel=0.02)
    assert found.area == pytest.approx(2 * math.pi * a**2 * (1 + stretch / e * math.asin(e)), rel=0.02)


def test_two_balls_apart_have_twice_the_volume_and_area_of_one() -> None:
    one = -distance(24)
    both = np.concatenate([one, one])
    single, double = (shape_statistics(values, -8.0, 1.0) for values in (one, both))
    assert (double.volume, double.area) == pytest.approx((2 * single.volume, 2 * single.area))


def test_lengths_scale_with_the_voxel() -> None:
    values = -distance(24)
    small, large = (shape_statistics(values, -8.0, voxel) for voxel in (1.0, 3.0))
    assert large.volume == pytest.approx(27 * small.volume)
    assert large.area == pytest.approx(9 * small.area)
    assert large.sphericity == pytest.approx(small.sphericity)


def test_turning_and_mirroring_change_nothing() -> None:
    values = -distance(32, stretch=1.5) + 0.05 * np.arange(32)
    reference = shape_statistics(values, -7.0, 1.0)
    for other in (values.transpose(2, 0, 1), values[::-1], values[:, :, ::-1]):
        found = shape_statistics(np.ascontiguousarray(other), -7.0, 1.0)
        assert found.volume == reference.volume
        assert found.area == pytest.approx(reference.area, rel=0.01)  # the triangles' diagonals turn too


def test_no_surface_is_refused() -> None:
    values = -distance(16)
    with pytest.raises(DataError, match=r"never exceeds 5; its maximum is -0\.8"):
        shape_statistics(values, 5, 1.0)
    with pytest.raises(DataError, match="on a face of its box"):
        shape_statistics(values, -9.0, 1.0)
    values[3, 3, 3] = np.nan
    with pytest.raises(DataError, match="1 values that are not finite"):
        shape_statistics(values, -5.0, 1.0)


@pytest.mark.parametrize("voxel_size", [0.0, -1.0, math.nan, math.inf])
def test_impossible_voxels_are_refused(voxel_size: float) -> None:
    with pytest.raises(ConfigError, match="voxel size"):
        shape_statistics(-distance(16), -5.0, voxel_size)


def test_what_is_no_volume_is_refused() -> None:
    with pytest.raises(ConfigError, match="shape"):
        shape_statistics(np.zeros((4, 4)), 0.5, 1.0)
    with pytest.raises(ConfigError, match="threshold"):
        shape_statistics(-distance(16), math.nan, 1.0)


def test_a_solid_has_no_channel_and_no_cavity() -> None:
    z, y, x = (np.arange(48) - 23.5)[:, None, None], (np.arange(48) - 23.5)[:, None], np.arange(48) - 23.5
    across = np.sqrt(y**2 + x**2)
    barrel = (across < 16) & (np.abs(z) < 14)
    channel, cavity = across < 5, np.sqrt(z**2 + (y - 10) ** 2 + x**2) < 3
    found = solid(barrel & ~channel & ~cavity, 7.0)
    assert not (barrel & (np.abs(z) < 10) & ~found).any()
    # The outline is that of the barrel: the mouths of the channel are closed by less than a ball's cap.
    assert not (found & ~barrel).any()
    assert found.sum() > 0.97 * barrel.sum()


def test_a_channel_wider_than_the_ball_stays_open() -> None:
    y, x = (np.arange(40) - 19.5)[:, None], np.arange(40) - 19.5
    across = np.broadcast_to(np.sqrt(y**2 + x**2), (30, 40, 40)).copy()
    across[[0, 1, -1, -2]] = 99
    ring = (across < 18) & (across > 11)
    found = solid(ring, 4.0)
    assert not (found & (across < 10)).any()
    # What a ball smooths is the staircase of the voxels.
    assert (found != ring).sum() < 0.03 * ring.sum()


def test_nothing_has_no_solid() -> None:
    assert not solid(np.zeros((4, 5, 6), bool), 3.0).any()
