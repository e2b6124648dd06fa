"""IMOD's files: angles (.tlt, .rawtlt, .xtilt), transforms (.xf), command files (tilt.com, newst.com) and .edf.

etomofiles reads the folder of a finished project; single files, exclusions and offsets of tilt.com, and messages that
name a line are what it lacks. Views count from 1 in these files and from 0 here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.io.text_files import finite_number, read_numbers, read_small_text, shown

Floats = npt.NDArray[np.float64]

MOST_VIEWS = 100_000


@dataclass(frozen=True, kw_only=True)
class TiltCom:
    """What tilt.com tells the program ``tilt``; None where it says nothing."""

    input_projections: str | None
    tilt_file: str | None
    x_tilt_file: str | None
    thickness_px: int | None
    """Of images that are not binned."""
    image_binned: int
    tilt_offset_deg: float
    x_axis_tilt_deg: float
    excluded: tuple[int, ...]
    """From 0."""
    ignored: tuple[str, ...]
    """Settings that change the geometry and are not followed here."""


@dataclass(frozen=True, kw_only=True)
class NewstCom:
    """What newst.com tells the program ``newstack``."""

    input_file: str | None
    transform_file: str | None


@dataclass(frozen=True, kw_only=True)
class Edf:
    """What etomo's .edf says of the first axis."""

    dataset_name: str | None
    stack_suffix: str | None
    tilt_axis_deg: float | None
    pixel_size_angstrom: float | None
    excluded: tuple[int, ...]
    """From 0."""


def read_angles(path: Path, what: str = "tilt angle file") -> Floats:
    """(n,) degrees of a .tlt, .rawtlt or .xtilt, one a line."""
    angles: Floats = read_numbers(path, 1, what)[:, 0]
    wrong = np.flatnonzero(np.abs(angles) > 90)
    if wrong.size:
        raise DataError(f"{path}: {angles[wrong[0]]:g} is not an angle between -90 and 90 degrees")
    return angles


def read_xf(path: Path) -> tuple[Floats, Floats, Floats]:
    """Matrices (n, 2, 2) and shifts x, y (n,) in the sense of ``TiltAlignment``, from a file of transforms.

    IMOD's transform takes raw to aligned, a = A r + d about the centres of both; here raw = A^-1 (a - d).
    """
    rows = read_numbers(path, 6, "file of transforms")
    forward = rows[:, :4].reshape(-1, 2, 2)
    singular = np.flatnonzero(np.abs(np.linalg.det(forward)) < 1e-6)
    if singular.size:
        raise DataError(
            f"{path}: the transform of view {singular[0] + 1} is singular; align the series again or leave the view out"
        )
    matrices = np.asarray(np.linalg.inv(forward), dtype=np.float64)
    shifts: Floats = -np.einsum("nij,nj->ni", matrices, rows[:, 4:])
    return matrices, shifts[:, 0], shifts[:, 1]


def write_angles(path: Path, angles_deg: npt.ArrayLike) -> None:
    """A .tlt, .rawtlt or .xtilt."""
    path.write_text("".join(f"{angle:9.4f}\n" for angle in np.asarray(angles_deg)), encoding="ascii")


