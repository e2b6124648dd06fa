"""The benchmark's own files: particle lists as text, and the truth in a SHREC ``model_N`` folder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.io.text_files import any_number, finite_number, read_text
from cryodask.kernels.scoring import extents
from cryodask.model.evaluation import BACKGROUND, SHREC21_CLASS_IDS, SHREC21_MOLECULAR_WEIGHT_KDA, Truth
from cryodask.model.particles import Particles

LOCATIONS_FILE = "particle_locations.txt"
OCCUPANCY_FILE = "occupancy_mask.mrc"
CLASS_TABLE_FILES = ("class_conversion_table.txt", "class_conversion_table")

RELEASE_DEPTH_VOXELS = 512
"""Depth of the frame that the release counts z in, whatever the thickness of the ice."""

RELEASE_CONTENT_VOXELS = 180
"""Thickness of the ice, in the middle of that frame: slices 166 to 345."""

_ALIASES = {"4v94_fixed": "4V94", "vesicles": "vesicle", "fiducials": "fiducial"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Locations:
    """Lines ``CLASS x y z [Z1 X Z2]`` of a particle list."""

    class_id: list[str]
    voxel: npt.NDArray[np.float64]
    """(n, 3) voxel coordinates (z, y, x), 0-based."""
    zxz_deg: npt.NDArray[np.float64]
    """(n, 3) Euler angles; NaN where the line has none."""


def read_locations(path: Path) -> Locations:
    """Particle list in the benchmark's text format; empty lines and lines from ``#`` on are skipped.

    Raises DataError naming file, line and value for a wrong number of columns or a coordinate that is no number.
    """
    names, coordinates, angles = [], [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) not in (4, 7):
            raise DataError(
                f"{path}, line {number}: {len(words)} columns in {line.strip()!r}; expected CLASS x y z, "
                "or CLASS x y z Z1 X Z2"
            )
        names.append(words[0])
        x, y, z = (finite_number(word, path, number) for word in words[1:4])
        coordinates.append((z, y, x))
        angles.append([any_number(word, path, number) for word in words[4:]] or [math.nan] * 3)
    return Locations(
        class_id=names,
        voxel=np.array(coordinates, dtype=np.float64).reshape(-1, 3),
        zxz_deg=np.array(angles, dtype=np.float64).reshape(-1, 3),
    )


def read_truth_folder(path: Path | str, voxel_size_angstrom: float = 10.0) -> Truth:
    """Truth of one model of the benchmark, or of a data set exported in its layout.

    Parameters
    ----------
    path
        Folder with ``particle_locations.txt`` and ``occupancy_mask.mrc``; a class conversion table is used if there.
    voxel_size_angstrom
        Of the mask. The release's files do not say; it is 10.

    The list may count z in the release's 512-deep frame or in that of the volume, and the mask may be cropped in z or
    not: the offset under which the particles lie on their own ids is taken. DataError if there is none, or if a file
    is missing or damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected one with {LOCATIONS_FILE} and {OCCUPANCY_FILE}")
    locations = read_locations(folder / LOCATIONS_FILE)
    names = [_ALIASES.get(name.casefold(), name) for name in locations.class_id]
    occupancy = _read_mask(folder / OCCUPANCY_FILE)
    shape = (int(occupancy.shape[0]), int(occupancy.shape[1]), int(occupancy.shape[2]))
    class_ids = _class_ids(folder, names)
    weights = {name: value for name, value in SHREC21_MOLECULAR_WEIGHT_KDA.items() if name in class_ids}

    voxel = _moved_in_z(locations.voxel, _z_offset(folder, locations.voxel, names, occupancy))
    particles = Particles.create(
        names,
        (voxel - (np.asarray(shape) - 1) / 2) * voxel_size_angstrom,
        tomogram=folder.name,
        zxz_deg=locations.zxz_deg,
    )
    return Truth(
        name=folder.name,
        particles=particles,
        occupancy=occupancy,
        shape=shape,
        voxel_size_angstrom=voxel_size_angstrom,
        class_ids=class_ids,
        molecular_weight_kda=weights,
    )


def _read_mask(path: Path) -> npt.NDArray[np.int32]:
    from cryodask.io.mrc import read_volume

    if not path.exists():
        raise DataError(f"{path} does not exist; the truth needs the mask of particle ids")
    data: npt.NDArray[Any] = read_volume(path, dtype=None)[0]
    if data.ndim != 3:
        raise DataError(f"{path}: shape {data.shape} is no volume")
    if np.issubdtype(data.dtype, np.floating) and not np.all(np.isfinite(data)):
        raise DataError(f"{path}: holds NaN or infinity, an occupancy mask holds whole particle ids from 0")
    ids = data.astype(np.int32)
    if not np.array_equal(ids, data) or ids.min(initial=0) < 0:
        raise DataError(f"{path}: an occupancy mask holds whole particle ids from 0; this file holds other values")
    return ids


def _class_ids(folder: Path, names: list[str]) -> tuple[str, ...]:
    """The folder's own table of labels, else the benchmark's if it has all classes, else the classes as they come."""
    for file in CLASS_TABLE_FILES:
        if (folder / file).is_file():
            return _read_class_table(folder / file)
    known = {name.casefold() for name in SHREC21_CLASS_IDS}
    if all(name.casefold() in known for name in names):
        return SHREC21_CLASS_IDS
    return tuple(dict.fromkeys(names))


def _read_class_table(path: Path) -> tuple[str, ...]:
    """Lines ``NAME LABEL``; labels must be 0 for the background and then without gaps."""
    labels: dict[int, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not words[1].isdecimal():
            raise DataError(f"{path}, line {number}: {line.strip()!r}; expected a class name and its label")
        labels[int(words[1])] = _ALIASES.get(words[0].casefold(), words[0])
    if labels.get(0, BACKGROUND) != BACKGROUND:
        raise DataError(f"{path}: label 0 is {labels[0]!r}, but belongs to the background")
    labels.pop(0, None)
    if sorted(labels) != list(range(1, len(labels) + 1)):
        raise DataError(f"{path}: the labels {sorted(labels)} do not run from 1 without gaps or repeats")
    return tuple(labels[label] for label in sorted(labels))


def _z_offset(folder: Path, voxel: npt.NDArray[np.float64], names: list[str], occupancy: npt.NDArray[np.int32]) -> int:
    """What to add to the listed z so that the particles lie on their own ids in the mask."""
    if not names:
        return 0
    depth = occupancy.shape[0]
    cropped = RELEASE_CONTENT_VOXELS if depth == RELEASE_DEPTH_VOXELS else depth
    margin = (RELEASE_DEPTH_VOXELS - cropped) // 2
    offsets = (0, margin) if depth == RELEASE_DEPTH_VOXELS else (0, -margin)
    measured = extents(occupancy, len(names))
    votes = [int(measured.near(_moved_in_z(voxel, z), 2.0).sum()) for z in offsets]
    if 2 * max(votes) < len(names):
        raise DataError(
            f"{folder}: coordinate frame mismatch: of {len(names)} listed particles at most {max(votes)} lie where "
            f"{OCCUPANCY_FILE} has them, with z shifted by any of {offsets} voxels; check that both files are of the "
            "same model and that the list's columns are x y z"
        )
    return offsets[votes.index(max(votes))]


def _moved_in_z(voxel: npt.NDArray[np.float64], offset: int) -> npt.NDArray[np.float64]:
    moved = voxel.copy()
    moved[:, 0] += offset
    return moved
