"""SerialEM's .mdoc, by the mdocfile library: angles, dose and the order in which images were taken."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.io.text_files import read_small_text
from cryodask.model.alignment import accumulated_dose

Floats = npt.NDArray[np.float64]

_DATES = ("%d-%b-%y %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%Y-%b-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S")
_AXIS = re.compile(r"Tilt axis angle\s*=\s*([-+.\d]+)")


@dataclass(frozen=True, eq=False, kw_only=True)
class Mdoc:
    """One entry for each image, in the order of the file's sections (ZValue)."""

    tilt_deg: Floats
    acquisition_order: npt.NDArray[np.int64]
    dose_e_per_a2: Floats | None
    prior_dose_e_per_a2: Floats | None
    pixel_size_angstrom: float | None
    tilt_axis_deg: float | None
    """From the title, the only place that has it."""
    voltage_kv: float | None
    image_file: str | None


def read_mdoc(path: Path) -> Mdoc:
    """Read the .mdoc of a tilt series; DataError for one without tilt angles (of a single image, a montage)."""
    import mdocfile.data_models

    text = read_small_text(path, "SerialEM metadata file")
    logging.getLogger("mdocfile").setLevel(logging.ERROR)  # it warns of every keyword that it does not know
    try:
        data = mdocfile.data_models.Mdoc.from_string(text)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is not a sound .mdoc: {reason}") from error
    sections = sorted(
        (section for section in data.section_data if section.ZValue is not None), key=lambda section: section.ZValue
    )
    if not sections:
        raise DataError(f"{path} has no [ZValue = ...] sections: give the .mdoc of a tilt series")
    if len({section.ZValue for section in sections}) < len(sections):
        raise DataError(f"{path}: two sections have the same ZValue")
    tilts = np.array([math.nan if section.TiltAngle is None else section.TiltAngle for section in sections])
    wrong = np.flatnonzero(~(np.abs(tilts) <= 90))
    if wrong.size:
        raise DataError(f"{path}: section {sections[wrong[0]].ZValue} has no TiltAngle between -90 and 90 degrees")
    order = _order(sections)
    dose = np.array([section.ExposureDose or 0.0 for section in sections])
    known = bool(np.all(dose > 0) and np.all(np.isfinite(dose)))
    pixel = data.global_data.PixelSpacing or sections[0].PixelSpacing
    axis = next((match for title in data.titles if (match := _AXIS.search(title))), None)
    voltage = data.global_data.Voltage or sections[0].Voltage
    return Mdoc(
        tilt_deg=tilts,
        acquisition_order=order,
        dose_e_per_a2=dose if known else None,
        prior_dose_e_per_a2=_before(sections, dose, order) if known else None,
        pixel_size_angstrom=float(pixel) if pixel else None,
        tilt_axis_deg=float(axis.group(1)) if axis else None,
        voltage_kv=float(voltage) if voltage else None,
        image_file=str(data.global_data.ImageFile) if data.global_data.ImageFile else None,
    )


def _order(sections: list[Any]) -> npt.NDArray[np.int64]:
    """By date where every section has one, else by section."""
    dates = [_date(section.DateTime) for section in sections]
    order = np.empty(len(sections), dtype=np.int64)
    known = all(date is not None for date in dates)
    sequence = sorted(range(len(sections)), key=lambda index: (dates[index] if known else datetime.min, index))
    order[sequence] = np.arange(len(sections))
    return order


def _date(text: str | None) -> datetime | None:
    for form in _DATES:
        try:
            return datetime.strptime(" ".join((text or "").split()), form)
        except ValueError:
            continue
    return None


def _before(sections: list[Any], dose: Floats, order: npt.NDArray[np.int64]) -> Floats:
    """Dose before each image: the file's own where it says so for any, else summed up."""
    stated = np.array([section.PriorRecordDose or 0.0 for section in sections])
    return stated if stated.any() else accumulated_dose(dose, order)
