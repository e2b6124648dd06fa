"""Boxes about picks and their aligned average."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from cryodask.kernels.resample import rotate_volume
from cryodask.model.source import ArraySource
from cryodask.ops.subtomograms import aligned_average, boxes_of, middle_sections, middle_slices, reference_slices
from tests.tiny import gaussian

SIDE = 21


def reference() -> np.ndarray:
    """Three unequal blobs: no rotation turns them into themselves."""
    places = (((10, 10, 10), 2.0), ((14, 9, 10), 1.4), ((9, 14, 12), 1.2))
    blobs = [gaussian((SIDE,) * 3, centre, sigma) for centre, sigma in places]
    return np.asarray(np.sum(blobs, axis=0), dtype=np.float32)


def test_particles_turned_back_give_their_reference() -> None:
    rotations = Rotation.random(12, random_state=1).as_matrix()
    volume = np.zeros((30, 120, 90), np.float32)
    places = np.array([(15, 15 + 26 * (i % 4), 15 + 28 * (i // 4)) for i in range(12)])
    for place, matrix in zip(places, rotations, strict=True):
        part = tuple(slice(p - 10, p + 11) for p in place)
        volume[part] -= rotate_volume(reference(), matrix, output_shape=(SIDE,) * 3)
    options = {"dark": True, "voxel_size_angstrom": 10.0, "low_pass_angstrom": 20.0}
    average, count = aligned_average(ArraySource(volume), places, rotations, 10, **options)  # type: ignore[arg-type]
    assert count == 12
    inside = np.sum((np.indices((SIDE,) * 3) - 10) ** 2, axis=0) < 81
    assert np.corrcoef(average[inside], reference()[inside])[0, 1] > 0.98
    wrong, _ = aligned_average(
        ArraySource(volume),
        places,
        np.swapaxes(rotations, 1, 2),
        10,
        **options,  # type: ignore[arg-type]
    )
    assert np.corrcoef(wrong[inside], reference()[inside])[0, 1] < 0.9
    expected = middle_sections(reference())
    found = reference_slices(ArraySource(reference()), 10.0, 10, 10.0, 20.0)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98


def test_boxes_cut_by_a_face_are_left_out() -> None:
    volume = np.random.default_rng(0).standard_normal((20, 20, 20)).astype(np.float32)
    places = np.array([(10, 10, 10), (2, 10, 10), (10, 10, 16)])
    boxes = boxes_of(ArraySource(volume), places, 3, dark=False)
    np.testing.assert_array_equal(boxes, np.stack([volume[7:14, 7:14, 7:14], volume[7:14, 7:14, 13:20]]))
    slices = middle_slices(
        ArraySource(volume), places[1:2], 3, dark=True, voxel_size_angstrom=10.0, low_pass_angstrom=40.0
    )
    assert slices.shape == (0, 7, 7)
