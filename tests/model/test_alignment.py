"""The one convention of alignments: what its numbers mean, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from cryodask.errors import DataError
from cryodask.model.alignment import TiltAlignment, accumulated_dose, rotation_xy


def test_axis_is_counted_from_y_counter_clockwise() -> None:
    """The aligned y axis, seen in the raw image, points along the tilt axis."""
    alignment = TiltAlignment.of([0.0, 1.0, 2.0], tilt_axis_deg=[0.0, 90.0, -13.0])
    along_y = np.einsum("nij,j->ni", alignment.matrix_xy, [0.0, 1.0])
    np.testing.assert_allclose(along_y[0], [0, 1], atol=1e-12)
    np.testing.assert_allclose(along_y[1], [-1, 0], atol=1e-12)
    np.testing.assert_allclose(alignment.tilt_axis_deg, [0, 90, -13], atol=1e-12)
    assert alignment.is_rigid


def test_magnification_leaves_the_axis_and_is_not_rigid() -> None:
    alignment = TiltAlignment.of([0.0], matrix_xy=1.02 * rotation_xy([30.0]))
    np.testing.assert_allclose(alignment.tilt_axis_deg, [30])
    assert not alignment.is_rigid


def test_one_number_stands_for_all_images() -> None:
    alignment = TiltAlignment.of([-3.0, 0.0, 3.0], x_tilt_deg=1.5, shift_x_px=2.0)
    assert alignment.x_tilt_deg.tolist() == [1.5] * 3
    assert alignment.shift_x_px.tolist() == [2.0] * 3
    assert alignment.shift_y_px.tolist() == [0.0] * 3
    assert alignment.used.tolist() == [0, 1, 2]


def test_subset_takes_every_column_along() -> None:
    whole = TiltAlignment.of(
        [-3.0, 0.0, 3.0], excluded=[True, False, False], dose_e_per_a2=[1, 2, 3], acquisition_order=[2, 0, 1]
    )
    part = whole.subset(whole.used)
    assert part.tilt_deg.tolist() == [0.0, 3.0]
    assert part.dose_e_per_a2 is not None
    assert part.dose_e_per_a2.tolist() == [2.0, 3.0]
    assert part.acquisition_order is not None
    assert part.acquisition_order.tolist() == [0, 1]
    assert part.prior_dose_e_per_a2 is None


def test_dose_adds_up_in_the_order_of_acquisition() -> None:
    assert accumulated_dose([1.0, 2.0, 4.0], [2, 0, 1]).tolist() == [6.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tilt_deg": []}, "no tilt angles"),
        ({"tilt_deg": [0.0, 91.0]}, "tilt angle of image 1 is 91"),
        ({"tilt_deg": [0.0, np.nan]}, "tilt angle of image 1 is nan"),
        ({"tilt_deg": [0.0], "x_tilt_deg": 60.0}, "x tilt of image 0 is 60"),
        ({"tilt_deg": [0.0, 1.0], "shift_x_px": [1.0, 2.0, 3.0]}, "2 tilt angles but 3 values of the shift"),
        ({"tilt_deg": [0.0, 1.0], "shift_y_px": [1.0, np.inf]}, "shift is not a finite number"),
        ({"tilt_deg": [0.0], "matrix_xy": [[[1.0, 0.0], [1.0, 0.0]]]}, "transform of image 0 scales by 0"),
        ({"tilt_deg": [0.0], "matrix_xy": [[[-1.0, 0.0], [0.0, 1.0]]]}, "mirrors"),
        ({"tilt_deg": [0.0, 1.0], "matrix_xy": [np.eye(2)]}, "2 tilt angles but 1 transforms"),
        ({"tilt_deg": [0.0], "matrix_xy": [[[np.nan, 0.0], [1.0, 0.0]]]}, "not made of finite numbers"),
        ({"tilt_deg": [0.0], "dose_e_per_a2": [1.0, 2.0]}, "1 tilt angles but 2 values of the dose"),
    ],
)
def test_what_makes_no_alignment_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TiltAlignment.of(**arguments)  # type: ignore[arg-type]