def write_xf(path: Path, matrix_xy: npt.ArrayLike, shift_x_px: npt.ArrayLike, shift_y_px: npt.ArrayLike) -> None:
    """The inverse of ``read_xf``."""
    forward = np.linalg.inv(np.asarray(matrix_xy, dtype=np.float64))
    shifts = -np.einsum("nij,nj->ni", forward, np.stack([shift_x_px, shift_y_px], axis=1))
    lines = [
        "".join(f"{value:12.7f}" for value in matrix.ravel()) + "".join(f"{value:12.3f}" for value in shift)
        for matrix, shift in zip(forward, shifts, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def read_tilt_com(path: Path) -> TiltCom:
    """The settings of a tilt.com; DataError naming the line that makes no sense."""
    entries = _entries(path, "tilt command file")
    thickness = entries.number("THICKNESS")
    binned = entries.number("IMAGEBINNED")
    if thickness is not None and not 1 <= thickness <= MOST_VIEWS:
        raise DataError(f"{path}: THICKNESS {thickness:g} is no depth in pixels")
    if binned is not None and (binned < 1 or binned != int(binned)):
        raise DataError(f"{path}: IMAGEBINNED {binned:g} is no binning")
    shift = entries.numbers("SHIFT")
    ignored = [name for name in ("LOCALFILE", "ZFACTORFILE") if entries.text(name)]
    if any(value != 0 for value in shift or ()):
        ignored.append("SHIFT")
    excluded = {view for name in ("EXCLUDELIST", "EXCLUDELIST2") for view in entries.views(name)}
    return TiltCom(
        input_projections=entries.text("InputProjections"),
        tilt_file=entries.text("TILTFILE"),
        x_tilt_file=entries.text("XTILTFILE"),
        thickness_px=None if thickness is None else round(thickness),
        image_binned=1 if binned is None else int(binned),
        tilt_offset_deg=(entries.numbers("OFFSET") or [0.0])[0],
        x_axis_tilt_deg=entries.number("XAXISTILT") or 0.0,
        excluded=tuple(sorted(excluded)),
        ignored=tuple(ignored),
    )


def read_newst_com(path: Path) -> NewstCom:
    """The settings of a newst.com."""
    entries = _entries(path, "newstack command file")
    return NewstCom(input_file=entries.text("InputFile"), transform_file=entries.text("TransformFile"))


def read_edf(path: Path) -> Edf:
    """What an .edf (a list of name=value) says of axis A."""
    values = {}
    for line in read_small_text(path, "etomo data file").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values[name.strip()] = value.strip()
    if not any(name.startswith(("Setup.", "ReconstructionState")) for name in values):
        raise DataError(f"{path} is not an etomo data file: it has no line Setup...=...")

    def number(name: str) -> float | None:
        text = values.get(name, "")
        return finite_number(text, path, None, name) if text else None

    pixel = number("Setup.PixelSize")
    return Edf(
        dataset_name=values.get("Setup.DatasetName") or None,
        stack_suffix=values.get("Setup.RawImageStackExt") or values.get("Setup.OrigRawImageStackExt") or None,
        tilt_axis_deg=number("Setup.ImageRotationA"),
        pixel_size_angstrom=None if pixel is None else 10 * pixel,
        excluded=parse_views(values.get("Setup.AxisA.ExcludeProjections", ""), f"{path}: ExcludeProjections"),
    )


def parse_views(text: str, where: str) -> tuple[int, ...]:
    """Views of a list such as ``1,4-6`` (from 1) as numbers from 0."""
    views: list[int] = []
    for part in text.replace(",", " ").split():
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise DataError(f"{where}: {shown(part)} is no view or range of views such as 4-6")
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= MOST_VIEWS:
            raise DataError(f"{where}: {shown(part)} is no range of views, which count from 1")
        views.extend(range(low - 1, high))
    return tuple(sorted(set(views)))


class _Entries:
    """Keyword lines of a command file; keywords in any case, the last of a name wins, lists add up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[tuple[int, str, str]] = []

    def _found(self, name: str) -> list[tuple[int, str]]:
        return [(number, value) for number, keyword, value in self.lines if keyword.lower() == name.lower()]

    def text(self, name: str) -> str | None:
        found = self._found(name)
        return found[-1][1] or None if found else None

    def numbers(self, name: str) -> list[float] | None:
        found = self._found(name)
        if not found:
            return None
        number, value = found[-1]
        words = value.replace(",", " ").split()
        if not words:
            raise DataError(f"{self.path}, line {number}: {name} has no value")
        return [finite_number(word, self.path, number, f"{name} line") for word in words]

    def number(self, name: str) -> float | None:
        values = self.numbers(name)
        return None if values is None else values[0]

    def views(self, name: str) -> list[int]:
        return [
            view
            for number, value in self._found(name)
            for view in parse_views(value, f"{self.path}, line {number}: {name}")
        ]


def _entries(path: Path, what: str) -> _Entries:
    entries = _Entries(path)
    for number, line in enumerate(read_small_text(path, what).splitlines(), start=1):
        stripped = line.strip()
        if stripped and stripped[0] not in "#$!":
            keyword, _, value = stripped.replace("\t", " ").partition(" ")
            entries.lines.append((number, keyword, value.strip()))
    if not entries.lines:
        raise DataError(f"{path} is not a {what}: it has no settings")
    return entries
