"""From atoms to densities, and from placed particles to slabs of the grand model and its truth."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from cryodask.errors import ConfigError, DataError
from cryodask.kernels.absorption import absorption_potential_v
from cryodask.kernels.potential import electrostatic_potential
from cryodask.kernels.slab_rotation import spline_coefficients
from cryodask.model.particles import Particles
from cryodask.ops.bodies import ice_absorption_v
from cryodask.ops.densities import (
    DENSITY_VOXEL_ANGSTROM,
    MASK_THRESHOLD_V,
    DensitySource,
    ParticleDensity,
    particle_density,
)
from cryodask.ops.placement import draw_particles
from cryodask.ops.sample import SampleSlab, sample_slab
from cryodask.params.schema import MicroscopeParameters, SampleParameters
from tests.tiny import SAMPLE, Balls, source_of, two_structures

MICROSCOPE = MicroscopeParameters()
NY = SAMPLE.box_voxels[1]

ROD = ((-45.0, -45.0, 45.0), (-30.0, -30.0, 30.0), (-15.0, -15.0, 15.0), (0.0, 0.0, 0.0), (15.0, 15.0, -15.0),
       (30.0, 30.0, -30.0), (45.0, 45.0, -45.0))  # fmt: skip
"""Centres along a diagonal: half as long again as any of its coordinates."""


@pytest.fixture(scope="module")
def chiral() -> ParticleDensity:
    return particle_density(Balls(), SAMPLE)


@pytest.fixture(scope="module")
def densities() -> dict[str, DensitySource]:
    return {s.info.class_id: source_of(particle_density(s, SAMPLE)) for s in two_structures()}


def drawn(densities: dict[str, DensitySource], seed: int, sample: SampleParameters = SAMPLE) -> Particles:
    return draw_particles(densities, sample, np.random.default_rng(seed), "m")


def whole(particles: Particles, densities: dict[str, DensitySource], sample: SampleParameters = SAMPLE) -> SampleSlab:
    return sample_slab(particles, densities, (0, sample.box_voxels[1]), sample, MICROSCOPE)


def direct_potential(
    structure: Balls, zxz_deg: tuple[float, float, float], position_angstrom: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """The potential of the turned and moved atoms themselves at the sample's grid points."""
    atoms, voxel = structure.load(), SAMPLE.voxel_size_angstrom
    turned = Rotation.from_euler("ZXZ", zxz_deg, degrees=True).apply(atoms.position_angstrom)
    zyx = np.asarray(position_angstrom) + (np.array(SAMPLE.box_voxels) - 1) / 2 * voxel
    step = round(voxel / DENSITY_VOXEL_ANGSTROM)
    nz, ny, nx = (step * n for n in SAMPLE.box_voxels)
    potential: npt.NDArray[np.float64] = electrostatic_potential(
        atoms.scattering_a,
        atoms.scattering_b,
        turned + zyx[::-1],
        shape=(nz, ny, nx),
        voxel_size_angstrom=DENSITY_VOXEL_ANGSTROM,
        solvent_volume_a3=atoms.solvent_volume_a3,
        solvent_potential_v=SAMPLE.solvent_potential_v,
        blur_sigma_angstrom=SAMPLE.motion_blur_sigma_angstrom,
        weight=atoms.weight,
    )
    return potential[::step, ::step, ::step]


def relative_difference(made: npt.NDArray[np.float32], expected: npt.NDArray[np.float64]) -> float:
    return float(np.linalg.norm(made - expected) / np.linalg.norm(expected))


def test_density_is_that_of_the_blurred_atoms(chiral: ParticleDensity) -> None:
    side = chiral.electrostatic_v.shape[0]
    atoms = Balls().load()
    direct = electrostatic_potential(
        atoms.scattering_a,
        atoms.scattering_b,
        atoms.position_angstrom + (side - 1) / 2 * DENSITY_VOXEL_ANGSTROM,
        shape=(side,) * 3,
        voxel_size_angstrom=DENSITY_VOXEL_ANGSTROM,
        solvent_volume_a3=atoms.solvent_volume_a3,
        solvent_potential_v=SAMPLE.solvent_potential_v,
        blur_sigma_angstrom=SAMPLE.motion_blur_sigma_angstrom,
    )
    assert relative_difference(chiral.electrostatic_v, direct) < 5e-3
    displaced = chiral.displaced_fraction.sum(dtype=np.float64) * DENSITY_VOXEL_ANGSTROM**3
    assert displaced == pytest.approx(atoms.solvent_volume_a3.sum(), rel=1e-3)


def test_radius_holds_all_that_exceeds_the_threshold(chiral: ParticleDensity) -> None:
    centre = (chiral.electrostatic_v.shape[0] - 1) / 2
    distance = np.sqrt(((np.indices(chiral.electrostatic_v.shape) - centre) ** 2).sum(axis=0)) * DENSITY_VOXEL_ANGSTROM
    above = chiral.electrostatic_v > MASK_THRESHOLD_V
    assert distance[above].max() == pytest.approx(chiral.radius_angstrom)
    assert not above[distance > chiral.radius_angstrom + 1e-3].any()


