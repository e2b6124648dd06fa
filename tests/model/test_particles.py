"""The particle table: shapes are checked once, order is kept, and storing loses nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from cryodask.errors import DataError
from cryodask.model.particles import Particles, concatenate

POSITIONS = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, -6.0], [0.0, 0.0, 7.5]])


def three() -> Particles:
    return Particles.create(
        ["a", "b", "a"],
        POSITIONS,
        tomogram=["m0", "m1", "m0"],
        zxz_deg=[[0, 10, 20], [30, 40, 50], [60, 70, 80]],
        score=[3, 2, 1],
    )


def test_missing_columns_are_nan_and_one_name_serves_all() -> None:
    particles = Particles.create(["a", "b"], [1, 2, 3, 4, 5, 6], tomogram="m")
    assert len(particles) == 2
    assert particles.tomogram.tolist() == ["m", "m"]
    assert particles.position_angstrom.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert np.isnan(particles.score).all()
    assert np.isnan(particles.zxz_deg).all()
    assert len(Particles.create([], [])) == 0


def test_taking_keeps_rows_together() -> None:
    taken = three().take(np.array([2, 0]))
    assert taken.class_id.tolist() == ["a", "a"]
    assert taken.position_angstrom.tolist() == [[0, 0, 7.5], [1, 2, 3]]
    assert taken.zxz_deg[:, 0].tolist() == [60, 0]
    assert taken.score.tolist() == [1, 3]
    of_m0 = three().of_tomogram("m0")
    assert of_m0.position_angstrom.tolist() == [[1, 2, 3], [0, 0, 7.5]]
    assert len(three().of_tomogram("elsewhere")) == 0


def test_voxels_count_from_the_centre_between_the_two_middle_voxels() -> None:
    # In 10 voxels of 5 angstrom the centre is 4.5; in 4 it is 1.5.
    voxels = three().voxels((10, 4, 4), 5.0)
    np.testing.assert_allclose(voxels[0], [4.7, 1.9, 2.1])
    # The same place in a volume binned by two.
    np.testing.assert_allclose((voxels[0] - 0.5) / 2, three().voxels((5, 2, 2), 10.0)[0])


def test_a_table_comes_back_as_it_went() -> None:
    back = Particles.from_dataset(three().to_dataset())
    for name in ("tomogram", "class_id"):
        assert getattr(back, name).tolist() == getattr(three(), name).tolist()
    for name in ("position_angstrom", "zxz_deg", "score"):
        assert np.array_equal(getattr(back, name), getattr(three(), name))


def test_a_table_needs_classes_and_positions_only() -> None:
    table = three().to_dataset()
    bare = Particles.from_dataset(table[["class_id", "z_angstrom", "y_angstrom", "x_angstrom"]])
    assert bare.tomogram.tolist() == ["", "", ""]
    assert np.isnan(bare.score).all()
    with pytest.raises(DataError, match=r"lacks the columns class_id, y_angstrom; it has .*z_angstrom"):
        Particles.from_dataset(table.drop_vars(["class_id", "y_angstrom"]))
    with pytest.raises(DataError, match="lacks the columns"):
        Particles.from_dataset(xr.Dataset())


def test_lists_join_in_order() -> None:
    joined = concatenate([three(), three().take(np.array([1]))])
    assert joined.class_id.tolist() == ["a", "b", "a", "b"]
    assert joined.score.tolist() == [3, 2, 1, 2]
    assert len(concatenate([])) == 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match=r"score has shape \(2,\), expected \(3,\)"):
        replace(three(), score=np.zeros(2))
    with pytest.raises(DataError, match=r"zxz_deg has shape \(3,\), expected \(3, 3\)"):
        replace(three(), zxz_deg=np.zeros(3))
    lost = POSITIONS.copy()
    lost[1, 2] = np.nan
    with pytest.raises(DataError, match="position of particle 1 is not finite"):
        Particles.create(["a", "b", "a"], lost)
