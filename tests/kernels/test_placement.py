"""Placement: no overlap, inside the box, exact counts or a clear failure, reproducible."""

from __future__ import annotations

import math
import time

import numpy as np
import numpy.typing as npt
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


def naive_places(radii: npt.NDArray[np.float64], clearance: float, generator: np.random.Generator) -> list[list[float]]:
    """Sequential addition, largest first, every position compared with every sphere; 64 positions drawn at a time."""
    half = np.array(BOX) / 2
    centres: dict[int, npt.NDArray[np.float64]] = {}
    for particle in np.argsort(-radii, kind="stable"):
        while particle not in centres:
            for draw in generator.uniform(-1.0, 1.0, size=(64, 3)) * (half - radii[particle]):
                gaps = [math.dist(draw, c) - radii[other] - radii[particle] for other, c in centres.items()]
                if all(gap >= clearance for gap in gaps):
                    centres[int(particle)] = draw
                    break
    return [list(centres[index]) for index in range(len(radii))]


@pytest.mark.parametrize("clearance", [0.0, 40.0])
def test_cells_leave_no_neighbour_out(clearance: float) -> None:
    radii = np.random.default_rng(4).uniform(10, 90, 60)
    found = place_spheres(
        radii, box_angstrom=BOX, clearance_angstrom=clearance, generator=np.random.default_rng(5)
    ).tolist()
    assert found == naive_places(radii, clearance, np.random.default_rng(5))


def test_the_benchmarks_most_particles_take_less_than_a_second() -> None:
    radii = np.random.default_rng(0).choice([39.0, 45, 51, 71, 74, 76, 87, 89, 111, 120, 160, 175], 3000)
    options = {"box_angstrom": (1800.0, 5120.0, 5120.0), "clearance_angstrom": 5.0}
    place_spheres(radii[:10], **options, generator=np.random.default_rng(0))  # type: ignore[arg-type]
    start = time.process_time()
    centres = place_spheres(radii, **options, generator=np.random.default_rng(1))  # type: ignore[arg-type]
    assert time.process_time() - start < 1.0
    assert len(centres) == 3000