@pytest.mark.parametrize("zxz_deg", [(0.0, 0.0, 0.0), (90.0, 0.0, 0.0), (25.0, 70.0, -130.0), (-160.0, 115.0, 40.0)])
def test_a_particle_lies_where_its_turned_atoms_are(
    chiral: ParticleDensity, zxz_deg: tuple[float, float, float]
) -> None:
    position = (-12.0, 23.0, 41.0)
    particles = Particles.create(["balls"], [position], zxz_deg=[zxz_deg])
    made = whole(particles, {"balls": source_of(chiral)}).electrostatic_v
    assert relative_difference(made, direct_potential(Balls(), zxz_deg, position)) < 0.02
    if zxz_deg != (0.0, 0.0, 0.0):
        # The inverse rotation is another particle.
        inverse = (-zxz_deg[2], -zxz_deg[1], -zxz_deg[0])
        assert relative_difference(made, direct_potential(Balls(), inverse, position)) > 0.5


def test_no_rotation_cuts_the_end_off_a_diagonal_rod() -> None:
    rod = Balls(balls=tuple((centre, 12.0) for centre in ROD))
    density = particle_density(rod, SAMPLE)
    angles = Rotation.align_vectors([[1.0, 0.0, 0.0]], [[1.0, 1.0, -1.0]])[0].as_euler("ZXZ", degrees=True)
    zxz_deg = (float(angles[0]), float(angles[1]), float(angles[2]))
    particles = Particles.create(["balls"], [(0.0, 0.0, 0.0)], zxz_deg=[zxz_deg])
    made = whole(particles, {"balls": source_of(density)}).electrostatic_v
    assert relative_difference(made, direct_potential(rod, zxz_deg, (0, 0, 0))) < 0.02


def test_rotation_and_place_conserve_the_integrals(chiral: ParticleDensity) -> None:
    generator = np.random.default_rng(1)
    # Larger voxels hold the same integral as eight times as many small ones.
    ratio = (SAMPLE.voxel_size_angstrom / DENSITY_VOXEL_ANGSTROM) ** 3
    contrast = absorption_potential_v("protein", 300.0) - absorption_potential_v("ice", 300.0)
    for _ in range(4):
        zxz = Rotation.random(random_state=generator).as_euler("ZXZ", degrees=True)
        particles = Particles.create(["balls"], generator.uniform(-10, 10, (1, 3)), zxz_deg=[zxz])
        slab = whole(particles, {"balls": source_of(chiral)})
        potential = slab.electrostatic_v.sum(dtype=np.float64) * ratio
        assert potential == pytest.approx(chiral.electrostatic_v.sum(dtype=np.float64), rel=0.01)
        absorption = slab.absorption_v.sum(dtype=np.float64) * ratio
        assert absorption == pytest.approx(contrast * chiral.displaced_fraction.sum(dtype=np.float64), rel=0.01)


@pytest.mark.parametrize("edges", [(0, 32, 64), (0, 6, 38, 64), (0, 2, 4, 60, 64)])
def test_slabs_paste_to_the_whole(densities: dict[str, DensitySource], edges: tuple[int, ...]) -> None:
    particles = drawn(densities, 4)
    everything = whole(particles, densities)
    parts = [
        sample_slab(particles, densities, (low, high), SAMPLE, MICROSCOPE) for low, high in itertools.pairwise(edges)
    ]
    for name in ("class_mask", "occupancy_mask"):
        assert np.array_equal(np.concatenate([getattr(p, name) for p in parts], axis=1), getattr(everything, name))
    for name in ("electrostatic_v", "absorption_v", "electrostatic_spline_v", "absorption_spline_v"):
        pasted = np.concatenate([getattr(p, name) for p in parts], axis=2 if "spline" in name else 1)
        expected = getattr(everything, name)
        np.testing.assert_allclose(pasted, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))


def test_the_same_rows_have_the_same_bits(densities: dict[str, DensitySource]) -> None:
    particles = drawn(densities, 4)
    one, other = (sample_slab(particles, densities, (16, 48), SAMPLE, MICROSCOPE) for _ in range(2))
    for name in vars(one):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_splines_are_those_of_the_potentials(densities: dict[str, DensitySource]) -> None:
    slab = sample_slab(drawn(densities, 4), densities, (16, 48), SAMPLE, MICROSCOPE)
    assert np.array_equal(slab.electrostatic_spline_v, spline_coefficients(slab.electrostatic_v))
    assert np.array_equal(slab.absorption_spline_v, spline_coefficients(slab.absorption_v))


