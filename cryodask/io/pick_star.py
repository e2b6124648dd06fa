"""Picks as RELION STAR files: the one format that cryodask writes, and what other programs write."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError, DataError
from cryodask.io.atomic import replacing
from cryodask.io.star_blocks import Block, read_blocks
from cryodask.io.text_files import any_number, finite_number, read_text
from cryodask.kernels.rotations import (
    matrix_from_relion_zyz_deg,
    matrix_from_zxz_deg,
    relion_zyz_deg_from_matrix,
    zxz_deg_from_matrix,
)
from cryodask.model.particles import Particles

Floats = npt.NDArray[np.float64]

VOXEL_COLUMNS = ("rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX")
CENTRED_COLUMNS = ("rlnCenteredCoordinateZAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateXAngst")
ORIGIN_COLUMNS = ("rlnOriginZAngst", "rlnOriginYAngst", "rlnOriginXAngst")
SUBTOMOGRAM_COLUMNS = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
ANGLE_COLUMNS = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
CLASS_COLUMNS = ("cryodaskClass", "rlnClassName")
SCORE_COLUMNS = ("cryodaskScore", "rlnLCCmax", "rlnAutopickFigureOfMerit")
SIZE_KEYS = ("cryodaskSizeZ", "cryodaskSizeY", "cryodaskSizeX")
VOXEL_SIZE_KEY = "cryodaskVoxelSizeAngstrom"


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The volume whose voxels a file's coordinates count."""

    shape: tuple[int, int, int]
    voxel_size_angstrom: float

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not (math.isfinite(self.voxel_size_angstrom) and self.voxel_size_angstrom > 0):
            raise ConfigError(f"no volume of {self.shape} voxels of {self.voxel_size_angstrom} angstrom can exist")

    def centred_angstrom(self, voxel: Floats) -> Floats:
        """Voxel coordinates (z, y, x), 0-based, as angstrom from the volume's centre."""
        return (voxel - (np.asarray(self.shape) - 1) / 2) * self.voxel_size_angstrom


def write_star(
    path: Path | str,
    particles: Particles,
    *,
    shape: tuple[int, int, int],
    voxel_size_angstrom: float,
    columns: Mapping[str, npt.NDArray[Any]] | None = None,
    keep_order: bool = False,
) -> None:
    """Picks as a STAR file that RELION reads and that needs no other file to be read back, best score first.

    The table ``particles`` has rlnTomoName, rlnCoordinateX/Y/Z (voxels from 0 in a volume of this (z, y, x) shape and
    voxel size), rlnAngleRot/Tilt/Psi (left out if no particle has angles), rlnClassNumber (from 1, classes by name),
    cryodaskClass and cryodaskScore; the block ``general`` keeps the shape and the voxel size. The same particles give
    the same bytes. An existing file is replaced in one step.

    ``columns`` are further ones, (n,) each in the order of ``particles``; ``keep_order`` keeps that order in the file.
    """
    import pandas as pd
    import starfile

    frame = Frame(shape=shape, voxel_size_angstrom=voxel_size_angstrom)
    best_first = np.argsort(np.where(np.isnan(particles.score), np.inf, -particles.score), kind="stable")
    order = np.arange(len(particles)) if keep_order else best_first
    picks = particles.take(order)
    voxel = picks.voxels(frame.shape, frame.voxel_size_angstrom)
    number = {name: k for k, name in enumerate(sorted(set(map(str, picks.class_id))), start=1)}
    table: dict[str, object] = {"rlnTomoName": picks.tomogram.astype(object)}
    table |= {name: voxel[:, axis] for name, axis in zip(reversed(VOXEL_COLUMNS), (2, 1, 0), strict=True)}
    if np.isfinite(picks.zxz_deg).any():
        angles = _convert(picks.zxz_deg, lambda zxz: relion_zyz_deg_from_matrix(matrix_from_zxz_deg(zxz)))
        table |= {name: angles[:, k] for k, name in enumerate(ANGLE_COLUMNS)}
    table |= {
        "rlnClassNumber": np.array([number[str(name)] for name in picks.class_id], dtype=np.int64),
        "cryodaskClass": picks.class_id.astype(object),
        "cryodaskScore": picks.score,
        **{name: values[order] for name, values in (columns or {}).items()},
    }
    general: dict[str, object] = {"cryodaskFormat": 1}
    general |= dict(zip(SIZE_KEYS, map(int, frame.shape), strict=True))
    general[VOXEL_SIZE_KEY] = float(frame.voxel_size_angstrom)
    text = starfile.to_string(
        {"general": general, "particles": pd.DataFrame(table)}, float_format="%.10g", na_rep="nan"
    )
    # starfile's first line is the time of writing, which would make equal results differ.
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    with replacing(Path(path)) as partial:
        partial.write_text("\n".join(lines).strip() + "\n", encoding="utf-8")


