"""Vesicles: distances to ellipsoids, the bilayer's integral and shape, and the volume of a shell."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cryodask.backend import to_host
from cryodask.kernels.rotations import matrix_from_zxz_deg
from cryodask.kernels.vesicle import (
    CORE_HALF_ANGSTROM,
    CORE_V_A,
    HEAD_DISTANCE_ANGSTROM,
    HEAD_V_A,
    bilayer_potential,
    ellipsoid_distance,
    soft_slab,
)
from tests.conftest import Namespace

UNTURNED = np.eye(3)


def test_distance_to_a_sphere_is_exact(arrays: Namespace) -> None:
    x = arrays.asarray(np.linspace(-150.0, 150.0, 31))
    zero = arrays.asarray(np.zeros(31))
    distance = to_host(ellipsoid_distance(zero, zero, x, matrix_xyz=UNTURNED, semi_axes=(100.0, 100.0, 100.0)))
    np.testing.assert_allclose(distance, np.abs(np.linspace(-150, 150, 31)) - 100, atol=1e-9)


def test_distance_is_zero_on_a_turned_ellipsoid_with_a_gradient_of_one() -> None:
    generator = np.random.default_rng(1)
    axes, turn = np.array([180.0, 260.0, 390.0]), np.asarray(matrix_from_zxz_deg(np.array([20.0, 50.0, 70.0])))
    direction = generator.normal(size=(200, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    normal = direction / axes
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    for step in (0.0, 0.1, -0.1):
        x, y, z = (turn @ (direction * axes + step * normal).T)[:3]
        distance = ellipsoid_distance(z, y, x, matrix_xyz=turn, semi_axes=axes.tolist())
        np.testing.assert_allclose(distance, step, atol=2e-3)


def test_across_the_bilayer_the_integral_is_that_of_its_lipids(arrays: Namespace) -> None:
    d = np.linspace(-80.0, 80.0, 3201)
    for blur in (0.5, 4.0):
        profile = to_host(bilayer_potential(arrays.asarray(d), blur))
        integral = float(np.sum((profile[1:] + profile[:-1]) / 2)) * (d[1] - d[0])
        assert integral == pytest.approx(2 * (HEAD_V_A + CORE_V_A), rel=1e-3)


def test_head_groups_lie_38_angstrom_apart_around_a_less_dense_core() -> None:
    d = np.linspace(0.0, 40.0, 401)
    profile = bilayer_potential(d, 0.5)
    assert abs(d[np.argmax(profile)] - HEAD_DISTANCE_ANGSTROM / 2) < 1.5
    assert profile.max() > 1.2 * profile[0]
    assert profile[0] == pytest.approx(CORE_V_A / CORE_HALF_ANGSTROM, rel=0.01)
    assert profile[-1] < 1e-3


def test_a_shell_holds_its_volume() -> None:
    """Within half the thickness t of a sphere of radius r there are 4 pi (2 t r^2 + 2 t^3 / 3)."""
    radius, half = 100.0, 24.0
    at = (np.arange(80) - 39.5) * 4.0
    distance = ellipsoid_distance(
        at[:, None, None], at[None, :, None], at[None, None, :], matrix_xyz=UNTURNED, semi_axes=(radius,) * 3
    )
    volume = float(soft_slab(distance, half, 4.0).sum()) * 4.0**3
    # A soft edge of variance s^2 adds 8 pi t s^2 or so: a percent.
    assert volume == pytest.approx(4 * math.pi * (2 * half * radius**2 + 2 * half**3 / 3), rel=0.01)
