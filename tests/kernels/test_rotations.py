"""Rotation sets, their covering, uniform draws, and the Euler conventions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from scipy.spatial.transform import Rotation

from cryodask.errors import ConfigError
from cryodask.kernels.rotations import (
    count_for_step,
    coverage,
    covering_radius_deg,
    matrix_from_relion_zyz_deg,
    matrix_from_zxz_deg,
    misorientation_deg,
    relion_zyz_deg_from_matrix,
    rotation_set,
    symmetry_rotations,
    uniform_rotations,
    without_symmetry_mates,
    zxz_deg_from_matrix,
)

Floats = npt.NDArray[np.float64]

# The last three have a middle angle of 0 or 180 (gimbal lock), or so near that the outer angles are hardly defined.
ANGLES = np.array(
    [[10, 20, 30], [-170, 90, 123], [45, 179, -60], [30, 0, 40], [70, 180, -15], [20, 1e-7, 30]], dtype=float
)


@pytest.mark.parametrize("step", [90.0, 33.0, 20.0])
def test_set_holds_proper_rotations_in_the_number_the_step_asks_for(step: float) -> None:
    matrices = rotation_set(step)
    assert matrices.shape == (round(8 * np.pi**2 / np.deg2rad(step) ** 3), 3, 3)
    np.testing.assert_allclose(
        matrices @ np.swapaxes(matrices, 1, 2), np.broadcast_to(np.eye(3), matrices.shape), atol=1e-14
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    assert np.array_equal(matrices, rotation_set(step))


def test_count_of_the_usual_step() -> None:
    assert count_for_step(7) == 43298
    assert count_for_step(180) == 3


@pytest.mark.parametrize("step", [0.0, -1.0, 181.0, float("nan")])
def test_impossible_step_is_refused(step: float) -> None:
    with pytest.raises(ConfigError, match="angular_step_deg"):
        rotation_set(step)


def test_covering_of_one_rotation_is_the_known_distribution_of_random_angles() -> None:
    # Density of the angle of a uniform random rotation: (1 - cos a) / pi, mean pi/2 + 2/pi.
    found = coverage(np.eye(3)[None], samples=20_000, seed=3)
    assert found.mean_deg == pytest.approx(np.rad2deg(np.pi / 2 + 2 / np.pi), abs=1.0)
    assert 179 < found.largest_deg <= 180


def test_covering_radius_of_a_symmetry_group_matches_geometry() -> None:
    # Largest disorientation of cubic crystals, 62.80 degrees.
    cube = Rotation.create_group("O").as_matrix()
    exact = np.rad2deg(2 * np.arccos((2 + np.sqrt(2)) / 4))
    assert exact - 1.5 < covering_radius_deg(cube, samples=20_000) <= exact


def test_spiral_covers_evenly_and_finer_steps_cover_better() -> None:
    coarse, fine = coverage(rotation_set(30)), coverage(rotation_set(15))
    # Best known sets have a mean misorientation of about 0.48 steps; no point is left out by more than 0.95 steps.
    assert coarse.mean_deg == pytest.approx(15, rel=0.07)
    assert fine.mean_deg == pytest.approx(7.4, rel=0.07)
    assert coarse.largest_deg < 29
    assert fine.largest_deg < 14.3


def test_uniform_rotations_have_the_moments_of_the_invariant_measure() -> None:
    angles = uniform_rotations(40_000, np.random.default_rng(5))
    assert angles.shape == (40_000, 3)
    matrices = matrix_from_zxz_deg(angles).reshape(-1, 9)
    np.testing.assert_allclose(matrices.mean(axis=0), 0, atol=0.015)
    # Elements are uncorrelated with variance 1/3.
    np.testing.assert_allclose(matrices.T @ matrices / len(matrices), np.eye(9) / 3, atol=0.015)
    turned = np.sort(Rotation.from_matrix(matrices.reshape(-1, 3, 3)).magnitude())
    expected = (turned - np.sin(turned)) / np.pi
    assert np.abs(expected - np.arange(turned.size) / turned.size).max() < 0.01
    assert np.array_equal(angles, uniform_rotations(40_000, np.random.default_rng(5)))


def test_angles_of_uniform_rotations_pass_kolmogorov_and_smirnov() -> None:
    """On SO(3) the rotation angle has the distribution (w - sin w) / pi, and every axis of the body is isotropic."""
    matrices = np.asarray(matrix_from_zxz_deg(uniform_rotations(4000, np.random.default_rng(12))))
    angle = np.arccos(np.clip((np.trace(matrices, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert scipy.stats.kstest(angle, lambda w: (w - np.sin(w)) / np.pi).pvalue > 0.01
    for axis in range(3):
        assert scipy.stats.kstest(matrices[:, 2, axis], scipy.stats.uniform(-1, 2).cdf).pvalue > 0.01
    # The same test sees what the released data set did: the arc cosine on the first angle instead of the middle one.
    generator = np.random.default_rng(12)
    z1 = np.degrees(np.arccos(generator.uniform(-1, 1, 4000)))
    wrong = np.stack([z1, generator.uniform(0, 180, 4000), generator.uniform(0, 360, 4000)], axis=1)
    tilted = np.asarray(matrix_from_zxz_deg(wrong))
    assert scipy.stats.kstest(tilted[:, 2, 2], scipy.stats.uniform(-1, 2).cdf).pvalue < 1e-6


def test_zxz_matrix_is_the_documented_product() -> None:
    expected = Rotation.from_euler("ZXZ", ANGLES, degrees=True).as_matrix()
    np.testing.assert_allclose(matrix_from_zxz_deg(ANGLES), expected, atol=1e-15)
    # A quarter turn about z, then nothing: x goes to y.
    np.testing.assert_allclose(matrix_from_zxz_deg([90, 0, 0]) @ [1, 0, 0], [0, 1, 0], atol=1e-15)


def test_relion_angles_turn_the_particle_back_into_the_reference() -> None:
    point = np.array([1.0, 2.0, 3.0])
    for angles in ANGLES:
        in_particle = matrix_from_relion_zyz_deg(angles) @ point
        np.testing.assert_allclose(
            Rotation.from_euler("ZYZ", angles, degrees=True).apply(in_particle), point, atol=1e-12
        )
    np.testing.assert_allclose(matrix_from_relion_zyz_deg([90, 0, 0]) @ [1, 0, 0], [0, -1, 0], atol=1e-15)


@pytest.mark.parametrize("angles", [ANGLES, uniform_rotations(50, np.random.default_rng(1)).reshape(5, 10, 3)])
def test_both_conventions_round_trip_through_the_same_matrix(angles: Floats) -> None:
    matrices = matrix_from_zxz_deg(angles)
    np.testing.assert_allclose(matrix_from_zxz_deg(zxz_deg_from_matrix(matrices)), matrices, atol=1e-14)
    np.testing.assert_allclose(matrix_from_relion_zyz_deg(relion_zyz_deg_from_matrix(matrices)), matrices, atol=1e-14)
    assert relion_zyz_deg_from_matrix(matrices).shape == angles.shape


def test_angles_come_back_as_given_away_from_the_poles() -> None:
    np.testing.assert_allclose(zxz_deg_from_matrix(matrix_from_zxz_deg(ANGLES[:3])), ANGLES[:3], atol=1e-10)
    np.testing.assert_allclose(
        relion_zyz_deg_from_matrix(matrix_from_relion_zyz_deg(ANGLES[:3])), ANGLES[:3], atol=1e-10
    )


def test_at_the_pole_the_first_angle_is_zero() -> None:
    np.testing.assert_allclose(zxz_deg_from_matrix(matrix_from_zxz_deg([30, 0, 40])), [0, 0, 70], atol=1e-10)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match="shape"):
        matrix_from_zxz_deg([1.0, 2.0])
    with pytest.raises(ConfigError, match="shape"):
        zxz_deg_from_matrix(np.eye(4))
    with pytest.raises(ConfigError, match="finite"):
        matrix_from_relion_zyz_deg([0.0, float("nan"), 0.0])


@pytest.mark.parametrize(
    ("symmetry", "order"), [("C1", 1), ("C2", 2), ("C6", 6), ("D2", 4), ("D4", 8), ("T", 12), ("O", 24), ("I", 60)]
)
def test_symmetry_group_is_closed_and_has_its_order(symmetry: str, order: int) -> None:
    group = symmetry_rotations(symmetry)
    assert group.shape == (order, 3, 3)
    assert np.allclose(np.linalg.det(group), 1)
    products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 9)
    distance = np.abs(products[:, None, :] - group.reshape(1, -1, 9)).max(axis=2).min(axis=1)
    assert distance.max() < 1e-9


@pytest.mark.parametrize("symmetry", ["C2", "C6", "D2", "D4", "O"])
def test_one_mate_of_each_orbit_covers_what_the_whole_set_covers(symmetry: str) -> None:
    everything, group = rotation_set(20.0), symmetry_rotations(symmetry)
    kept = without_symmetry_mates(everything, symmetry)
    assert abs(len(kept) - len(everything) / len(group)) < 0.1 * len(everything) / len(group) + 3
    mates = np.einsum("nij,gjk->ngik", kept, group).reshape(-1, 3, 3)
    # Even sets differ a little at the seams between domains.
    assert covering_radius_deg(mates) < 1.25 * covering_radius_deg(everything)


def test_no_symmetry_keeps_every_rotation_in_order() -> None:
    everything = rotation_set(40.0)
    assert np.array_equal(without_symmetry_mates(everything, "C1"), everything)


@pytest.mark.parametrize("symmetry", ["", "C0", "X", "D", "c4", "C1 "])
def test_unknown_point_group_is_named(symmetry: str) -> None:
    with pytest.raises(ConfigError, match="point group"):
        symmetry_rotations(symmetry)


def test_misorientation_is_the_angle_between_and_knows_symmetry_mates() -> None:
    base = matrix_from_zxz_deg(uniform_rotations(50, np.random.default_rng(3)))
    turn = Rotation.from_rotvec(np.array([0.3, -0.2, 0.9]) / np.linalg.norm([0.3, -0.2, 0.9]) * np.deg2rad(37.0))
    turned = base @ turn.as_matrix()
    np.testing.assert_allclose(misorientation_deg(base, turned), 37.0, atol=1e-6)
    np.testing.assert_allclose(misorientation_deg(base, base), 0.0, atol=1e-5)
    quarter = base @ Rotation.from_euler("z", 92.0, degrees=True).as_matrix()
    np.testing.assert_allclose(misorientation_deg(base, quarter, "C4"), 2.0, atol=1e-6)
    np.testing.assert_allclose(misorientation_deg(base, quarter), 92.0, atol=1e-6)
    other = matrix_from_zxz_deg(uniform_rotations(50, np.random.default_rng(4)))
    expected = np.min([misorientation_deg(base, other @ mate) for mate in symmetry_rotations("D3")], axis=0)
    np.testing.assert_allclose(misorientation_deg(base, other, "D3"), expected, atol=1e-6)
    independent = np.rad2deg((Rotation.from_matrix(base).inv() * Rotation.from_matrix(other)).magnitude())
    np.testing.assert_allclose(misorientation_deg(base, other), independent, atol=1e-5)
    assert misorientation_deg(np.empty((0, 3, 3)), np.empty((0, 3, 3))).shape == (0,)