def read_star(
    path: Path,
    *,
    shape: tuple[int, int, int] | None,
    voxel_size_angstrom: float | None,
    class_names: Sequence[str] | None,
) -> Particles:
    """Picks from a STAR file, cryodask's own or RELION's; see ``pick_files.read_picks``."""
    blocks = read_blocks(read_text(path), path)
    tables = [b for b in blocks if set(VOXEL_COLUMNS) <= set(b.columns) or set(CENTRED_COLUMNS) <= set(b.columns)]
    if not tables:
        if not blocks:
            return Particles.create([], np.empty((0, 3)))
        found = ", ".join(f"{b.name} ({', '.join(b.columns[:8])})" for b in blocks)
        raise DataError(f"{path}: no table with rlnCoordinateX/Y/Z or rlnCenteredCoordinateX/Y/ZAngst; it has {found}")
    table = next((b for b in tables if b.name == "particles"), tables[0])
    own = next((b.row() for b in blocks if b.name == "general" and VOXEL_SIZE_KEY in b.columns), None)
    frame = _own_frame(own, path) if own else given_frame(path, shape, voxel_size_angstrom)

    if set(CENTRED_COLUMNS) <= set(table.columns):
        position = _numbers(table, CENTRED_COLUMNS, path, finite_number)
    elif frame is None:
        raise frame_needed(path)
    else:
        position = frame.centred_angstrom(_numbers(table, VOXEL_COLUMNS, path, finite_number))
    zyz = _numbers(table, ANGLE_COLUMNS, path, any_number)
    score = next((name for name in SCORE_COLUMNS if name in table.columns), "")
    return Particles.create(
        _classes(table, class_names, path),
        position - _refined_offset(table, path),
        tomogram=_words(table, "rlnTomoName") or "",
        zxz_deg=_convert(zyz, lambda angles: zxz_deg_from_matrix(matrix_from_relion_zyz_deg(angles))),
        score=_numbers(table, (score,), path, any_number)[:, 0],
    )


def given_frame(path: Path, shape: tuple[int, int, int] | None, voxel_size_angstrom: float | None) -> Frame | None:
    """The frame that the caller gave, None if nothing; ConfigError if only half of it."""
    if shape is None and voxel_size_angstrom is None:
        return None
    if shape is None or voxel_size_angstrom is None:
        raise ConfigError(f"{path}: give both shape and voxel_size_angstrom of the volume, or neither")
    return Frame(shape=shape, voxel_size_angstrom=voxel_size_angstrom)


def frame_needed(path: Path) -> DataError:
    """The error for voxel coordinates of an unknown volume."""
    return DataError(
        f"{path}: its coordinates count voxels, but the file does not say of which volume; "
        "give the shape (z, y, x) and the voxel size in angstrom of the tomogram that was picked"
    )


def _own_frame(general: dict[str, str], path: Path) -> Frame:
    try:
        z, y, x = (int(general[key]) for key in SIZE_KEYS)
        return Frame(shape=(z, y, x), voxel_size_angstrom=float(general[VOXEL_SIZE_KEY]))
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: the block general does not describe a volume ({error}): {general}") from error


def _words(table: Block, column: str) -> list[str] | None:
    if column not in table.columns:
        return None
    index = table.columns.index(column)
    return [row[index] for row in table.rows]


def _numbers(table: Block, columns: Sequence[str], path: Path, parse: Callable[[str, Path, int], float]) -> Floats:
    """(n, len(columns)) values; a column that the table lacks is NaN."""
    values = np.full((len(table.rows), len(columns)), np.nan)
    for k, column in enumerate(columns):
        words = _words(table, column)
        if words is not None:
            values[:, k] = [parse(word, path, line) for word, line in zip(words, table.lines, strict=True)]
    return values


def _classes(table: Block, class_names: Sequence[str] | None, path: Path) -> list[str]:
    for column in CLASS_COLUMNS:
        names = _words(table, column)
        if names is not None:
            return names
    if not table.rows:
        return []
    if class_names is not None and len(class_names) == 1:
        return [class_names[0]] * len(table.rows)
    numbers = _words(table, "rlnClassNumber")
    if numbers is None or class_names is None:
        raise DataError(
            f"{path}: does not name the classes of its particles; add a column cryodaskClass, or give class_names "
            "(one name for all particles, or the names that rlnClassNumber counts from 1)"
        )
    classes = []
    for word, line in zip(numbers, table.lines, strict=True):
        if not (word.isdecimal() and 1 <= int(word) <= len(class_names)):
            raise DataError(
                f"{path}, line {line}: rlnClassNumber {word} has no name; {len(class_names)} class_names were given"
            )
        classes.append(class_names[int(word) - 1])
    return classes


def _refined_offset(table: Block, path: Path) -> Floats:
    """What RELION's refinement subtracts from the coordinates, as (n, 3) angstrom (z, y, x)."""
    offset = np.nan_to_num(_numbers(table, ORIGIN_COLUMNS, path, finite_number))
    frame_angles = np.nan_to_num(_numbers(table, SUBTOMOGRAM_COLUMNS, path, finite_number))
    if frame_angles.any():
        raise DataError(
            f"{path}: its particles have sub-tomogram frames of their own (rlnTomoSubtomogramRot/Tilt/Psi), which are "
            "not supported; export the particles without them"
        )
    return offset


def _convert(angles: Floats, convert: Callable[[Floats], Floats]) -> Floats:
    """``convert`` on the rows that have all three angles; the others stay NaN."""
    result = np.full(angles.shape, np.nan)
    known = np.isfinite(angles).all(axis=1)
    if known.any():
        result[known] = convert(angles[known])
    return result
