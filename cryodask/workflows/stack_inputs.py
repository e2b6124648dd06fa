"""Image stacks of a microscope with the files that say how they are aligned, as tilt series to reconstruct.

What a file says is used, an explicit option wins over it, and where the two differ a notice says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError, DataError
from cryodask.io.alignments import aretomo, imod, mdoc, warp
from cryodask.io.alignments.defocus import read_defocus
from cryodask.io.mrc_stack import clean_name, open_stack
from cryodask.model.alignment import FOCUS, TiltAlignment, rotation_xy
from cryodask.workflows.series import Series

Floats = npt.NDArray[np.float64]

PIXEL_SIZE_RANGE_ANGSTROM = (0.1, 1000.0)

_ANGLE_TOLERANCE_DEG = 0.05
_AXIS_TOLERANCE_DEG = 0.5
_SIZE_TOLERANCE = 0.01
_MDOC_TOLERANCE_DEG = 3.0
"""Refined angles differ from the stage's by an offset and some scatter, but hardly by more."""


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """Files and numbers beside a stack; None where nothing is given."""

    tilt_angles: Path | None = None
    xf: Path | None = None
    xtilt: Path | None = None
    tilt_com: Path | None = None
    aln: Path | None = None
    mdoc: Path | None = None
    warp: Path | None = None
    defocus: Path | None = None
    pixel_size_angstrom: float | None = None
    tilt_axis_deg: float | None = None
    x_tilt_deg: float | None = None
    angle_offset_deg: float | None = None
    exclude: tuple[int, ...] | None = None
    """From 0."""


@dataclass(eq=False)
class Found:
    """What is known so far of a stack, and of where it was found."""

    path: Path
    count: int
    shape: tuple[int, int]
    notices: list[str] = field(default_factory=list)
    tilt_deg: Floats | None = None
    tilt_source: str = ""
    x_tilt_deg: Floats | None = None
    matrix_xy: Floats | None = None
    shift_x_px: Floats | None = None
    shift_y_px: Floats | None = None
    transform_source: str = ""
    offset_deg: float = 0.0
    offset_source: str = ""
    excluded: tuple[int, ...] = ()
    excluded_source: str = ""
    dark: tuple[int, ...] = ()
    """Images without a transform, which no option brings back."""
    thickness_px: float | None = None
    dose: Floats | None = None
    prior_dose: Floats | None = None
    order: npt.NDArray[np.int64] | None = None
    focus: dict[str, Floats] = field(default_factory=dict)
    """Defocus and astigmatism, named as in ``TiltAlignment``."""
    pixel_size_angstrom: float | None = None
    optics: dict[str, float] = field(default_factory=dict)


def stack_series(path: Path, options: StackOptions, scratch: Path) -> tuple[Series, list[str]]:
    """The tilt series in an MRC stack, and what a user should know about how its files were understood.

    Raises DataError for files that are missing, damaged or do not fit the stack, and where nothing tells the angles or
    the pixel size; ConfigError for options that make no sense.
    """
    opened = open_stack(path, scratch)
    count, ny, nx = opened.stack.shape
    found = Found(path, count, (ny, nx))
    pixel = pixel_size(found, options, opened.pixel_size_angstrom)
    if options.aln is not None:
        _use_aln(found, options.aln)
    if options.warp is not None:
        _use_warp(found, options.warp, pixel)
    if options.tilt_com is not None:
        _use_tilt_com(found, options.tilt_com, options)
    _use_single_files(found, options)
    if options.mdoc is not None:
        _use_mdoc(found, options.mdoc)
    if options.defocus is not None:
        measured = read_defocus(options.defocus, found.count)
        found.focus = {"defocus_um": measured.defocus_um}
        found.notices += [f"the {name} in {options.defocus} is not followed" for name in measured.ignored]
    alignment = make_alignment(found, options)
    if pixel is None:
        pixel = found.pixel_size_angstrom
    if pixel is None:
        raise DataError(f"{path} does not say how large its pixels are: give --voxel-size ANGSTROM")
    series = Series(
        name=clean_name(path),
        images=opened.stack,
        alignment=alignment,
        pixel_size_angstrom=pixel,
        thickness_angstrom=None if found.thickness_px is None else found.thickness_px * pixel,
        source=source_of(path, alignment, pixel),
        optics=found.optics,
    )
    return series, found.notices


# -- single pieces -------------------------------------------------------------------------------------------------


