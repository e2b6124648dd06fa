"""RELION 5: tomograms.star, and one star file of tilts for each tomogram.

RELION puts the origin at pixel N // 2, this package at (N - 1) / 2. As RELION's own import from AreTomo does, angles
and shifts are taken over as they are: for even sizes the tomogram moves by up to half a pixel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryodask.errors import DataError
from cryodask.io.star_blocks import Block, read_blocks
from cryodask.io.text_files import finite_number, read_small_text
from cryodask.model.alignment import TiltAlignment, accumulated_dose
from cryodask.units import ANGSTROM_PER_UM

Floats = npt.NDArray[np.float64]

_SECTION = re.compile(r"(\d+)@(.+)")

SETTINGS = {
    "voltage_kv": "rlnVoltage",
    "spherical_aberration_mm": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
}
"""Of the microscope, by our names and RELION's."""

DEFORMATIONS = "rlnTomoDeformationCoefficients"
"""How each image is bent, as RELION's frame alignment finds it."""


@dataclass(frozen=True, kw_only=True)
class RelionTomogram:
    """One row of tomograms.star with its tilts."""

    name: str
    pixel_size_angstrom: float
    """Of the images."""
    size_px: tuple[int, int, int] | None
    """(z, y, x) of the tomogram in pixels of the images, where it is given."""
    images: tuple[tuple[str, int], ...]
    """Path as written and section, from 0, of each image; empty if the file names none."""
    alignment: TiltAlignment
    optics: Mapping[str, float] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    """Columns that change the geometry and are not followed here."""


def read_tomograms(path: Path) -> list[RelionTomogram]:
    """Every tomogram of a tomograms.star; DataError naming file, line and column for what is missing or no number."""
    blocks = _blocks(path)
    table = next((block for block in blocks if "rlnTomoName" in block.columns), None)
    if table is None or not table.rows:
        raise DataError(f"{path} lists no tomograms: a column rlnTomoName in data_global was expected")
    return [_tomogram(path, _Row(path, table, index), blocks) for index in range(len(table.rows))]


def _blocks(path: Path) -> list[Block]:
    return read_blocks(read_small_text(path, "STAR file"), path)


class _Row:
    """One row of a table, by column, with messages that say where."""

    def __init__(self, path: Path, block: Block, index: int) -> None:
        self.path, self.block, self.index = path, block, index

    def text(self, column: str) -> str | None:
        if column not in self.block.columns:
            return None
        return self.block.rows[self.index][self.block.columns.index(column)]

    def number(self, column: str, default: float | None = None) -> float:
        word = self.text(column)
        if word is None:
            if default is None:
                raise DataError(f"{self.path}: data_{self.block.name} has no column {column}")
            return default
        return finite_number(word, self.path, self.block.lines[self.index], f"column {column}")


def _tomogram(path: Path, row: _Row, blocks: list[Block]) -> RelionTomogram:
    name = row.text("rlnTomoName") or ""
    pixel = row.number("rlnTomoTiltSeriesPixelSize")
    if not pixel > 0:
        raise DataError(f"{path}: tomogram {name} has a pixel size of {pixel:g} angstrom")
    file = row.text("rlnTomoTiltSeriesStarFile")
    if file is not None:
        tilts_path = find_beside(path, file)
        tilts = _blocks(tilts_path)
    else:
        tilts_path, tilts = path, [block for block in blocks if block.name == name]
    table = next((block for block in tilts if "rlnTomoYTilt" in block.columns), None)
    if table is None:
        raise DataError(
            f"{tilts_path} has no column rlnTomoYTilt: RELION's alignment of {name} is not done, "
            "or it is of RELION 4 (rlnTomoProjX), which has to be imported by RELION 5 first"
        )
    if not table.rows:
        raise DataError(f"{tilts_path} lists no tilts")
    rows = [_Row(tilts_path, table, index) for index in range(len(table.rows))]
    sizes = [row.text(f"rlnTomoSize{axis}") for axis in "ZYX"]
    size = tuple(round(row.number(f"rlnTomoSize{axis}")) for axis in "ZYX") if all(sizes) else None
    if size is not None and min(size) < 1:
        raise DataError(f"{path}: tomogram {name} has a size of {size} pixels")
    return RelionTomogram(
        name=name,
        pixel_size_angstrom=pixel,
        size_px=None if size is None else (size[0], size[1], size[2]),
        images=tuple(_image(text) for row in rows if (text := row.text("rlnMicrographName"))),
        alignment=_alignment(tilts_path, rows, pixel),
        optics={ours: row.number(theirs) for ours, theirs in SETTINGS.items() if row.text(theirs) is not None},
        ignored=tuple(column for column in (DEFORMATIONS,) if column in table.columns),
    )


def _alignment(path: Path, rows: list[_Row], pixel_size_angstrom: float) -> TiltAlignment:
    def column(name: str, default: float | None = None) -> list[float]:
        return [row.number(name, default) for row in rows]

    exposure = None
    order = None
    if rows[0].text("rlnMicrographPreExposure") is not None:
        exposure = np.array(column("rlnMicrographPreExposure"))
        order = np.argsort(np.argsort(exposure, kind="stable"), kind="stable")
    return TiltAlignment.of(
        column("rlnTomoYTilt"),
        source=str(path),
        x_tilt_deg=column("rlnTomoXTilt", 0.0),
        tilt_axis_deg=column("rlnTomoZRot"),
        shift_x_px=np.array(column("rlnTomoXShiftAngst")) / pixel_size_angstrom,
        shift_y_px=np.array(column("rlnTomoYShiftAngst")) / pixel_size_angstrom,
        prior_dose_e_per_a2=exposure,
        acquisition_order=order,
        **_focus(rows),
    )


