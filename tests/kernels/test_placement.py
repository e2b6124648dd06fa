"""Placement: no overlap, inside the box, exact counts or a clear failure, reproducible."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from cryodask.errors import ConfigError
from cryodask.kernels.placement import place_spheres

BOX = (400.0, 900.0, 900.0)


def test_spheres_keep_their_distance_and_stay_inside() -> None:
    radii = np.random.default_rng(1).uniform(30, 100, 40)
    centres = place_spheres(radii, box_angstrom=BOX, clearance_angstrom=5.0, generator=np.random.default_rng(2))
    assert centres.shape == (40, 3)
    assert np.all(np.abs(centres) + radii[:, None] <= np.array(BOX) / 2 + 1e-9)
    least = (radii[:, None] + radii[None, :] + 5.0)[np.triu_indices(40, 1)]
    assert np.all(pdist(centres) >= least - 1e-9)


def test_same_generator_gives_same_places() -> None:
    radii = np.linspace(40, 90, 30)
    first, second = (
        place_spheres(radii, box_angstrom=BOX, clearance_angstrom=5.0, generator=np.random.default_rng(7))
        for _ in range(2)
    )
    assert np.array_equal(first, second)


def test_lone_sphere_is_uniform_in_its_room() -> None:
    generator = np.random.default_rng(3)
    places = np.concatenate(
        [
            place_spheres(np.array([100.0]), box_angstrom=BOX, clearance_angstrom=0.0, generator=generator)
            for _ in range(2000)
        ]
    )
    room = np.array(BOX) / 2 - 100
    # A uniform variable has variance room^2 / 3; four standard errors of that estimate at n = 2000 are 8 %.
    assert np.allclose(places.var(axis=0), room**2 / 3, rtol=0.08)


def test_too_many_particles_say_how_many_fit() -> None:
    with pytest.raises(ConfigError, match=r"only \d+ of 500 particles fit"):
        place_spheres(np.full(500, 120.0), box_angstrom=BOX, clearance_angstrom=5.0, generator=np.random.default_rng(0))


def test_particle_larger_than_box_is_named() -> None:
    with pytest.raises(ConfigError, match="radius 300 angstrom does not fit"):
        place_spheres(np.array([300.0]), box_angstrom=BOX, clearance_angstrom=5.0, generator=np.random.default_rng(0))