def pixel_size(found: Found, options: StackOptions, header: float | None) -> float | None:
    given = options.pixel_size_angstrom
    low, high = PIXEL_SIZE_RANGE_ANGSTROM
    if given is not None:
        if not low <= given <= high:
            raise ConfigError(f"--voxel-size {given:g}: expected a size from {low:g} to {high:g} angstrom")
        if header is not None and abs(header - given) > _SIZE_TOLERANCE * given:
            found.notices.append(f"--voxel-size {given:g} is used, the header of {found.path} says {header:g} angstrom")
        return given
    if header is not None and not low <= header <= high:
        raise DataError(f"{found.path}: its header says pixels of {header:g} angstrom: give --voxel-size ANGSTROM")
    return header


def _use_aln(found: Found, path: Path) -> None:
    aln = aretomo.read_aln(path)
    _check_count(found, len(aln.alignment), path)
    scale = _binning_of(found, aln.raw_shape[1:], path)
    alignment = aln.alignment
    found.tilt_deg, found.tilt_source = alignment.tilt_deg, str(path)
    found.x_tilt_deg = alignment.x_tilt_deg
    found.matrix_xy, found.transform_source = alignment.matrix_xy, str(path)
    found.shift_x_px, found.shift_y_px = alignment.shift_x_px / scale, alignment.shift_y_px / scale
    found.dark = tuple(np.flatnonzero(alignment.excluded).tolist())
    if found.dark:
        found.notices.append(f"{path} leaves out images {_listed(found.dark)} as dark")
    if aln.thickness_px is not None:
        found.thickness_px = aln.thickness_px / scale
    if aln.local_patches:
        moves = aln.local_shift_px
        by = "" if moves is None else f", whose reliable patches move by {moves / scale:.2g} pixels (r.m.s.)"
        found.notices.append(f"the local alignment in {path}{by}, is not followed, only the global one")


def _binning_of(found: Found, raw_shape: tuple[int, ...], path: Path) -> float:
    """How many raw pixels a pixel of the stack stands for; DataError if the two are no binnings of each other."""
    factors = [raw / here for raw, here in zip(raw_shape, found.shape, strict=True)]
    if abs(factors[0] - factors[1]) > _SIZE_TOLERANCE * factors[0]:
        raise DataError(
            f"{path} is for images of {raw_shape[0]} x {raw_shape[1]} pixels, "
            f"{found.path} has {found.shape[0]} x {found.shape[1]}: not the same images"
        )
    factor = float(np.sqrt(factors[0] * factors[1]))
    if abs(factor - 1) > _SIZE_TOLERANCE:
        found.notices.append(f"{found.path} is binned by {factor:.4g} against {path}: shifts are divided by that")
        return factor
    return 1.0


def _use_warp(found: Found, path: Path, pixel: float | None) -> None:
    series = warp.read_warp(path, pixel)
    _check_count(found, len(series.alignment), path)
    take(found, series.alignment, str(path))
    found.pixel_size_angstrom = series.pixel_size_angstrom
    if series.thickness_angstrom is not None:
        found.thickness_px = series.thickness_angstrom / series.pixel_size_angstrom
    found.notices += [f"{name} in {path} is not followed" for name in series.ignored]


def take(found: Found, alignment: TiltAlignment, source: str) -> None:
    """Everything that an alignment says."""
    found.tilt_deg, found.tilt_source = alignment.tilt_deg, source
    found.x_tilt_deg = alignment.x_tilt_deg
    found.matrix_xy, found.transform_source = alignment.matrix_xy, source
    found.shift_x_px, found.shift_y_px = alignment.shift_x_px, alignment.shift_y_px
    found.excluded, found.excluded_source = tuple(np.flatnonzero(alignment.excluded).tolist()), source
    found.prior_dose, found.dose = alignment.prior_dose_e_per_a2, alignment.dose_e_per_a2
    found.order = alignment.acquisition_order
    found.focus = {name: values for name in FOCUS if (values := getattr(alignment, name)) is not None}


