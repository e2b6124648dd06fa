"""Picks from any file that people have them in."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cryodask.errors import DataError
from cryodask.io.pick_copick import read_copick
from cryodask.io.pick_star import frame_needed, given_frame, read_star, write_star
from cryodask.io.shrec import read_locations
from cryodask.io.text_files import any_number, finite_number, read_text
from cryodask.model.particles import Particles

__all__ = ["STAR_NAME", "read_picks", "write_star"]

STAR_NAME = "picks.star"
"""The particle list in a folder of picks."""


def read_picks(
    path: Path | str,
    *,
    shape: tuple[int, int, int] | None = None,
    voxel_size_angstrom: float | None = None,
    class_names: Sequence[str] | None = None,
) -> Particles:
    """Particles from a file or from a folder with ``picks.star``; an empty file gives an empty list.

    ======================= ==========================================================================================
    ``.star``               RELION: rlnCoordinateX/Y/Z (voxels from 0) or rlnCenteredCoordinateX/Y/ZAngst, and where
                            present rlnTomoName, rlnAngleRot/Tilt/Psi, rlnOriginX/Y/ZAngst (subtracted), cryodaskClass
                            or rlnClassNumber, and a score (cryodaskScore, rlnLCCmax or rlnAutopickFigureOfMerit)
    ``.csv``                named columns class, x, y, z (voxels from 0; any order), optionally score and tomogram
    ``.json``               copick: one object of one tomogram, in angstrom from the first voxel
    anything else           the benchmark's lines ``CLASS x y z [Z1 X Z2]``, best first
    ======================= ==========================================================================================

    Parameters
    ----------
    path
        File or folder.
    shape, voxel_size_angstrom
        Volume (z, y, x) whose voxels the coordinates count. Needed where the file does not say; cryodask's own STAR
        files do, and go by what they say. The order of the file is kept.
    class_names
        Names of the classes that rlnClassNumber counts from 1, or the one class of a file that names none.

    Raises DataError naming file, line and value for whatever is missing or malformed.
    """
    source = Path(path)
    if source.is_dir():
        if not (source / STAR_NAME).is_file():
            raise DataError(f"{source} is a folder without {STAR_NAME}; give the file with the picks")
        source = source / STAR_NAME
    if source.suffix.lower() == ".star":
        return read_star(source, shape=shape, voxel_size_angstrom=voxel_size_angstrom, class_names=class_names)
    if source.suffix.lower() == ".csv":
        return _read_csv(source, shape, voxel_size_angstrom)
    if source.suffix.lower() == ".json":
        return read_copick(source, shape=shape, voxel_size_angstrom=voxel_size_angstrom)
    return _read_locations(source, shape, voxel_size_angstrom)


def _read_locations(path: Path, shape: tuple[int, int, int] | None, voxel_size_angstrom: float | None) -> Particles:
    frame = given_frame(path, shape, voxel_size_angstrom)
    lines = read_locations(path)
    if frame is None:
        raise frame_needed(path)
    return Particles.create(lines.class_id, frame.centred_angstrom(lines.voxel), zxz_deg=lines.zxz_deg)


def _read_csv(path: Path, shape: tuple[int, int, int] | None, voxel_size_angstrom: float | None) -> Particles:
    frame = given_frame(path, shape, voxel_size_angstrom)
    rows = csv.reader(read_text(path).splitlines(), skipinitialspace=True)
    header = [name.strip().lower() for name in next(rows, [])]
    if not header:
        return Particles.create([], np.empty((0, 3)))
    missing = [name for name in ("class", "x", "y", "z") if name not in header]
    if missing or len(set(header)) != len(header):
        raise DataError(
            f"{path}, line 1: the columns are {', '.join(header)}; expected class, x, y, z each once, and optionally "
            "score and tomogram"
        )
    names, tomograms, voxel, score = [], [], [], []
    for row in rows:
        if not row:
            continue
        line = rows.line_num
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: {len(row)} values for {len(header)} columns: {','.join(row)}")
        values = dict(zip(header, (word.strip() for word in row), strict=True))
        names.append(values["class"])
        tomograms.append(values.get("tomogram", ""))
        voxel.append([finite_number(values[axis], path, line) for axis in "zyx"])
        score.append(any_number(values.get("score", "nan"), path, line))
    if frame is None:
        raise frame_needed(path)
    position = frame.centred_angstrom(np.array(voxel, dtype=np.float64).reshape(-1, 3))
    return Particles.create(names, position, tomogram=tomograms, score=score)
