"""The competition of the classes: best z first, and no two picks on one particle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.kernels.rotations import matrix_from_zxz_deg, rotation_set
from cryodask.model.particles import Particles
from cryodask.ops.matching import Peaks
from cryodask.ops.picking import OVERLAP, Candidates, decide, joined

SHAPE = (20, 40, 40)
VOXEL = 10.0
MATRICES = rotation_set(60.0)


def candidates(
    class_id: str,
    voxels: list[tuple[int, int, int]],
    z: list[float],
    radius: float = 50.0,
    ids: list[int] | None = None,
) -> Candidates:
    values = np.asarray(z, dtype=np.float64)
    peaks = Peaks(
        index=np.asarray(voxels, dtype=np.int64).reshape(-1, 3),
        score=0.01 * values,
        z=values,
        rotation_id=np.asarray(ids if ids is not None else [0] * len(z), dtype=np.int64),
        median=0.0,
        sigma=0.01,
    )
    return Candidates(class_id=class_id, radius_angstrom=radius, peaks=peaks, matrices=MATRICES)


def decided(*offers: Candidates) -> Particles:
    return decide(offers, shape=SHAPE, voxel_size_angstrom=VOXEL, tomogram="t")


def positions(voxels: list[tuple[int, int, int]]) -> npt.NDArray[np.float64]:
    return (np.array(voxels) - (np.array(SHAPE) - 1) / 2) * VOXEL


def test_the_better_z_wins_a_place_whatever_the_score() -> None:
    a = candidates("a", [(10, 10, 10)], [9.0])
    b = candidates("b", [(10, 11, 10)], [12.0])
    for order in ((a, b), (b, a)):
        picks = decided(*order)
        assert picks.class_id.tolist() == ["b"]
        assert picks.score.tolist() == [12.0]
        assert np.array_equal(picks.position_angstrom, positions([(10, 11, 10)]))


def test_picks_come_best_first_with_their_tomogram() -> None:
    picks = decided(candidates("a", [(5, 5, 5), (5, 30, 30)], [20.0, 9.0]), candidates("b", [(5, 30, 5)], [15.0]))
    assert picks.class_id.tolist() == ["a", "b", "a"]
    assert picks.score.tolist() == [20.0, 15.0, 9.0]
    assert picks.tomogram.tolist() == ["t", "t", "t"]
    assert np.array_equal(picks.position_angstrom, positions([(5, 5, 5), (5, 30, 5), (5, 30, 30)]))


@pytest.mark.parametrize(("distance", "kept"), [(5, 1), (6, 1), (7, 1), (8, 2)])
def test_picks_keep_the_share_of_their_radii(distance: int, kept: int) -> None:
    # Radii of 50 and 60 angstrom: nearer than 0.7 * 110 = 77 angstrom is one particle.
    assert pytest.approx(77) == OVERLAP * 110
    a = candidates("a", [(10, 10, 10)], [20.0], radius=50.0)
    b = candidates("b", [(10, 10, 10 + distance)], [10.0], radius=60.0)
    assert len(decided(a, b)) == kept


def test_a_pick_that_was_removed_removes_nothing() -> None:
    # b loses to a; c overlaps b but not a.
    a = candidates("a", [(10, 10, 10)], [20.0])
    b = candidates("b", [(10, 10, 16)], [15.0])
    c = candidates("c", [(10, 10, 22)], [10.0])
    assert decided(a, b, c).class_id.tolist() == ["a", "c"]


def test_the_orientation_is_that_of_the_rotation_id() -> None:
    picks = decided(candidates("a", [(5, 5, 5), (5, 30, 30)], [20.0, 9.0], ids=[17, 3]))
    np.testing.assert_allclose(matrix_from_zxz_deg(picks.zxz_deg), MATRICES[[17, 3]], atol=1e-9)


def test_classes_without_candidates_do_not_matter() -> None:
    none = candidates("none", [], [])
    assert decided(none, candidates("a", [(5, 5, 5)], [9.0])).class_id.tolist() == ["a"]
    assert len(decided(none, none)) == 0
    assert len(decided()) == 0


def test_tomograms_are_joined_in_order() -> None:
    one = Particles.create(["a", "b"], np.zeros((2, 3)), tomogram="m0")
    two = Particles.create(["c"], np.ones((1, 3)), tomogram="m1")
    assert joined([one, two]).class_id.tolist() == ["a", "b", "c"]
    assert joined([one, two]).tomogram.tolist() == ["m0", "m0", "m1"]
    assert len(joined([])) == 0
