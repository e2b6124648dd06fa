"""HEALPix directions against their definition, and the rotations made of them."""

from __future__ import annotations

import numpy as np
import pytest

from cryodask.errors import ConfigError
from cryodask.kernels.healpix import crowther_step_deg, healpix_directions, healpix_rotations
from cryodask.kernels.rotations import coverage, misorientation_deg


def vectors(n_side: int) -> np.ndarray:
    theta, phi = healpix_directions(n_side).T
    return np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)


def test_the_first_twelve_are_those_of_the_definition() -> None:
    theta, phi = healpix_directions(1).T
    np.testing.assert_allclose(np.cos(theta), np.repeat([2 / 3, 0, -2 / 3], 4), atol=1e-15)
    np.testing.assert_allclose(np.rad2deg(phi), [45, 135, 225, 315, 0, 90, 180, 270, 45, 135, 225, 315])


@pytest.mark.parametrize("n_side", [1, 2, 3, 5, 8])
def test_pixels_are_as_many_and_as_even_as_they_should(n_side: int) -> None:
    points = vectors(n_side)
    assert len(points) == 12 * n_side**2
    # Equal areas: the first moments vanish and the second are those of the sphere.
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(points.T @ points / len(points), np.eye(3) / 3, atol=0.2 / n_side**2)
    # Turned by a right angle about z, and seen from below, the set is itself.
    for image in (points @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]).T, points * [1, 1, -1]):
        distance = np.linalg.norm(image[:, None] - points[None], axis=2).min(axis=1)
        assert distance.max() < 1e-9
    nearest = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)[:, 1]
    assert nearest.min() > 0.6 * np.sqrt(4 * np.pi / len(points))


def test_seven_degrees_are_the_rotations_of_pytom_match_pick() -> None:
    found = healpix_rotations(7.0)
    assert len(found) == 50_544
    np.testing.assert_allclose(
        found[::999] @ found[::999].transpose(0, 2, 1), np.eye(3)[None].repeat(51, 0), atol=1e-12
    )
    covering = coverage(found)
    assert covering.largest_deg == pytest.approx(5.4, abs=0.2)
    assert misorientation_deg(found[:-1], found[1:]).min() > 1


def test_the_automatic_step_is_crowthers() -> None:
    assert crowther_step_deg(40.0, 200.0) == pytest.approx(np.rad2deg(0.2))
    assert crowther_step_deg(40.0, 10.0) == 30.0
    for wrong in ((0.0, 10.0), (40.0, -1.0)):
        with pytest.raises(ConfigError, match="must be positive"):
            crowther_step_deg(*wrong)
    with pytest.raises(ConfigError, match="0, 180"):
        healpix_rotations(0.0)