def _focus(rows: list[_Row]) -> dict[str, Floats]:
    """Defocus and astigmatism where every tilt has them; RELION's are in angstrom, U the larger, its angle from x."""
    names = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
    if rows[0].text(names[0]) is None:
        return {}
    u, v, angle = (np.array([row.number(name, 0.0 if name == names[2] else None) for row in rows]) for name in names)
    return {
        "defocus_um": (u + v) / 2 / ANGSTROM_PER_UM,
        "astigmatism_um": (u - v) / ANGSTROM_PER_UM,
        "astigmatism_deg": angle,
    }


def _image(text: str) -> tuple[str, int]:
    match = _SECTION.fullmatch(text)
    return (match[2], int(match[1]) - 1) if match else (text, 0)


def find_beside(star: Path, name: str) -> Path:
    """A file that ``star`` names: as it is, beside the star file, or from a folder above it (RELION's project).

    DataError if it is in none of them.
    """
    wanted = Path(name)
    places = [wanted] if wanted.is_absolute() else [folder / wanted for folder in star.absolute().parents] + [wanted]
    for place in places:
        if place.is_file():
            return place
    raise DataError(f"{star} names {name}, which is neither beside it nor below any folder above it")


@dataclass(frozen=True, eq=False, kw_only=True)
class TomogramToWrite:
    """A tilt series on its way into a project."""

    name: str
    alignment: TiltAlignment
    stack: str
    """Path of the MRC stack, as it is to be written."""
    pixel_size_angstrom: float
    size_px: tuple[int, int, int]
    """(z, y, x) of the tomogram in pixels of the images."""
    optics: Mapping[str, float]


def write_tomogram(
    folder: Path,
    name: str,
    alignment: TiltAlignment,
    *,
    stack: str,
    pixel_size_angstrom: float,
    size_px: tuple[int, int, int],
    optics: Mapping[str, float],
) -> None:
    """``write_project`` for one tomogram."""
    one = TomogramToWrite(
        name=name,
        alignment=alignment,
        stack=stack,
        pixel_size_angstrom=pixel_size_angstrom,
        size_px=size_px,
        optics=optics,
    )
    write_project(folder, [one])


def write_project(folder: Path, tomograms: Sequence[TomogramToWrite]) -> None:
    """Write ``tomograms.star`` and ``tilt_series/NAME.star`` for the images that are not excluded.

    DataError for alignments with magnification or distortion, which the format cannot hold. Of the optics what is not
    known is left out.
    """
    import starfile

    (folder / "tilt_series").mkdir(parents=True, exist_ok=True)
    for tomogram in tomograms:
        if not tomogram.alignment.is_rigid:
            raise DataError(
                f"{folder}: RELION holds rotations and shifts only, {tomogram.name} also magnifies or distorts"
            )
        starfile.write(
            {tomogram.name: _tilt_table(tomogram)},
            folder / "tilt_series" / f"{tomogram.name}.star",
            float_format="%.6f",
        )
    known = [name for name in SETTINGS if all(name in tomogram.optics for tomogram in tomograms)]
    table = pd.DataFrame(
        {
            "rlnTomoName": [t.name for t in tomograms],
            **{SETTINGS[name]: [t.optics[name] for t in tomograms] for name in known},
            "rlnTomoHand": -1.0,
            "rlnOpticsGroupName": "opticsGroup1",
            "rlnTomoTiltSeriesPixelSize": [t.pixel_size_angstrom for t in tomograms],
            "rlnTomoTiltSeriesStarFile": [f"tilt_series/{t.name}.star" for t in tomograms],
            **{f"rlnTomoSize{axis}": [t.size_px[k] for t in tomograms] for k, axis in ((2, "X"), (1, "Y"), (0, "Z"))},
        }
    )
    starfile.write({"global": table}, folder / "tomograms.star", float_format="%.6f")


def _tilt_table(tomogram: TomogramToWrite) -> pd.DataFrame:
    used = tomogram.alignment.used
    kept = tomogram.alignment.subset(used)
    exposure = kept.prior_dose_e_per_a2
    if exposure is None and kept.dose_e_per_a2 is not None and kept.acquisition_order is not None:
        exposure = accumulated_dose(kept.dose_e_per_a2, kept.acquisition_order)
    return pd.DataFrame(
        {
            "rlnMicrographName": [f"{index + 1:06d}@{tomogram.stack}" for index in used],
            "rlnTomoNominalStageTiltAngle": kept.tilt_deg,
            "rlnTomoXTilt": kept.x_tilt_deg,
            "rlnTomoYTilt": kept.tilt_deg,
            "rlnTomoZRot": kept.tilt_axis_deg,
            "rlnTomoXShiftAngst": kept.shift_x_px * tomogram.pixel_size_angstrom,
            "rlnTomoYShiftAngst": kept.shift_y_px * tomogram.pixel_size_angstrom,
            "rlnMicrographPreExposure": np.zeros(len(kept)) if exposure is None else exposure,
            **_focus_columns(kept),
        }
    )


def _focus_columns(alignment: TiltAlignment) -> dict[str, Floats]:
    mean, difference, angle = alignment.defocus_um, alignment.astigmatism_um, alignment.astigmatism_deg
    if mean is None:
        return {}
    if difference is None or angle is None:
        difference = angle = np.zeros(len(alignment))
    return {
        "rlnDefocusU": (mean + difference / 2) * ANGSTROM_PER_UM,
        "rlnDefocusV": (mean - difference / 2) * ANGSTROM_PER_UM,
        "rlnDefocusAngle": angle,
    }
