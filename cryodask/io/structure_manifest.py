"""``assemblies.tsv``: which files of a folder are classes, and what of each file makes the particle."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryodask.errors import DataError
from cryodask.model.structure import StructureInfo

MANIFEST = "assemblies.tsv"
REQUIRED = ("id", "file", "assembly")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_SYMMETRY = re.compile(r"C[1-9]\d*|D[1-9]\d*|T|O|I")
_ASSEMBLY = re.compile(r"asu|bio:\S+|asu\+operators|density")

Operator = tuple[float, ...]
"""12 numbers: three rows of (r1, r2, r3, t)."""


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """One class."""

    class_id: str
    path: Path
    assembly: str
    operators: tuple[Operator, ...] = ()
    name: str = ""
    symmetry: str = "C1"
    molecular_weight_kda: float | None = None
    mask_radius_angstrom: float | None = None
    map_voxel_size_angstrom: float | None = None
    """Of a density map whose header does not say, or says it wrongly."""
    map_blur_sigma_angstrom: float | None = None
    """Of a density map: the Gaussian it was blurred by."""
    listed: bool = True
    """False for a file that was taken without a manifest."""

    def info(self, molecular_weight_kda: float, content_sha256: str) -> StructureInfo:
        """What is known of the class, with its weight and the hash of what its file says."""
        return StructureInfo(
            class_id=self.class_id,
            name=self.name,
            source=str(self.path),
            assembly=self.assembly,
            symmetry=self.symmetry,
            molecular_weight_kda=molecular_weight_kda,
            mask_radius_angstrom=self.mask_radius_angstrom,
            content_sha256=content_sha256,
        )


def read_manifest(file: Path) -> list[ManifestRow]:
    """The rows of a manifest: tab-separated with a header line, ``#`` lines ignored.

    Columns ``id``, ``file`` (relative to the manifest), ``assembly`` (asu, bio:N, asu+operators or density); optional
    ``operators``, ``name``, ``symmetry``, ``molecular_weight_kda``, ``mask_radius_angstrom`` or
    ``mask_radius_px_10A``, and for density maps ``map_voxel_size_angstrom`` and ``map_blur_sigma_angstrom``; others are
    ignored. A file lies in the manifest's folder or beside it (``../other/x``), no
    further away. DataError naming file, line and column otherwise.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    numbered = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not numbered:
        raise DataError(f"{file} is empty: its first line must name the columns {', '.join(REQUIRED)}")
    header, *values = csv.reader((line for _, line in numbered), delimiter="\t")
    header = [column.strip() for column in header]
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        raise DataError(f"{file}, line {numbered[0][0]}: no column {', '.join(missing)} (columns are tab-separated)")
    rows: dict[str, ManifestRow] = {}
    for (number, _), cells in zip(numbered[1:], values, strict=True):
        where = f"{file}, line {number}"
        if len(cells) > len(header):
            raise DataError(f"{where}: {len(cells)} values for {len(header)} columns")
        row = _row(dict(zip(header, (cell.strip() for cell in cells), strict=False)), file, where)
        if row.class_id in rows:
            raise DataError(f"{where}: the id {row.class_id!r} is there already; every class needs its own")
        rows[row.class_id] = row
    if not rows:
        raise DataError(f"{file} lists no classes")
    return list(rows.values())


def check_id(class_id: str, where: str) -> str:
    """``class_id`` itself if it can name a class (it becomes part of file names), else DataError."""
    if not _ID.fullmatch(class_id):
        raise DataError(f"{where}: id {class_id!r} must start with a letter or digit, then letters, digits and _ . + -")
    return class_id


def _row(cells: dict[str, str], file: Path, where: str) -> ManifestRow:
    class_id = check_id(cells.get("id", ""), where)
    assembly = cells.get("assembly", "")
    if not _ASSEMBLY.fullmatch(assembly):
        raise DataError(f"{where}: assembly {assembly!r} is none of asu, bio:N, asu+operators, density")
    operators = tuple(_operators(cells.get("operators", ""), where))
    if bool(operators) != (assembly == "asu+operators"):
        raise DataError(f"{where}: operators belong to the assembly asu+operators, and that needs at least one")
    symmetry = cells.get("symmetry") or "C1"
    if not _SYMMETRY.fullmatch(symmetry):
        raise DataError(f"{where}: symmetry {symmetry!r} is none of Cn, Dn, T, O, I")
    radius = _positive(cells, "mask_radius_angstrom", where)
    if radius is None and (radius := _positive(cells, "mask_radius_px_10A", where)) is not None:
        radius *= 10.0
    return ManifestRow(
        class_id=class_id,
        path=_path(cells.get("file", ""), file, where),
        assembly=assembly,
        operators=operators,
        name=cells.get("name") or class_id,
        symmetry=symmetry,
        molecular_weight_kda=_positive(cells, "molecular_weight_kda", where),
        mask_radius_angstrom=radius,
        map_voxel_size_angstrom=_positive(cells, "map_voxel_size_angstrom", where),
        map_blur_sigma_angstrom=_positive(cells, "map_blur_sigma_angstrom", where, or_zero=True),
    )


def _path(name: str, file: Path, where: str) -> Path:
    folder = file.parent.absolute()
    path = Path(os.path.normpath(folder / name))
    if not name or Path(name).is_absolute() or not path.is_relative_to(Path(os.path.normpath(folder)).parent):
        raise DataError(f"{where}: file {name!r} must be a relative path in the manifest's folder or beside it")
    return path


def _positive(cells: dict[str, str], column: str, where: str, *, or_zero: bool = False) -> float | None:
    text = cells.get(column)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (np.isfinite(value) and (value > 0 or (or_zero and value == 0))):
        raise DataError(f"{where}: {column} is {text!r}, must be a positive number" + (" or 0" if or_zero else ""))
    return value


def _operators(text: str, where: str) -> Iterator[Operator]:
    """``r11,r12,r13,t1;r21,...`` of each operator, several separated by ``|``."""
    for part in filter(None, text.split("|")):
        try:
            matrix = np.array([[float(value) for value in row.split(",")] for row in part.split(";")])
        except ValueError:
            matrix = np.empty(0)
        if matrix.shape != (3, 4) or not np.isfinite(matrix).all():
            raise DataError(f"{where}: operator {part!r} must be three rows r1,r2,r3,t separated by ';'")
        rotation = matrix[:, :3]
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
            raise DataError(f"{where}: operator {part!r} is not a rotation and a shift; check its signs")
        yield tuple(float(value) for value in matrix.ravel())
