"""AreTomo's .aln, by the alnfile library: which image each row means, and what was left out as dark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryodask.errors import DataError
from cryodask.io.text_files import read_small_text
from cryodask.model.alignment import TiltAlignment


@dataclass(frozen=True, kw_only=True)
class Aln:
    """An alignment and what comes with it."""

    alignment: TiltAlignment
    """One entry for each image of the raw stack; dark ones are excluded, and have no transform of their own."""
    raw_shape: tuple[int, int, int]
    """(images, y, x) of the stack that was aligned."""
    local_patches: int
    """Patches of a local alignment, which is not followed here."""
    local_shift_px: float | None
    """Root of the mean square length of what the reliable patches move by, raw pixels; None where none is listed."""
    thickness_px: int | None
    """Of the sample, in raw pixels, where AreTomo 3 has measured it."""


def read_aln(path: Path) -> Aln:
    """Read an .aln of AreTomo 1, 2 or 3; DataError for a file that is cut short, or that is none.

    TILT already holds AlphaOffset; BetaOffset is a tilt about x. Sections count from 1, in older versions from 0; where
    they only count the rows, rows are the stack's images without the dark ones.
    """
    from alnfile import data_model

    text = read_small_text(path, "AreTomo alignment")
    if "RawSize" not in text or "# SEC" not in text:
        raise DataError(f"{path} is not an AreTomo alignment: it has no RawSize or no table of sections")
    if "NumPatches" not in text:
        text = text.replace("# RawSize", "# NumPatches = 0\n# RawSize", 1)
    for missing in ("AlphaOffset", "BetaOffset"):
        if missing not in text:  # not there before AreTomo 1.3
            text = text.replace("# SEC", f"# {missing} = 0.0\n# SEC", 1)
    if not text.lstrip().startswith("# AreTomo Alignment"):
        text = f"# AreTomo Alignment\n{text}"
    try:
        data = data_model.AlnData.from_string(text)
    except (ValueError, IndexError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is not a sound AreTomo alignment: {reason}") from error
    nx, ny, count = data.RawSize
    rows, darks = data.GlobalAlignments, data.DarkFrames
    if min(nx, ny, count) < 1:
        raise DataError(f"{path}: RawSize {nx} {ny} {count} is no size of a stack")
    if len(rows) + len(darks) != count or not rows:
        raise DataError(
            f"{path}: {len(rows)} aligned and {len(darks)} dark images do not make the {count} of RawSize; "
            "the file is cut short or was edited"
        )
    images, dark = _images([row.sec for row in rows], [frame.section_idx for frame in darks], count, path)
    tilts, axis, shift_x, shift_y, magnification = (np.zeros(count) for _ in range(5))
    magnification += 1
    for image, row in zip(images, rows, strict=True):
        tilts[image], axis[image], shift_x[image], shift_y[image] = row.tilt, row.rot, row.tx, row.ty
    for image, frame in zip(dark, darks, strict=True):
        tilts[image], axis[image] = frame.angle, rows[0].rot
    excluded = np.zeros(count, dtype=bool)
    excluded[dark] = True
    alignment = TiltAlignment.of(
        tilts,
        source=str(path),
        x_tilt_deg=data.BetaOffset,
        tilt_axis_deg=axis,
        shift_x_px=shift_x,
        shift_y_px=shift_y,
        excluded=excluded,
    )
    return Aln(
        alignment=alignment,
        raw_shape=(count, ny, nx),
        local_patches=data.NumPatches,
        local_shift_px=_local_shift(text),
        thickness_px=_thickness(text),
    )


def _thickness(text: str) -> int | None:
    found = re.search(r"^# Thickness\s*=\s*(\d+)\s*$", text, re.MULTILINE)
    return int(found[1]) or None if found else None


def _local_shift(text: str) -> float | None:
    """Lines of a patch: image, patch, its place (x, y), its shift (x, y), 1 where that is reliable.

    Read here because alnfile takes the place for the shift.
    """
    number = r"\s+(-?\d+(?:\.\d*)?)"
    lines = re.findall(rf"^\s*\d+\s+\d+{number * 4}{number}\s*$", text.partition("# Local Alignment")[2], re.MULTILINE)
    moved = np.array([[float(word) for word in line[2:4]] for line in lines if float(line[4]) > 0])
    return float(np.sqrt((moved**2).sum(axis=1).mean())) if len(moved) else None


def _images(sections: list[int], dark: list[int], count: int, path: Path) -> tuple[list[int], list[int]]:
    """Index in the stack, from 0, of each row and of each dark image."""
    if any(not 0 <= index < count for index in dark) or len(set(dark)) < len(dark):
        raise DataError(f"{path}: dark images {dark} are not among the {count} of the stack")
    rest = [index for index in range(count) if index not in set(dark)]
    first = min(sections)
    if sections == list(range(first, first + len(sections))) and first in (0, 1):
        return rest, dark
    start = 0 if first == 0 else 1
    images = [section - start for section in sections]
    if len(set(images)) < len(images) or not 0 <= min(images) <= max(images) < count:
        raise DataError(f"{path}: sections {sections[:8]} ... are not different images of a stack of {count}")
    # The numbers of dark images are positions by tilt; in a stack of another order, what has no row is dark.
    unlisted = [index for index in range(count) if index not in set(images)]
    return images, dark if set(dark) == set(unlisted) else unlisted


def write_aln(
    path: Path, alignment: TiltAlignment, image_shape: tuple[int, int], thickness_px: int | None = None
) -> None:
    """Write an .aln that AreTomo 3 reads; DataError for what the format cannot hold (distortions, a varying x tilt)."""
    from alnfile import data_model

    if not alignment.is_rigid:
        raise DataError(f"{path}: an .aln holds rotations and shifts only, this alignment also magnifies or distorts")
    if np.ptp(alignment.x_tilt_deg) > 1e-3:
        raise DataError(f"{path}: an .aln holds one x tilt for all images, this series has several")
    axis = alignment.tilt_axis_deg
    rows = [
        data_model.TiltImageAlignmentParameters(
            sec=int(index) + 1,
            rot=float(axis[index]),
            tx=float(alignment.shift_x_px[index]),
            ty=float(alignment.shift_y_px[index]),
            tilt=float(alignment.tilt_deg[index]),
        )
        for index in alignment.used
    ]
    darks = [
        data_model.DarkFrameInfo(section_idx=int(i), val2=int(i) + 1, angle=float(alignment.tilt_deg[i]))
        for i in np.flatnonzero(alignment.excluded)
    ]
    data = data_model.AlnData(
        RawSize=(image_shape[1], image_shape[0], len(alignment)),
        DarkFrames=darks,
        BetaOffset=float(alignment.x_tilt_deg[0]),
        GlobalAlignments=rows,
    )
    text = "\n".join(line for line in str(data).splitlines() if line and "Local" not in line)
    if thickness_px:
        text = text.replace("# SEC", f"# Thickness = {thickness_px}\n# SEC", 1)
    path.write_text(text + "\n", encoding="ascii")
