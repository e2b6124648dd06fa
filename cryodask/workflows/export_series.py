"""``export --format imod|aretomo|relion5|warp``: tilt series of a data set as the folders of other programs."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryodask.errors import DataError
from cryodask.io.alignments import aretomo, imod, relion, warp
from cryodask.io.mrc_writer import filled_volume
from cryodask.io.store import Store
from cryodask.model.progress import Progress
from cryodask.workflows import layout
from cryodask.workflows.picks_folder import make_folder
from cryodask.workflows.series import Series, series_of_store

AMPLITUDE_CONTRAST = 0.07
"""RELION wants a number; the customary one for protein in ice."""


@dataclass(frozen=True, eq=False)
class _Export:
    """A series and where it goes."""

    series: Series
    size_px: tuple[int, int, int]
    """(z, y, x) of the tomogram in pixels of the images."""


def export_series(store: Store, output: Path, kind: str, *, progress: Progress, overwrite: bool = False) -> list[Path]:
    """Write every tilt series of ``store`` in the layout ``kind``; returns what another command takes as its input.

    A folder appears whole or not at all. DataError for a folder in the way, for a series without a thickness, and for
    alignments that the format cannot hold.
    """
    exports = [_export(store, name) for name in layout.models_with(store, "tilt_series")]
    write = WRITERS[kind]
    if output.exists() and not overwrite:
        raise DataError(f"{output} exists: choose another output, or --overwrite")
    with _whole_folder(output) as folder, progress.stage("export", total=len(exports)) as stage:
        found = []
        for each in exports:
            found.append(output / write(folder, each))
            stage.advance()
        if kind == "relion5":
            relion.write_project(folder, [_relion_entry(each) for each in exports])
            found = [output / "tomograms.star"]
    return found


@contextmanager
def _whole_folder(output: Path) -> Iterator[Path]:
    make_folder(output.parent)
    partial = output.with_name(f".{uuid.uuid4().hex}.partial-{output.name}")
    make_folder(partial)
    try:
        yield partial
        if output.is_dir() and not output.is_symlink():
            shutil.rmtree(output)
        partial.replace(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _export(store: Store, name: str) -> _Export:
    series = series_of_store(store, name, "counts")
    if series.thickness_angstrom is None:
        raise DataError(f"{store.path}: {name} does not say how thick its sample is, which other programs need")
    _, ny, nx = series.images.shape
    return _Export(series, (max(1, round(series.thickness_angstrom / series.pixel_size_angstrom)), ny, nx))


def _write_stack(path: Path, series: Series) -> None:
    """Images one after the other, float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, ny, nx = series.images.shape
    with filled_volume(path, (count, ny, nx), np.float32, series.pixel_size_angstrom, stack=True) as stack:
        for index in range(count):
            stack[index] = series.images.read((slice(index, index + 1), slice(None), slice(None)))[0]


def _write_imod(folder: Path, export: _Export) -> str:
    """A folder as etomo leaves it."""
    series, name = export.series, export.series.name
    alignment = series.alignment
    place = folder / name
    _write_stack(place / f"{name}.st", series)
    imod.write_angles(place / f"{name}.tlt", alignment.tilt_deg)
    imod.write_angles(place / f"{name}.rawtlt", alignment.tilt_deg)
    imod.write_angles(place / f"{name}.xtilt", alignment.x_tilt_deg)
    imod.write_xf(place / f"{name}.xf", alignment.matrix_xy, alignment.shift_x_px, alignment.shift_y_px)
    nz, ny, nx = export.size_px
    excluded = ",".join(str(index + 1) for index in np.flatnonzero(alignment.excluded))
    lines = [
        "$tilt -StandardInput",
        f"InputProjections {name}_ali.mrc",
        f"OutputFile {name}_full_rec.mrc",
        "IMAGEBINNED 1",
        f"TILTFILE {name}.tlt",
        f"XTILTFILE {name}.xtilt",
        f"THICKNESS {nz}",
        "RADIAL 0.35 0.035",
        "FalloffIsTrueSigma 1",
        "XAXISTILT 0.0",
        "PERPENDICULAR",
        "MODE 2",
        f"FULLIMAGE {nx} {ny}",
        "SUBSETSTART 0 0",
        "AdjustOrigin",
        "OFFSET 0.0",
        "SHIFT 0.0 0.0",
        *([f"EXCLUDELIST2 {excluded}"] if excluded else []),
    ]
    (place / "tilt.com").write_text("\n".join(lines) + "\n", encoding="ascii")
    settings = {"InputFile": f"{name}.st", "OutputFile": f"{name}_ali.mrc", "TransformFile": f"{name}.xf"}
    text = "".join(f"{key}\t{value}\n" for key, value in settings.items())
    (place / "newst.com").write_text(f"$newstack -StandardInput\n{text}AdjustOrigin\nBinByFactor\t1\n")
    return f"{name}/{name}.st"


def _write_aretomo(folder: Path, export: _Export) -> str:
    """Stack, .aln and angles, side by side."""
    series, name = export.series, export.series.name
    _write_stack(folder / f"{name}.mrc", series)
    imod.write_angles(folder / f"{name}.rawtlt", series.alignment.tilt_deg)
    aretomo.write_aln(folder / f"{name}.aln", series.alignment, export.size_px[1:], export.size_px[0])
    return f"{name}.mrc"


def _write_warp(folder: Path, export: _Export) -> str:
    """The XML, and the stack where Warp keeps it."""
    series, name = export.series, export.series.name
    _write_stack(folder / "tiltstack" / name / f"{name}.st", series)
    warp.write_warp(
        folder / f"{name}.xml",
        series.alignment,
        pixel_size_angstrom=series.pixel_size_angstrom,
        size_px=export.size_px,
    )
    return f"{name}.xml"


def _write_relion(folder: Path, export: _Export) -> str:
    """The stack; the star files follow for all series together."""
    _write_stack(folder / "tilt_series" / f"{export.series.name}.mrcs", export.series)
    return f"tilt_series/{export.series.name}.mrcs"


def _relion_entry(export: _Export) -> relion.TomogramToWrite:
    series = export.series
    return relion.TomogramToWrite(
        name=series.name,
        alignment=series.alignment,
        stack=f"tilt_series/{series.name}.mrcs",
        pixel_size_angstrom=series.pixel_size_angstrom,
        size_px=export.size_px,
        optics={"amplitude_contrast": AMPLITUDE_CONTRAST, **series.optics},
    )


WRITERS: Mapping[str, Callable[[Path, _Export], str]] = {
    "imod": _write_imod,
    "aretomo": _write_aretomo,
    "relion5": _write_relion,
    "warp": _write_warp,
}
"""By the name of the format."""
