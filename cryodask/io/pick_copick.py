"""Picks in the JSON files of copick: one object of one tomogram a file, in angstrom from the first voxel's centre."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from cryodask.errors import DataError
from cryodask.io.pick_star import Frame, frame_needed, given_frame
from cryodask.io.text_files import read_text
from cryodask.kernels.rotations import zxz_deg_from_matrix
from cryodask.model.particles import Particles

_ROTATION_TOLERANCE = 1e-3


def read_copick(path: Path, *, shape: tuple[int, int, int] | None, voxel_size_angstrom: float | None) -> Particles:
    """Picks of a copick file: class ``pickable_object_name``, tomogram ``run_name``, and each of ``points``.

    A point has a ``location`` (x, y, z), a ``score`` and a ``transformation_`` (4 x 4), whose rotation turns the
    structure into the particle; it is ignored if the file says not to trust it, and where it is the identity, which
    stands for an orientation that nobody gave. The frame is the tomogram's, as for all picks that count from a corner.
    """
    frame = given_frame(path, shape, voxel_size_angstrom)
    held = _object(path)
    if frame is None:
        raise frame_needed(path)
    trusted = held.get("trust_orientation") is not False
    points = held["points"] or []
    if not isinstance(points, list):
        raise DataError(f"{path}: points is no list")
    locations = [_location(point, path, number) for number, point in enumerate(points, start=1)]
    angles = [_angles(point, path, number, trusted) for number, point in enumerate(points, start=1)]
    scores = [_score(point, path, number) for number, point in enumerate(points, start=1)]
    return Particles.create(
        [str(held["pickable_object_name"])] * len(points),
        frame.centred_angstrom(_voxels(locations, frame)),
        tomogram=str(held.get("run_name") or ""),
        zxz_deg=angles,
        score=scores,
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON file: {error}") from None
    missing = [key for key in ("pickable_object_name", "points") if not isinstance(held, dict) or key not in held]
    if missing:
        raise DataError(f"{path} is no copick picks file: it lacks {' and '.join(missing)}")
    unit = held.get("unit", "angstrom")
    if unit != "angstrom":
        raise DataError(f"{path}: locations in {unit!r}; only angstrom is read")
    return dict(held)


def _location(point: Any, path: Path, number: int) -> list[float]:  # noqa: ANN401  (whatever JSON holds)
    """(z, y, x) in angstrom."""
    location = point.get("location") if isinstance(point, dict) else None
    if not isinstance(location, dict) or not {"x", "y", "z"} <= set(location):
        raise DataError(f"{path}, point {number}: no location with x, y and z")
    return [_number(location[axis], f"{axis} of the location", path, number) for axis in "zyx"]


def _score(point: dict[str, Any], path: Path, number: int) -> float:
    value = point.get("score")
    return math.nan if value is None else _number(value, "score", path, number)


def _angles(point: dict[str, Any], path: Path, number: int, trusted: bool) -> list[float]:
    """Intrinsic ZXZ degrees, NaN where the point has no orientation to speak of."""
    given = point.get("transformation_")
    if given is None or not trusted:
        return [math.nan] * 3
    try:
        matrix = np.array(given, dtype=np.float64)
    except (ValueError, TypeError):
        matrix = np.empty(0)
    rotation = matrix[:3, :3] if matrix.shape == (4, 4) else np.zeros((3, 3))
    off = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if not off <= _ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
        raise DataError(f"{path}, point {number}: transformation_ is no 4 x 4 matrix with a rotation in it")
    if np.array_equal(rotation, np.eye(3)):
        return [math.nan] * 3
    return [float(angle) for angle in zxz_deg_from_matrix(rotation)]


def _number(value: Any, what: str, path: Path, number: int) -> float:  # noqa: ANN401  (whatever JSON holds)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{path}, point {number}: {what} is {value!r}, not a finite number")
    return float(value)


def _voxels(location_angstrom: list[list[float]], frame: Frame) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(location_angstrom, dtype=np.float64).reshape(-1, 3) / frame.voxel_size_angstrom
