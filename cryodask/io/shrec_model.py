"""One ``model_N`` folder of the SHREC 2021 layout: names of its files, its text files, and our own record beside them.

The layout rounds positions to voxels, and says nothing of classes' radii, doses or optics. ``cryodask.json`` keeps what
the other files leave out, so that a model that was exported can be imported as it was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask._version import __version__
from cryodask.errors import DataError
from cryodask.io.atomic import replacing
from cryodask.io.text_files import finite_number, read_text
from cryodask.model.evaluation import BACKGROUND, NON_PROTEIN_CLASSES, SHREC21_CLASS_IDS
from cryodask.model.particles import Particles

Floats = npt.NDArray[np.float64]

GRAND_MODEL, RECONSTRUCTION, CLASS_MASK = "grandmodel.mrc", "reconstruction.mrc", "class_mask.mrc"
FILLED_OCCUPANCY = "occupancy_mask_filled.mrc"
PROJECTIONS, PROJECTIONS_BINNED = "projections_unbinned.mrc", "projections.mrc"
NOISE_FREE = "noisefree_projections.mrc"
ALIGNMENT_FILE = "alignment_simulated.txt"
RECORD_FILE = "cryodask.json"

TRUTH_FILES = (
    *(GRAND_MODEL, CLASS_MASK, "occupancy_mask.mrc", FILLED_OCCUPANCY),
    *("particle_locations.txt", NOISE_FREE),
)

_KIND = "shrec-model"
_VERSION = 1
_ALIGNMENT_COLUMNS = (
    "AlignmentTransX (px)",
    "AlignmentTransY (px)",
    "TiltAngle (degrees)",
    "InPlaneRotation (degrees)",
    "Magnification",
    "FileName",
)


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """What ``cryodask.json`` holds."""

    name: str
    """Of the model in its data set."""
    depth_voxels: Mapping[str, int] = field(default_factory=dict)
    """Slices that each volume (by its file's name) had before it was put into a deeper frame."""
    truth: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the truth."""
    particles: Mapping[str, Any] | None = None
    """Columns of the particle table; None where the truth is withheld."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Stack file of each variable of the tilt series."""
    tilt_series: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the tilt series."""
    coordinates: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Its coordinates, one value a tilt."""
    tomogram: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the tomogram."""


def write_record(folder: Path, record: ModelRecord) -> None:
    """Write ``cryodask.json``."""
    content = {"kind": _KIND, "version": _VERSION, "software_version": __version__, **asdict(record)}
    with replacing(folder / RECORD_FILE) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_record(folder: Path) -> ModelRecord | None:
    """What ``cryodask.json`` says, None if there is none; DataError if it is damaged or of another version."""
    path = folder / RECORD_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}; export the model again, or remove the file") from error
    if not isinstance(content, dict) or content.get("kind") != _KIND or content.get("version") != _VERSION:
        raise DataError(
            f"{path} is no record of version {_VERSION} of an exported model; use the cryodask that exported it, or "
            "remove the file"
        )
    known: dict[str, Any] = {
        name: content.get(name) for name in ModelRecord.__dataclass_fields__ if content.get(name) is not None
    }
    mappings = known.keys() - {"name"}
    if not isinstance(known.get("name"), str) or not all(isinstance(known[name], dict) for name in mappings):
        raise DataError(f"{path}: damaged; export the model again, or remove the file")
    return ModelRecord(**known)


def particle_columns(particles: Particles) -> dict[str, list[Any]]:
    """The table for ``cryodask.json``: exact numbers, None for what is not known."""
    columns: dict[str, list[Any]] = {}
    for name, column in particles.to_dataset().variables.items():
        values = column.to_numpy().tolist()
        columns[str(name)] = [None if isinstance(v, float) and math.isnan(v) else v for v in values]
    return columns


def particles_of(columns: Mapping[str, Any], path: Path) -> Particles:
    """Inverse of ``particle_columns``; DataError naming ``path`` for a table that is none."""
    try:
        numbers = {
            name: np.array([math.nan if value is None else float(value) for value in columns[name]])
            for name in ("z_angstrom", "y_angstrom", "x_angstrom", "z1_deg", "x_deg", "z2_deg", "score")
        }
        return Particles.create(
            [str(value) for value in columns["class_id"]],
            np.stack([numbers[f"{axis}_angstrom"] for axis in "zyx"], axis=1),
            tomogram=[str(value) for value in columns["tomogram"]],
            zxz_deg=np.stack([numbers[name] for name in ("z1_deg", "x_deg", "z2_deg")], axis=1),
            score=numbers["score"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: its table of particles is damaged ({error}); export the model again") from error


# -- classes -------------------------------------------------------------------------------------------------------


def shrec_name(class_id: str) -> str:
    """A class as the benchmark spells it."""
    return class_id if class_id in NON_PROTEIN_CLASSES else class_id.upper()


def shrec_labels(class_ids: Sequence[str]) -> dict[str, int]:
    """Label of each class in an exported mask: the benchmark's where all classes are its own, else counted from 1."""
    benchmark = {name: label for label, name in enumerate(SHREC21_CLASS_IDS, start=1)}
    names = [shrec_name(class_id) for class_id in class_ids]
    if all(name in benchmark for name in names):
        return {class_id: benchmark[name] for class_id, name in zip(class_ids, names, strict=True)}
    return {class_id: label for label, class_id in enumerate(class_ids, start=1)}


def write_class_table(path: Path, labels: Mapping[str, int]) -> None:
    """``NAME LABEL`` a line, background first. With the benchmark's own labels the table has all its classes."""
    named = {label: shrec_name(class_id) for class_id, label in labels.items()}
    if max(named, default=0) > len(named):
        named = dict(enumerate(SHREC21_CLASS_IDS, start=1))
    lines = [f"{BACKGROUND} 0", *(f"{named[label]} {label}" for label in sorted(named))]
    with replacing(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


# -- particles and alignment ---------------------------------------------------------------------------------------


def write_locations(path: Path, particles: Particles, voxel: Floats) -> None:
    """``CLASS x y z Z1 X Z2`` a line: whole voxels, ``voxel`` (n, 3) being (z, y, x), and degrees or NaN."""
    rounded = np.rint(voxel).astype(int)
    lines = [
        f"{shrec_name(str(name))} {x} {y} {z} " + " ".join("NaN" if math.isnan(a) else f"{a:.4f}" for a in angles)
        for name, (z, y, x), angles in zip(particles.class_id, rounded.tolist(), particles.zxz_deg, strict=True)
    ]
    with replacing(path) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_alignment(path: Path, *, tilt_deg: Floats, shift_y_px: Floats, shift_x_px: Floats) -> None:
    """What undoes the tilt and the shift of each image, as the benchmark has it: all of them negated."""
    header = "".join(f"#{name}\n" for name in _ALIGNMENT_COLUMNS) + "#\n"
    rows = zip(0 - shift_x_px, 0 - shift_y_px, 0 - tilt_deg, strict=True)
    lines = [
        f"{x:16.10f} {y:16.10f} {tilt:16.10f} {0.0:16.10f} {1.0:15.10f} "
        f"./{path.parent.name}/projections/synthetic_{index}.mrc\n"
        for index, (x, y, tilt) in enumerate(rows, start=1)
    ]
    with replacing(path) as partial:
        partial.write_text(header + "".join(lines), encoding="utf-8")


def read_alignment(path: Path) -> tuple[Floats, Floats, Floats]:
    """Tilts (degrees), shifts in y and in x (pixels) that were applied; DataError naming the line for what is none."""
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 5:
            raise DataError(f"{path}, line {number}: {len(words)} columns; expected {', '.join(_ALIGNMENT_COLUMNS)}")
        x, y, tilt, rotation, magnification = (finite_number(word, path, number) for word in words[:5])
        if abs(rotation) > 1e-6 or abs(magnification - 1) > 1e-6:
            raise DataError(
                f"{path}, line {number}: in-plane rotation {rotation} and magnification {magnification}; "
                "only simulated alignments, with 0 and 1, can be imported"
            )
        rows.append((-tilt, -y, -x))
    if not rows:
        raise DataError(f"{path} lists no images")
    tilts, shifts_y, shifts_x = np.array(rows, dtype=np.float64).T
    return tilts, shifts_y, shifts_x
