"""Crowded samples: shapes that do not overlap where their bounding spheres do, and shares of the box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cryodask.errors import ConfigError
from cryodask.kernels.crowding import Shape, place_shapes
from cryodask.model.particles import Particles
from cryodask.ops.densities import DensitySource, particle_density
from cryodask.ops.placement import draw_particles
from cryodask.ops.sample import sample_slab
from cryodask.params.schema import MicroscopeParameters, SampleParameters
from tests.tiny import SAMPLE, Balls, source_of

ROD = tuple(((0.0, 0.0, float(z)), 16.0) for z in range(-60, 61, 20))
CROWDED = replace(SAMPLE, box_voxels=(40, 96, 96), placement="shapes", volume_fraction=0.15)
MICROSCOPE = MicroscopeParameters()


@pytest.fixture(scope="module")
def densities() -> dict[str, DensitySource]:
    rods, balls = Balls(class_id="rods", balls=ROD), Balls()
    return {s.class_id: source_of(particle_density(s, SAMPLE)) for s in (rods, balls)}


def drawn(densities: dict[str, DensitySource], sample: SampleParameters, seed: int = 0) -> Particles:
    return draw_particles(densities, sample, np.random.default_rng(seed), "m")


def test_shapes_fill_a_share_that_spheres_cannot(densities: dict[str, DensitySource]) -> None:
    particles = drawn(densities, CROWDED)
    mask = sample_slab(particles, densities, (0, 96), CROWDED, MICROSCOPE).occupancy_mask
    assert set(np.unique(mask)) == set(range(len(particles) + 1))
    # The blurred edges make the solids somewhat larger than the truth's masks are.
    assert 0.12 < (mask > 0).mean() < 0.18
    with pytest.raises(ConfigError, match="particles fit the box"):
        drawn(densities, replace(CROWDED, placement="spheres"))


def test_no_particle_loses_a_voxel_to_another(densities: dict[str, DensitySource]) -> None:
    particles = drawn(densities, CROWDED, seed=3)
    together = sample_slab(particles, densities, (0, 96), CROWDED, MICROSCOPE).occupancy_mask
    for index in range(0, len(particles), 3):
        alone = sample_slab(particles.take(np.array([index])), densities, (0, 96), CROWDED, MICROSCOPE).occupancy_mask
        np.testing.assert_array_equal(together == index + 1, alone == 1)


def test_the_count_is_exact_and_the_draw_is_the_generators(densities: dict[str, DensitySource]) -> None:
    counted = replace(CROWDED, volume_fraction=None, class_counts={"rods": 12, "balls": 5})
    one, other = drawn(densities, counted), drawn(densities, counted)
    assert list(one.class_id).count("rods") == 12
    assert len(one) == 17
    np.testing.assert_array_equal(one.position_angstrom, other.position_angstrom)
    np.testing.assert_array_equal(one.zxz_deg, other.zxz_deg)
    assert not np.array_equal(one.position_angstrom, drawn(densities, counted, seed=1).position_angstrom)


def test_a_full_box_says_how_many_fitted(densities: dict[str, DensitySource]) -> None:
    full = replace(CROWDED, box_voxels=(32, 48, 48), volume_fraction=None, particle_count=(500, 500))
    with pytest.raises(ConfigError, match=r"only \d+ of 500 particles fit the box of 16 x 24 x 24 nm"):
        drawn(densities, full)


def test_obstacles_are_kept_clear() -> None:
    shape = Shape.of_mask(np.ones((8, 8, 8), bool), 5.0, 5.0)
    centres, _ = place_shapes(
        ["cube"] * 20,
        {"cube": shape},
        box_angstrom=(400.0, 400.0, 400.0),
        generator=np.random.default_rng(0),
        obstacles=(np.zeros((1, 3)), np.array([120.0])),
    )
    assert (np.linalg.norm(centres, axis=1) > 120 + 15).all()
    assert (np.abs(centres) < 200 - 15).all()


def test_the_last_free_place_is_found() -> None:
    """A box in which cubes have one hole left: no random draw will hit it, the list of free places does."""
    shape = Shape.of_mask(np.ones((10, 10, 10), bool), 5.0, 0.0)
    # Spheres in seven of the eight corners of the box, large enough to leave no other room.
    corners = np.array([(z, y, x) for z in (-60, 60) for y in (-60, 60) for x in (-60, 60)], dtype=float)
    centres, _ = place_shapes(
        ["cube"],
        {"cube": shape},
        box_angstrom=(240.0, 240.0, 240.0),
        generator=np.random.default_rng(4),
        obstacles=(corners[:7], np.full(7, 84.0)),
    )
    assert (centres[0] > 0).all()
