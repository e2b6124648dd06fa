"""Lists of rotations from text files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.io.text_files import finite_number, read_text
from cryodask.kernels.rotations import matrix_from_relion_zyz_deg

_ORTHOGONAL = 1e-3


def read_rotations(path: Path) -> npt.NDArray[np.float64]:
    """(n, 3, 3) rotations: lines of RELION's three angles (rot, tilt, psi, degrees) or of a matrix's nine numbers.

    Matrices act on (x, y, z) and turn the template into the particle. ``#`` starts a comment. DataError naming file and
    line for another number of columns, what is no number, and matrices that are no rotations (mirrored or stretched).
    """
    rows: list[list[float]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        if len(words) not in (3, 9) or (rows and len(words) != len(rows[0])):
            raise DataError(
                f"{path}, line {number}: {len(words)} numbers; every line holds three angles (rot, tilt, psi), or all "
                "lines hold the nine numbers of a matrix"
            )
        rows.append([finite_number(word, path, number) for word in words])
        if len(words) == 9:
            _require_rotation(np.array(rows[-1]).reshape(3, 3), path, number)
    if not rows:
        raise DataError(f"{path} lists no rotations")
    values = np.array(rows)
    if values.shape[1] == 9:
        return values.reshape(-1, 3, 3)
    return np.asarray(matrix_from_relion_zyz_deg(values), dtype=np.float64)


def _require_rotation(matrix: npt.NDArray[np.float64], path: Path, line: int) -> None:
    if np.abs(matrix @ matrix.T - np.eye(3)).max() > _ORTHOGONAL:
        raise DataError(f"{path}, line {line}: the matrix is no rotation: its rows are not perpendicular units")
    if np.linalg.det(matrix) < 0:
        raise DataError(f"{path}, line {line}: the matrix mirrors (determinant -1); only rotations can be searched")
