"""Lists of rotations: read, or refused with file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryodask.errors import DataError
from cryodask.io.angle_files import read_rotations


def written(folder: Path, text: str) -> Path:
    (folder / "angles.txt").write_text(text)
    return folder / "angles.txt"


def test_angles_are_relions(tmp_path: Path) -> None:
    found = read_rotations(written(tmp_path, "# rot tilt psi\n10 20 30\n\n0, 0, 0  # none\n"))
    # RELION: the inverse of the intrinsic ZYZ rotation turns the template into the particle.
    expected = Rotation.from_euler("ZYZ", [[10, 20, 30], [0, 0, 0]], degrees=True).inv().as_matrix()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_matrices_are_taken_as_they_are(tmp_path: Path) -> None:
    matrices = Rotation.random(4, random_state=0).as_matrix()
    np.savetxt(tmp_path / "angles.txt", matrices.reshape(4, 9))
    np.testing.assert_allclose(read_rotations(tmp_path / "angles.txt"), matrices, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no rotations"),
        ("1 2\n", "line 1: 2 numbers"),
        ("1 2 3\n1 0 0 0 1 0 0 0 1\n", "line 2: 9 numbers"),
        ("1 2 x\n", "line 1: 'x' is not a number"),
        ("1 2 nan\n", "line 1: 'nan' is not a finite number"),
        ("1 0 0 0 1 0 0 0 -1\n", "line 1: the matrix mirrors"),
        ("2 0 0 0 1 0 0 0 1\n", "line 1: the matrix is no rotation"),
    ],
)
def test_lists_that_are_none_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"angles.txt.*{message}"):
        read_rotations(written(tmp_path, text))
