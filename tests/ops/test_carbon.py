"""Carbon film: its place, potential and absorption, the same in any slab, and nothing placed in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from cryodask.kernels.absorption import absorption_potential_v
from cryodask.ops.bodies import ice_absorption_v
from cryodask.ops.carbon import CARBON_POTENTIAL_V, GRAIN, CarbonFilm, draw_carbon
from cryodask.ops.densities import particle_density
from cryodask.ops.placement import draw_particles
from cryodask.ops.sample import sample_slab
from cryodask.params.schema import MicroscopeParameters, SampleParameters
from tests.tiny import SAMPLE, Balls, source_of

FIELD = replace(SAMPLE, box_voxels=(48, 96, 128), carbon_film_nm=(8.0, 8.0), carbon_share=(0.3, 0.3))
MICROSCOPE = MicroscopeParameters()


def film_of(seed: int, sample: SampleParameters = FIELD) -> CarbonFilm:
    film = draw_carbon(sample, np.random.default_rng(seed), (seed, (9, 0)))
    assert film is not None
    return film


@pytest.mark.parametrize("seed", range(4))
def test_the_film_has_its_share_its_thickness_and_its_potential(seed: int) -> None:
    film = film_of(seed)
    electrostatic, absorption = film.potentials((0, 96), FIELD, MICROSCOPE)
    inside = electrostatic > CARBON_POTENTIAL_V / 2
    assert inside.any(axis=0).mean() == pytest.approx(0.3, abs=0.02)
    # 8 nm are 16 voxels, at one of the faces; the outer half of its own soft edge lies outside the box.
    depth = np.flatnonzero(inside.any(axis=(1, 2)))
    assert len(depth) == 16
    assert depth[-1 if film.upper else 0] == (47 if film.upper else 0)
    core = electrostatic[4:12] if not film.upper else electrostatic[-12:-4]
    full = core[:, inside.all(axis=0, where=np.isin(np.arange(48), depth)[:, None, None])]
    assert full.mean() == pytest.approx(CARBON_POTENTIAL_V, rel=0.01)
    assert full.std() / full.mean() == pytest.approx(GRAIN, rel=0.1)
    over_ice = absorption_potential_v("carbon", 300.0) - ice_absorption_v(FIELD, MICROSCOPE)
    assert absorption.max() == pytest.approx(over_ice, rel=1e-4)


def test_slabs_paste_to_the_whole() -> None:
    film = film_of(1)
    whole = film.potentials((0, 96), FIELD, MICROSCOPE)
    parts = [film.potentials((a, a + 32), FIELD, MICROSCOPE) for a in range(0, 96, 32)]
    for index in range(2):
        np.testing.assert_array_equal(np.concatenate([part[index] for part in parts], axis=1), whole[index])


@pytest.mark.parametrize("placement", ["spheres", "shapes"])
def test_nothing_is_placed_in_it(placement: Literal["spheres", "shapes"]) -> None:
    field = replace(FIELD, particle_count=(6, 6), placement=placement)
    densities = {"balls": source_of(particle_density(Balls(), field))}
    film = film_of(2, field)
    particles = draw_particles(densities, field, np.random.default_rng(0), "m", film=film)
    sample = (0, 96), field, MICROSCOPE
    without = sample_slab(particles, densities, *sample)
    with_film = sample_slab(particles, densities, *sample, film=film)
    np.testing.assert_array_equal(with_film.occupancy_mask, without.occupancy_mask)
    carbon = film.potentials(*sample)[0] > 0.5 * CARBON_POTENTIAL_V
    assert not (carbon[::2, ::2, ::2] & (without.occupancy_mask > 0)).any()
    assert (with_film.electrostatic_v[carbon] > 0.5).all()


def test_a_sample_without_carbon_draws_none() -> None:
    assert draw_carbon(SAMPLE, np.random.default_rng(0), (0, ())) is None
