"""Gold in the sample: exact counts, no overlap, potentials of the ellipsoids, truth, independence of slabs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cryodask.errors import ConfigError
from cryodask.kernels.absorption import absorption_potential_v
from cryodask.kernels.gold import GOLD_POTENTIAL_V
from cryodask.ops.bodies import FIDUCIAL, draw_gold, ice_absorption_v
from cryodask.ops.densities import particle_density
from cryodask.ops.placement import draw_particles
from cryodask.ops.sample import sample_slab
from cryodask.params.schema import MicroscopeParameters
from tests.tiny import SAMPLE, Balls, source_of

MICROSCOPE = MicroscopeParameters()
GOLDEN = replace(SAMPLE, gold_count=(3, 3), particle_count=(1, 1))
NY = SAMPLE.box_voxels[1]


def test_counts_truth_potential_and_slabs() -> None:
    gold = draw_gold(GOLDEN, np.random.default_rng(1))
    densities = {"balls": source_of(particle_density(Balls(), GOLDEN))}
    radii = {"balls": densities["balls"].radius_angstrom}
    particles = draw_particles(densities, GOLDEN, np.random.default_rng(2), "m", gold)
    assert list(particles.class_id) == ["balls", *[FIDUCIAL] * 3]
    assert np.isnan(particles.zxz_deg[1:]).all()
    assert np.isfinite(particles.zxz_deg[0]).all()
    reach = np.array([radii["balls"], *(bead.radius_angstrom for bead in gold)])
    apart = np.linalg.norm(particles.position_angstrom[:, None] - particles.position_angstrom[None], axis=2)
    assert (apart + 1e6 * np.eye(4) >= reach[:, None] + reach[None]).all()

    whole = sample_slab(particles, densities, (0, NY), GOLDEN, MICROSCOPE, gold)
    bare = sample_slab(particles.take(np.arange(1)), densities, (0, NY), GOLDEN, MICROSCOPE)
    assert set(np.unique(whole.class_mask)) == {0, 1, 2}
    assert set(np.unique(whole.occupancy_mask)) == {0, 1, 2, 3, 4}
    volumes = sum(
        4 / 3 * math.pi * math.prod(b.semi_axes_angstrom)
        * (1 + math.pi**2 * (b.edge_angstrom / np.cbrt(math.prod(b.semi_axes_angstrom))) ** 2)
        for b in gold
    )  # fmt: skip
    voxel = GOLDEN.voxel_size_angstrom**3
    electrostatic = float((whole.electrostatic_v - bare.electrostatic_v).sum(dtype=float)) * voxel
    assert electrostatic == pytest.approx(GOLD_POTENTIAL_V * volumes, rel=0.05)
    absorption = float((whole.absorption_v - bare.absorption_v).sum(dtype=float)) * voxel
    over_ice = absorption_potential_v("gold", 300.0) - ice_absorption_v(GOLDEN, MICROSCOPE)
    assert absorption / electrostatic == pytest.approx(over_ice / GOLD_POTENTIAL_V, rel=1e-4)

    parts = [sample_slab(particles, densities, (a, a + 16), GOLDEN, MICROSCOPE, gold) for a in range(0, NY, 16)]
    for name in ("electrostatic_v", "absorption_v", "class_mask", "occupancy_mask"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts], axis=1), getattr(whole, name))


def test_without_gold_proteins_are_drawn_as_ever() -> None:
    densities = {"balls": source_of(particle_density(Balls(), SAMPLE))}
    one = draw_particles(densities, SAMPLE, np.random.default_rng(5), "m")
    other = draw_particles(densities, SAMPLE, np.random.default_rng(5), "m", [])
    assert np.array_equal(one.position_angstrom, other.position_angstrom)
    assert draw_gold(SAMPLE, np.random.default_rng(0)) == []


def test_too_many_beads_are_refused() -> None:
    with pytest.raises(ConfigError, match="fit the box"):
        draw_gold(replace(SAMPLE, gold_count=(500, 500)), np.random.default_rng(0))
