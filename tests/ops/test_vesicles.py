"""Vesicles in the sample: counts, room kept by all others, truth, slabs, and what the box cuts off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cryodask.errors import ConfigError
from cryodask.kernels.vesicle import CORE_V_A, HEAD_V_A
from cryodask.ops.bodies import FIDUCIAL, VESICLE, Body, body_classes, draw_gold, spheres
from cryodask.ops.densities import particle_density
from cryodask.ops.placement import draw_particles
from cryodask.ops.sample import sample_slab
from cryodask.ops.vesicles import SEMI_AXIS_ANGSTROM, STRETCH, Vesicle, draw_vesicles
from cryodask.params.schema import MicroscopeParameters, SampleParameters
from tests.tiny import Balls, source_of

MICROSCOPE = MicroscopeParameters()
BOX = SampleParameters(
    box_voxels=(96, 192, 256), voxel_size_angstrom=10.0, vesicle_count=(1, 1), gold_count=(2, 2), particle_count=(2, 2)
)


def test_bodies_keep_apart_and_stand_in_the_truth() -> None:
    vesicles = draw_vesicles(BOX, np.random.default_rng(4))
    gold = draw_gold(BOX, np.random.default_rng(1), spheres(vesicles))
    densities = {"balls": source_of(particle_density(Balls(), BOX))}
    radii = {"balls": densities["balls"].radius_angstrom}
    others: list[Body] = [*gold, *vesicles]
    particles = draw_particles(densities, BOX, np.random.default_rng(2), "m", others)
    assert list(particles.class_id) == ["balls", "balls", FIDUCIAL, FIDUCIAL, VESICLE]
    assert body_classes(BOX) == [FIDUCIAL, VESICLE]
    reach = np.array([*[radii["balls"]] * 2, *(body.radius_angstrom for body in others)])
    apart = np.linalg.norm(particles.position_angstrom[:, None] - particles.position_angstrom[None], axis=2)
    assert (apart + 1e6 * np.eye(5) >= reach[:, None] + reach[None]).all()

    ny = BOX.box_voxels[1]
    whole = sample_slab(particles, densities, (0, ny), BOX, MICROSCOPE, others)
    assert set(np.unique(whole.class_mask)) == {0, 1, 2, 3}
    assert np.array_equal(whole.class_mask == 3, whole.occupancy_mask == 5)
    parts = [sample_slab(particles, densities, (a, a + 48), BOX, MICROSCOPE, others) for a in range(0, ny, 48)]
    for name in ("electrostatic_v", "absorption_v", "class_mask", "occupancy_mask"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts], axis=1), getattr(whole, name))


def test_sizes_and_potential_are_those_of_a_bilayer() -> None:
    lone = replace(BOX, box_voxels=(128, 128, 128), gold_count=(0, 0), particle_count=(0, 0))
    drawn = [draw_vesicles(lone, np.random.default_rng(seed))[0] for seed in range(50)]
    axes = np.array([v.semi_axes_angstrom for v in drawn])
    assert axes.min() >= SEMI_AXIS_ANGSTROM[0]
    assert axes.max() <= SEMI_AXIS_ANGSTROM[1] * STRETCH[1]
    assert axes.max(axis=1).min() / axes.min(axis=1).max() < 1 < (axes.max(axis=1) / axes.min(axis=1)).mean()
    half = np.array(lone.box_voxels) * lone.voxel_size_angstrom / 2
    centres = np.array([v.centre_angstrom for v in drawn])
    # A centre may lie anywhere in the box, so that many vesicles stick out of it.
    assert (np.abs(centres) <= half).all()
    assert (np.abs(centres) > half - 180).any()

    sphere = Vesicle(np.zeros(3), (300.0, 300.0, 300.0), np.eye(3), 5.0)
    electrostatic, absorption = sphere.potentials([(0, 128)] * 3, lone, MICROSCOPE)
    # Both leaflets over the area of the middle surface; curvature adds terms of (19 / 300)^2.
    expected = 4 * np.pi * 300.0**2 * 2 * (HEAD_V_A + CORE_V_A)
    assert float(electrostatic.sum(dtype=float)) * 10.0**3 == pytest.approx(expected, rel=0.01)
    assert absorption.max() == pytest.approx(0.18474, rel=0.01)
    assert absorption[64, 64, 64] == pytest.approx(0.0, abs=1e-6)


def test_none_are_drawn_where_none_are_asked_for_and_too_many_are_refused() -> None:
    assert draw_vesicles(replace(BOX, vesicle_count=(0, 0)), np.random.default_rng(0)) == []
    with pytest.raises(ConfigError, match=r"only \d+ of 50 vesicles fit"):
        draw_vesicles(replace(BOX, vesicle_count=(50, 50)), np.random.default_rng(0))
