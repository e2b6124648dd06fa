"""Back-projection with an x tilt: against the upright one, against phantoms, and its two implementations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import portable_only, to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.backprojection import backproject
from cryodask.kernels.ramp import angular_shares, filter_tilts
from cryodask.kernels.sheared_backprojection import backproject_sheared, cubic_weights, halo_rows, x_tilt_matrix
from tests.conftest import Namespace

SIXTY = np.arange(-60.0, 61.0, 2.0)


def random_lines(rows: int, n_tilts: int = 5, nx: int = 40) -> npt.NDArray[np.float32]:
    return np.random.default_rng(5).standard_normal((n_tilts, rows, nx)).astype(np.float32)


def padded(lines: npt.NDArray[np.float32], halo: int) -> npt.NDArray[np.float32]:
    return np.pad(lines, ((0, 0), (halo, halo), (0, 0)))


FIVE = np.array([-50.0, -20.0, 0.0, 25.0, 55.0])


@pytest.mark.parametrize("portable", [False, True])
def test_without_an_x_tilt_it_is_the_upright_one(portable: bool) -> None:
    lines = random_lines(37)
    weights = angular_shares(FIVE)
    expected = backproject(lines, FIVE, shape=(11, 37, 30), weights=weights)
    arguments: dict[str, Any] = {"shape": (11, 37, 30), "weights": weights}
    if portable:
        with portable_only():
            found = backproject_sheared(padded(lines, 2), FIVE, np.zeros(5), halo=2, **arguments)
    else:
        found = backproject_sheared(padded(lines, 2), FIVE, np.zeros(5), halo=2, **arguments)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_both_implementations_agree(arrays: Namespace) -> None:
    x_tilts = np.array([3.0, 3.2, -2.0, 0.0, 3.0])
    halo = halo_rows(x_tilts, 15)
    lines = random_lines(20 + 2 * halo)
    arguments: dict[str, Any] = {
        "shape": (15, 20, 33),
        "halo": halo,
        "weights": angular_shares(FIVE),
        "oversampling": 2,
    }
    with portable_only():
        expected = backproject_sheared(lines.astype(np.float64), FIVE, x_tilts, **arguments)
    found = to_host(backproject_sheared(arrays.asarray(lines), FIVE, x_tilts, **arguments))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("rows", [7, 32, 45])
def test_slabs_have_the_bits_of_the_whole(rows: int) -> None:
    x_tilts = np.full(5, 4.0)
    halo = halo_rows(x_tilts, 21)
    lines = random_lines(77 + 2 * halo)
    arguments: dict[str, Any] = {"halo": halo, "weights": angular_shares(FIVE)}
    whole = backproject_sheared(lines, FIVE, x_tilts, shape=(21, 77, 33), **arguments)
    for first in range(0, 77, rows):
        count = min(rows, 77 - first)
        part = lines[:, first : first + count + 2 * halo]
        slab = backproject_sheared(part, FIVE, x_tilts, shape=(21, count, 33), **arguments)
        np.testing.assert_array_equal(slab, whole[:, first : first + count])


@pytest.mark.parametrize("x_tilt", [0.0, 5.0, -8.0])
def test_a_tilted_sample_comes_back_upright(x_tilt: float) -> None:
    """Images of blobs by the geometry's definition, resampled analytically: the volume has them in their places."""
    n, nz, ny, sigma = 65, 33, 49, 2.2
    blobs = [(12.0, -9.0, 8.0), (-15.0, 10.0, -6.0), (3.0, 14.0, 10.0)]
    a = np.radians(x_tilt)
    halo = halo_rows([x_tilt], nz)
    v, u = np.meshgrid(np.arange(ny + 2 * halo) - (ny + 2 * halo - 1) / 2, np.arange(n) - (n - 1) / 2, indexing="ij")
    lines = np.zeros((len(SIXTY), ny + 2 * halo, n), dtype=np.float32)
    for index, tilt in enumerate(SIXTY):
        t = np.radians(tilt)
        m = x_tilt_matrix(float(tilt), x_tilt)
        seen_u, seen_v = m[0, 0] * u + m[0, 1] * v, m[1, 0] * u + m[1, 1] * v
        for x, y, z in blobs:
            at_u = x * np.cos(t) + (y * np.sin(a) + z * np.cos(a)) * np.sin(t)
            at_v = y * np.cos(a) - z * np.sin(a)
            distance = (seen_u - at_u) ** 2 + (seen_v - at_v) ** 2
            lines[index] += sigma * np.sqrt(2 * np.pi) * np.exp(-distance / (2 * sigma**2))
    filtered = filter_tilts(lines, oversampling=2)
    volume = backproject_sheared(
        filtered,
        SIXTY,
        np.full(len(SIXTY), x_tilt),
        shape=(nz, ny, n),
        halo=halo,
        weights=angular_shares(SIXTY),
        oversampling=2,
    )
    for x, y, z in blobs:
        place = tuple(round(c + (m - 1) / 2) for c, m in zip((z, y, x), volume.shape, strict=True))
        box = tuple(slice(p - 5, p + 6) for p in place)
        part = np.clip(volume[box] - 0.3 * volume[box].max(), 0, None)
        axes = np.indices(part.shape) - 5
        centre = [float((axis * part).sum() / part.sum()) for axis in axes]
        np.testing.assert_allclose(centre, 0, atol=0.12)
        assert 0.5 < volume[place] < 0.85  # the wedge takes the rest


def test_cubic_weights_reproduce_parabolas() -> None:
    for fraction in (0.0, 0.3, 0.9):
        rows = np.array([-1.0, 0.0, 1.0, 2.0])
        assert sum(cubic_weights(fraction)) == pytest.approx(1)
        assert np.dot(cubic_weights(fraction), rows**2) == pytest.approx(fraction**2)


def test_halo_grows_with_tilt_and_depth() -> None:
    assert halo_rows([0.0, 0.0], 100) == 0
    assert halo_rows([0.0, -10.0], 101) == 9 + 2


def test_what_does_not_fit_is_refused() -> None:
    arguments: dict[str, Any] = {"shape": (9, 4, 8), "weights": np.ones(5)}
    with pytest.raises(ConfigError, match="rows more on either side"):
        backproject_sheared(random_lines(4), FIVE, np.full(5, 9.0), halo=0, **arguments)
    with pytest.raises(ConfigError, match="one finite angle"):
        backproject_sheared(random_lines(8), FIVE[:4], np.zeros(5), halo=2, **arguments)
    with pytest.raises(DataError, match="float32"):
        backproject_sheared(random_lines(8).astype(complex), FIVE, np.zeros(5), halo=2, **arguments)
