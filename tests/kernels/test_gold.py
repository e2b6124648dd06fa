"""Gold beads: volume, shape and turning of the soft ellipsoid on every array library."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cryodask.backend import to_host
from cryodask.kernels.gold import edge_width_angstrom, gold_fraction
from cryodask.kernels.rotations import matrix_from_zxz_deg
from tests.conftest import Namespace

AXES = (40.0, 30.0, 25.0)
NO_WAVES = np.zeros((0, 4))
STEP = 4.0


def bead(arrays: Namespace, matrix: np.ndarray, waves: np.ndarray = NO_WAVES, amplitude: float = 0.0) -> np.ndarray:
    line = np.arange(-64.0, 65.0, STEP)
    z, y, x = (arrays.asarray(part) for part in np.meshgrid(line, line, line, indexing="ij"))
    fraction = gold_fraction(
        z, y, x, matrix_xyz=matrix, semi_axes_angstrom=AXES, edge_angstrom=2.2, waves=waves, amplitude=amplitude
    )
    return to_host(fraction)


def test_volume_is_that_of_the_ellipsoid(arrays: Namespace) -> None:
    # The soft edge adds pi^2 w^2 times the mean curvature: 1 + pi^2 (w / a)^2 for a sphere of radius a.
    a = float(np.cbrt(math.prod(AXES)))
    wanted = 4 / 3 * math.pi * a**3 * (1 + math.pi**2 * (2.2 / a) ** 2)
    for angles in ((0.0, 0.0, 0.0), (20.0, 50.0, 70.0)):
        fraction = bead(arrays, matrix_from_zxz_deg(np.array(angles)))
        assert fraction.sum() * STEP**3 == pytest.approx(wanted, rel=0.01)
        assert fraction.max() == pytest.approx(1.0, abs=1e-4)


def test_second_moments_turn_with_the_matrix(arrays: Namespace) -> None:
    matrix = matrix_from_zxz_deg(np.array([20.0, 50.0, 70.0]))
    line = np.arange(-64.0, 65.0, STEP)
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    places = np.stack([x, y, z]).reshape(3, -1)
    fraction = bead(arrays, matrix).ravel()
    moments = (fraction * places) @ places.T / fraction.sum()
    own = matrix.T @ moments @ matrix
    assert np.abs(own - np.diag(np.diag(own))).max() < 1.0
    # A sharp ellipsoid has a^2 / 5; the soft edge of a sphere adds 7 / 15 pi^2 w^2 to first order.
    assert np.diag(own) == pytest.approx(np.array(AXES) ** 2 / 5 + 7 / 15 * (math.pi * 2.2) ** 2, rel=0.05)


def test_waves_vary_the_density_by_the_amplitude(arrays: Namespace) -> None:
    waves = np.array([[0.05, 0.0, 0.0, 0.3], [0.0, 0.045, 0.02, 1.0]])
    plain, varied = bead(arrays, np.eye(3)), bead(arrays, np.eye(3), waves, 0.05)
    inside = plain > 0.99
    assert np.std(varied[inside]) == pytest.approx(0.05, rel=0.2)
    assert varied.sum() == pytest.approx(plain.sum(), rel=0.02)


def test_edge_has_the_variance_of_blur_and_voxel() -> None:
    width = edge_width_angstrom(4.0, 5.0)
    assert (math.pi * width) ** 2 / 3 == pytest.approx(16 + 25 / 12)