def test_ids_are_places_in_the_list_and_labels_count_the_sorted_classes(densities: dict[str, DensitySource]) -> None:
    light, heavy = sorted(densities)
    centres = np.array([(0.0, -70.0, -70.0), (10.0, 70.0, 60.0), (-5.0, -60.0, 80.0)])
    particles = Particles.create([heavy, light, heavy], centres, zxz_deg=np.zeros((3, 3)))
    slab = whole(particles, densities)
    grid = np.indices(slab.occupancy_mask.shape)
    truth_voxel = 2 * SAMPLE.voxel_size_angstrom
    for number, label in ((1, 2), (2, 1), (3, 2)):
        own = slab.occupancy_mask == number
        assert set(np.unique(slab.class_mask[own])) == {label}
        middle = (grid[:, own].mean(axis=1) - (np.array(own.shape) - 1) / 2) * truth_voxel
        assert np.abs(middle - centres[number - 1]).max() < truth_voxel / 2
    assert set(np.unique(slab.occupancy_mask)) == {0, 1, 2, 3}
    assert np.array_equal(slab.class_mask > 0, slab.occupancy_mask > 0)


@pytest.mark.parametrize("seed", range(3))
def test_particles_do_not_take_each_others_voxels(densities: dict[str, DensitySource], seed: int) -> None:
    crowded = replace(SAMPLE, box_voxels=(32, 96, 96), particle_count=(6, 6))
    particles = drawn(densities, seed, crowded)
    together = whole(particles, densities, crowded)
    for row in range(len(particles)):
        alone = whole(particles.take(np.array([row])), densities, crowded)
        count = int((alone.occupancy_mask > 0).sum())
        assert count > 0
        assert int((together.occupancy_mask == row + 1).sum()) == count


def test_masks_hold_what_exceeds_the_threshold(densities: dict[str, DensitySource]) -> None:
    slab = whole(drawn(densities, 4), densities)
    nz, ny, nx = (n // 2 for n in SAMPLE.box_voxels)
    mean = slab.electrostatic_v.reshape(nz, 2, ny, 2, nx, 2).mean(axis=(1, 3, 5), dtype=np.float64)
    inside = slab.occupancy_mask > 0
    # Neighbours' skirts may lift a voxel between two particles over the threshold that neither alone reaches.
    assert mean[inside].min() > MASK_THRESHOLD_V - 0.1
    assert np.mean((mean > MASK_THRESHOLD_V) != inside) < 1e-3


def test_drawing_is_decided_by_the_generator(densities: dict[str, DensitySource]) -> None:
    roomy = replace(SAMPLE, box_voxels=(64, 96, 96), particle_count=(1, 3))
    one, same, other = (drawn(densities, seed, roomy) for seed in (7, 7, 8))
    assert np.array_equal(one.position_angstrom, same.position_angstrom)
    assert np.array_equal(one.zxz_deg, same.zxz_deg)
    assert not np.array_equal(one.position_angstrom[:1], other.position_angstrom[:1])
    counts = {len(drawn(densities, seed, roomy)) for seed in range(12)}
    assert counts == {1, 2, 3}


def test_spheres_keep_their_clearance_and_stay_in_the_box(densities: dict[str, DensitySource]) -> None:
    wide = replace(SAMPLE, box_voxels=(40, 96, 96), particle_count=(6, 6), clearance_angstrom=10.0)
    particles = drawn(densities, 2, wide)
    radii = np.array([densities[name].radius_angstrom for name in particles.class_id])
    apart = np.linalg.norm(particles.position_angstrom[:, None] - particles.position_angstrom[None], axis=2)
    least = radii[:, None] + radii[None] + 10.0
    np.fill_diagonal(least, 0.0)
    assert (apart >= least - 1e-9).all()
    half = np.array(wide.box_voxels) * wide.voxel_size_angstrom / 2
    assert (np.abs(particles.position_angstrom) + radii[:, None] <= half + 1e-9).all()


def test_too_many_particles_are_refused(densities: dict[str, DensitySource]) -> None:
    with pytest.raises(ConfigError, match=r"lower (simulation\.)?sample\.particle_count"):
        drawn(densities, 0, replace(SAMPLE, particle_count=(500, 500)))


def test_a_structure_without_contrast_is_refused() -> None:
    # In a denser solvent the carbons are holes.
    with pytest.raises(DataError, match=r"structure balls: its potential never exceeds 0\.5 V"):
        particle_density(Balls(), replace(SAMPLE, solvent_potential_v=12.0))


def test_an_empty_sample_is_ice_only(densities: dict[str, DensitySource]) -> None:
    slab = whole(Particles.create([], np.empty((0, 3))), densities)
    assert not any(getattr(slab, name).any() for name in vars(slab))


def test_ice_absorbs_as_given_or_as_computed() -> None:
    assert ice_absorption_v(SAMPLE, MICROSCOPE) == pytest.approx(0.2041, abs=5e-5)
    assert ice_absorption_v(replace(SAMPLE, ice_absorption_v=0.3), MICROSCOPE) == 0.3
