"""Warp's XML of a tilt series: the alignment of each tilt as a whole (its grids of local movement are not followed)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # for writing; what strangers wrote is parsed by defusedxml

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.io.text_files import finite_number, read_small_text, shown
from cryodask.model.alignment import TiltAlignment, accumulated_dose

Floats = npt.NDArray[np.float64]

_TRUTH = {"true": True, "false": False}

_GRIDS = {"GridCTF": "defocus_um", "GridCTFDefocusDelta": "astigmatism_um", "GridCTFDefocusAngle": "astigmatism_deg"}
"""What Warp found of each tilt's focus, and our names."""


@dataclass(frozen=True, eq=False, kw_only=True)
class WarpSeries:
    """A tilt series as Warp has it."""

    alignment: TiltAlignment
    pixel_size_angstrom: float
    """That shifts were divided by."""
    thickness_angstrom: float | None
    """Of the volume that Warp is to reconstruct, where it says so."""
    ignored: tuple[str, ...]
    """Settings that change the geometry and are not followed here."""


def read_warp(path: Path, pixel_size_angstrom: float | None = None) -> WarpSeries:
    """Read a Warp or WarpTools XML; shifts in it are in angstrom, so a pixel size is needed, its own if none is given.

    Warp's tilt angles have the opposite sign of all others. DataError for anything but such a file.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(read_small_text(path, "Warp metadata file").lstrip("\ufeff"))
    except (ElementTree.ParseError, DefusedXmlException, ValueError) as error:
        raise DataError(f"{path} is not sound XML: {' '.join(str(error).split())[:200]}") from error
    if root.tag != "TiltSeries" or root.find("Angles") is None:
        raise DataError(f"{path} is not Warp's XML of a tilt series: <TiltSeries> with <Angles> was expected")
    angles = _numbers(root, "Angles", path)
    if angles is None:
        raise DataError(f"{path}: <Angles> is empty")
    count = len(angles)
    pixel = pixel_size_angstrom or _pixel_size(root, path)
    if pixel is None:
        raise DataError(f"{path} does not say the pixel size that its shifts need: give --voxel-size ANGSTROM")
    zero = np.zeros(count)
    columns = {name: _numbers(root, name, path, count) for name in ("AxisAngle", "AxisOffsetX", "AxisOffsetY", "Dose")}
    dose = columns["Dose"]
    shift_x, shift_y = (zero if (c := columns[f"AxisOffset{axis}"]) is None else c for axis in "XY")
    focus: dict[str, Any] = {field: _grid(root, name, path, count) for name, field in _GRIDS.items()}
    alignment = TiltAlignment.of(
        0.0 - angles,
        source=str(path),
        tilt_axis_deg=zero if columns["AxisAngle"] is None else columns["AxisAngle"],
        shift_x_px=shift_x / pixel,
        shift_y_px=shift_y / pixel,
        excluded=~_flags(root, "UseTilt", path, count),
        prior_dose_e_per_a2=dose,
        acquisition_order=None if dose is None else np.argsort(np.argsort(dose, kind="stable"), kind="stable"),
        **focus,
    )
    return WarpSeries(
        alignment=alignment,
        pixel_size_angstrom=pixel,
        thickness_angstrom=_thickness(root, path),
        ignored=_ignored(root),
    )


def write_warp(
    path: Path, alignment: TiltAlignment, *, pixel_size_angstrom: float, size_px: tuple[int, int, int]
) -> None:
    """Write what ``read_warp`` reads; ``size_px`` (z, y, x) of the tomogram in pixels of the images.

    DataError for what the format cannot hold: magnification, distortion, an x tilt.
    """
    if not alignment.is_rigid or np.abs(alignment.x_tilt_deg).max() > 1e-3:
        raise DataError(f"{path}: Warp's XML holds rotations about the beam and shifts only, this series has more")
    root = ElementTree.Element("TiltSeries", AreAnglesInverted="False")
    dose = alignment.prior_dose_e_per_a2
    if dose is None and alignment.dose_e_per_a2 is not None and alignment.acquisition_order is not None:
        dose = accumulated_dose(alignment.dose_e_per_a2, alignment.acquisition_order)
    columns: dict[str, npt.ArrayLike] = {
        "Angles": 0.0 - alignment.tilt_deg,
        **({} if dose is None else {"Dose": dose}),
        "AxisAngle": alignment.tilt_axis_deg,
        "AxisOffsetX": alignment.shift_x_px * pixel_size_angstrom,
        "AxisOffsetY": alignment.shift_y_px * pixel_size_angstrom,
    }
    for name, values in columns.items():
        ElementTree.SubElement(root, name).text = "\n".join(f"{value:.9g}" for value in np.asarray(values))
    ElementTree.SubElement(root, "UseTilt").text = "\n".join(str(not flag) for flag in alignment.excluded)
    nz, ny, nx = (n * pixel_size_angstrom for n in size_px)
    root.set("VolumeDimensionsAngstrom", f"{nx:.9g}, {ny:.9g}, {nz:.9g}")
    optics = ElementTree.SubElement(root, "CTF")
    ElementTree.SubElement(optics, "Param", Name="PixelSize", Value=f"{pixel_size_angstrom:.9g}")
    for name, field in _GRIDS.items():
        values = getattr(alignment, field)
        if values is not None:
            grid = ElementTree.SubElement(root, name, Width="1", Height="1", Depth=str(len(values)))
            for index, value in enumerate(values):
                ElementTree.SubElement(grid, "Node", X="0", Y="0", Z=str(index), Value=f"{value:.9g}")
    ElementTree.indent(root, space="  ")
    path.write_text('<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n")


def _numbers(root: ElementTree.Element, name: str, path: Path, count: int | None = None) -> Floats | None:
    words = _words(root, name)
    if not words:
        return None
    _check_count(words, name, path, count)
    return np.array([finite_number(word, path, None, f"<{name}>") for word in words])


def _flags(root: ElementTree.Element, name: str, path: Path, count: int) -> npt.NDArray[np.bool_]:
    words = _words(root, name)
    if not words:
        return np.ones(count, dtype=bool)
    _check_count(words, name, path, count)
    unknown = next((word for word in words if word.lower() not in _TRUTH), None)
    if unknown is not None:
        raise DataError(f"{path}: {shown(unknown)} in <{name}> is neither True nor False")
    return np.array([_TRUTH[word.lower()] for word in words])


def _words(root: ElementTree.Element, name: str) -> list[str]:
    element = root.find(name)
    return [] if element is None else (element.text or "").split()


def _check_count(words: list[str], name: str, path: Path, count: int | None) -> None:
    if count is not None and len(words) != count:
        raise DataError(f"{path}: {count} tilts in <Angles>, but {len(words)} values in <{name}>")


def _pixel_size(root: ElementTree.Element, path: Path) -> float | None:
    for parameter in root.findall("./CTF/Param"):
        if parameter.get("Name") == "PixelSize":
            value = finite_number(parameter.get("Value") or "", path, None, "pixel size")
            if not value > 0:
                raise DataError(f"{path}: a pixel size of {value:g} angstrom")
            return value
    return None


def _grid(root: ElementTree.Element, name: str, path: Path, count: int) -> Floats | None:
    """One value a tilt of a grid whose nodes are counted along Z by tilts; the mean where it also varies within one."""
    nodes = root.findall(f"./{name}/Node")
    if not nodes:
        return None
    total, number = np.zeros(count), np.zeros(count)
    for node in nodes:
        place = finite_number(node.get("Z") or "", path, None, f"<{name}> Z")
        if not (place == int(place) and 0 <= place < count):
            raise DataError(f"{path}: <{name}> has a node at Z = {place:g}, there are {count} tilts")
        total[int(place)] += finite_number(node.get("Value") or "", path, None, f"<{name}> Value")
        number[int(place)] += 1
    # A grid of one node is for all tilts.
    return np.full(count, total[0]) if len(nodes) == 1 else (total / number if number.all() else None)


def _thickness(root: ElementTree.Element, path: Path) -> float | None:
    words = (root.get("VolumeDimensionsAngstrom") or "").split(",")
    return finite_number(words[2], path, None, "VolumeDimensionsAngstrom") or None if len(words) == 3 else None


def _ignored(root: ElementTree.Element) -> tuple[str, ...]:
    found = [name for name in ("LevelAngleX", "LevelAngleY") if _differs(root.get(name), 0.0)]
    magnification = (root.get("MagnificationCorrection") or "1, 0, 0, 1").replace(" ", "")
    if magnification != "1,0,0,1":
        found.append("MagnificationCorrection")
    for grid in ("GridMovementX", "GridMovementY", "GridVolumeWarpX", "GridVolumeWarpY", "GridVolumeWarpZ"):
        if any(_differs(node.get("Value"), 0.0) for node in root.findall(f"./{grid}/Node")):
            found.append(grid)
    return tuple(found)


def _differs(text: str | None, nothing: float) -> bool:
    """Whether a setting is there and does something; one that is no number counts, as nobody knows what it does."""
    try:
        return text is not None and float(text) != nothing
    except ValueError:
        return True