def _use_tilt_com(found: Found, path: Path, options: StackOptions) -> None:
    """tilt.com, the files that it names, the transforms of newst.com and the exclusions of an .edf beside it."""
    com = imod.read_tilt_com(path)
    folder = path.parent
    aligned = com.input_projections is not None and Path(com.input_projections).name == found.path.name
    scale = com.image_binned if aligned else 1
    found.notices += [f"{name} in {path} is not followed" for name in com.ignored]
    if com.tilt_file is not None and options.tilt_angles is None and (folder / com.tilt_file).is_file():
        _set_angles(found, imod.read_angles(folder / com.tilt_file), folder / com.tilt_file)
    if com.x_tilt_file is not None and options.xtilt is None and (folder / com.x_tilt_file).is_file():
        _set_x_tilts(found, folder / com.x_tilt_file)
    if com.x_axis_tilt_deg:
        found.x_tilt_deg = (0.0 if found.x_tilt_deg is None else found.x_tilt_deg) + np.full(
            found.count, com.x_axis_tilt_deg
        )
    found.offset_deg, found.offset_source = com.tilt_offset_deg, str(path)
    if com.thickness_px is not None:
        found.thickness_px = com.thickness_px / scale
    found.excluded, found.excluded_source = com.excluded, str(path)
    newst = folder / "newst.com"
    if not aligned and options.xf is None and options.aln is None and newst.is_file():
        settings = imod.read_newst_com(newst)
        names_it = settings.input_file is not None and Path(settings.input_file).name == found.path.name
        if names_it and settings.transform_file is not None:
            _set_transforms(found, folder / settings.transform_file)
    for edf_path in sorted(folder.glob("*.edf")):
        edf = imod.read_edf(edf_path)
        if edf.dataset_name == found.path.name.partition(".")[0] and edf.excluded:
            found.excluded = tuple(sorted({*found.excluded, *edf.excluded}))
            found.excluded_source = f"{path} and {edf_path}"


def _use_single_files(found: Found, options: StackOptions) -> None:
    if options.tilt_angles is not None:
        angles = imod.read_angles(options.tilt_angles)
        before = found.tilt_deg
        _set_angles(found, angles, options.tilt_angles)
        if before is not None and (difference := float(np.abs(before - angles).max())) > _ANGLE_TOLERANCE_DEG:
            found.notices.append(
                f"the angles of {options.tilt_angles} are used, others differ by up to {difference:.3g}"
            )
    if options.xf is not None:
        if found.matrix_xy is not None:
            found.notices.append(f"the transforms of {options.xf} are used, not those of {found.transform_source}")
            found.dark = ()
        _set_transforms(found, options.xf)
    if options.xtilt is not None:
        _set_x_tilts(found, options.xtilt)


def _set_angles(found: Found, angles: Floats, path: Path) -> None:
    _check_count(found, len(angles), path)
    found.tilt_deg, found.tilt_source = angles, str(path)


def _set_x_tilts(found: Found, path: Path) -> None:
    angles = imod.read_angles(path, "file of x tilts")
    _check_count(found, len(angles), path)
    found.x_tilt_deg = angles


def _set_transforms(found: Found, path: Path) -> None:
    matrices, shift_x, shift_y = imod.read_xf(path)
    _check_count(found, len(matrices), path)
    found.matrix_xy, found.shift_x_px, found.shift_y_px, found.transform_source = matrices, shift_x, shift_y, str(path)


def _use_mdoc(found: Found, path: Path) -> None:
    """Dose and order, and angles and the tilt axis where nothing else has told them."""
    series = mdoc.read_mdoc(path)
    _check_count(found, len(series.tilt_deg), path)
    place = np.arange(found.count)
    if found.tilt_deg is None:
        found.tilt_deg, found.tilt_source = series.tilt_deg, str(path)
    else:
        place = _matched(found, series.tilt_deg, path)
    found.dose = None if series.dose_e_per_a2 is None else series.dose_e_per_a2[place]
    found.prior_dose = None if series.prior_dose_e_per_a2 is None else series.prior_dose_e_per_a2[place]
    found.order = series.acquisition_order[place]
    if found.matrix_xy is None and series.tilt_axis_deg is not None:
        found.matrix_xy = rotation_xy(np.full(found.count, series.tilt_axis_deg))
        found.transform_source = str(path)
        found.notices.append(
            f"the tilt axis is at {series.tilt_axis_deg:g} degrees, as {path} says; nothing refines it"
        )
    found.pixel_size_angstrom = found.pixel_size_angstrom or series.pixel_size_angstrom
    if series.voltage_kv is not None:
        found.optics["voltage_kv"] = series.voltage_kv


def _matched(found: Found, nominal: Floats, path: Path) -> npt.NDArray[np.int64]:
    """The .mdoc's section for each image: the same number, or the same rank by angle where the stack is sorted."""
    assert found.tilt_deg is not None
    by_rank = np.argsort(nominal, kind="stable")[np.argsort(np.argsort(found.tilt_deg, kind="stable"), kind="stable")]
    for place in (np.arange(found.count), by_rank):
        difference = nominal[place] - found.tilt_deg
        if np.abs(difference - np.median(difference)).max() <= _MDOC_TOLERANCE_DEG:
            return place
    raise DataError(
        f"the angles in {path} are not those of {found.tilt_source}, in this order or sorted: "
        "they belong to different tilt series"
    )


# -- together ------------------------------------------------------------------------------------------------------


def make_alignment(found: Found, options: StackOptions) -> TiltAlignment:
    if found.tilt_deg is None:
        raise DataError(
            f"nothing says at which angles the images of {found.path} were taken: give --tilt-angles FILE, "
            "--aln FILE, --mdoc FILE or --tilt-com FILE" + _beside(found.path)
        )
    tilts = found.tilt_deg + _offset(found, options)
    matrices = found.matrix_xy
    if options.tilt_axis_deg is not None:
        matrices = _turned(found, options.tilt_axis_deg)
    x_tilt: npt.ArrayLike = 0.0 if found.x_tilt_deg is None else found.x_tilt_deg
    if options.x_tilt_deg is not None:
        if found.x_tilt_deg is not None and np.abs(found.x_tilt_deg - options.x_tilt_deg).max() > _ANGLE_TOLERANCE_DEG:
            found.notices.append(f"--x-tilt {options.x_tilt_deg:g} is used, files say {found.x_tilt_deg[0]:g}")
        x_tilt = options.x_tilt_deg
    excluded = np.zeros(found.count, dtype=bool)
    excluded[list(_excluded(found, options))] = True
    return TiltAlignment.of(
        tilts,
        source=found.tilt_source,
        x_tilt_deg=x_tilt,
        matrix_xy=matrices,
        shift_x_px=0.0 if found.shift_x_px is None else found.shift_x_px,
        shift_y_px=0.0 if found.shift_y_px is None else found.shift_y_px,
        excluded=excluded,
        dose_e_per_a2=found.dose,
        prior_dose_e_per_a2=found.prior_dose,
        acquisition_order=found.order,
        **found.focus,
    )


def _offset(found: Found, options: StackOptions) -> float:
    given = options.angle_offset_deg
    if given is None:
        return found.offset_deg
    if found.offset_deg and abs(given - found.offset_deg) > _ANGLE_TOLERANCE_DEG:
        found.notices.append(f"--angle-offset {given:g} is used, {found.offset_source} says {found.offset_deg:g}")
    return given


def _turned(found: Found, axis_deg: float) -> Floats:
    """Matrices with the axis that an option gives; magnification and distortion go with the old ones."""
    if found.matrix_xy is not None:
        said = np.degrees(np.arctan2(-found.matrix_xy[:, 0, 1], found.matrix_xy[:, 1, 1]))
        apart = (said - axis_deg + 180) % 360 - 180
        if np.abs(apart).max() > _AXIS_TOLERANCE_DEG:
            found.notices.append(
                f"--tilt-axis {axis_deg:g} is used, {found.transform_source} says {float(np.median(said)):.4g} degrees"
            )
    return rotation_xy(np.full(found.count, axis_deg))


def _excluded(found: Found, options: StackOptions) -> set[int]:
    chosen, source = found.excluded, found.excluded_source
    if options.exclude is not None:
        if found.excluded and set(found.excluded) != set(options.exclude):
            found.notices.append(
                f"--exclude {_listed(options.exclude)} is used, {found.excluded_source} leaves out "
                f"{_listed(found.excluded)} (from 0)"
            )
        chosen, source = options.exclude, "--exclude"
    wrong = [index for index in chosen if not 0 <= index < found.count]
    if wrong:
        error = ConfigError if options.exclude is not None else DataError
        raise error(f"{source}: there is no image {wrong[0]} (from 0) among the {found.count} of {found.path}")
    return {*chosen, *found.dark}


def _check_count(found: Found, count: int, path: Path) -> None:
    if count != found.count:
        raise DataError(f"{path} is for {count} images, {found.path} has {found.count}: they do not belong together")


def _beside(path: Path) -> str:
    """A hint to files that look as if they belonged to the stack."""
    stem = path.name.partition(".")[0]
    names = [path.with_name(stem + suffix) for suffix in (".tlt", ".rawtlt", ".aln", ".mrc.mdoc", ".st.mdoc", ".mdoc")]
    there = [str(name) for name in names if name.is_file()]
    return f" (there is {', '.join(there)})" if there else ""


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers[:12]) + (", ..." if len(numbers) > 12 else "")


def source_of(path: Path, alignment: TiltAlignment, pixel: float) -> dict[str, object]:
    """What identifies the input: the file's content, and the numbers that were made of everything beside it."""
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    parts: list[npt.NDArray[Any]] = [
        alignment.tilt_deg,
        alignment.x_tilt_deg,
        alignment.matrix_xy,
        alignment.shift_x_px,
        alignment.shift_y_px,
    ]
    parts += [
        alignment.excluded,
        *(p for p in (alignment.prior_dose_e_per_a2, alignment.dose_e_per_a2) if p is not None),
        *(values for name in FOCUS if (values := getattr(alignment, name)) is not None),
    ]
    numbers = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
    return {"stack": content, "alignment": numbers, "pixel_size_angstrom": pixel}
