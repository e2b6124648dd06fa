"""Tilt series of projects that name their images themselves: RELION 5's tomograms.star, Warp's XML."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryodask.errors import DataError
from cryodask.io.alignments import relion
from cryodask.io.mrc_stack import clean_name, open_images
from cryodask.model.images import OPTICS
from cryodask.workflows.series import Series
from cryodask.workflows.stack_inputs import Found, StackOptions, make_alignment, pixel_size, source_of, take

_NAMES_SHOWN = 8


def relion_series(
    path: Path, options: StackOptions, scratch: Path, names: Sequence[str] = ()
) -> list[tuple[Series, list[str]]]:
    """The tilt series of a tomograms.star with their notices, all or those of ``names``.

    DataError for names that are not in it, and for files that are missing, damaged or do not belong together.
    """
    tomograms = relion.read_tomograms(path)
    known = [tomogram.name for tomogram in tomograms]
    unknown = [name for name in names if name not in known]
    if unknown:
        more = ", ..." if len(known) > _NAMES_SHOWN else ""
        raise DataError(f"{path} has no tomogram {unknown[0]}; it has {', '.join(known[:_NAMES_SHOWN])}{more}")
    return [_of_relion(path, each, options, scratch) for each in tomograms if not names or each.name in names]


def _of_relion(
    path: Path, tomogram: relion.RelionTomogram, options: StackOptions, scratch: Path
) -> tuple[Series, list[str]]:
    if len(tomogram.images) != len(tomogram.alignment):
        raise DataError(f"{path}: the tilts of {tomogram.name} name no images (rlnMicrographName)")
    places = [(relion.find_beside(path, name), section) for name, section in tomogram.images]
    opened = open_images(places, scratch)
    count, ny, nx = opened.stack.shape
    found = Found(path, count, (ny, nx))
    take(found, tomogram.alignment, str(path))
    found.notices += [f"{column} of {tomogram.name} in {path} is not followed" for column in tomogram.ignored]
    pixel = pixel_size(found, options, tomogram.pixel_size_angstrom)
    assert pixel is not None  # RELION's is checked when it is read
    alignment = make_alignment(found, options)
    series = Series(
        name=clean_name(Path(tomogram.name)),
        images=opened.stack,
        alignment=alignment,
        pixel_size_angstrom=pixel,
        thickness_angstrom=None if tomogram.size_px is None else tomogram.size_px[0] * pixel,
        source={**source_of(path, alignment, pixel), "images": _state(places)},
        optics={name: value for name, value in tomogram.optics.items() if name in OPTICS},
    )
    return series, found.notices


def _state(places: Sequence[tuple[Path, int]]) -> str:
    """Paths, sizes and times of the images' files: reading them all only to tell that they are the same takes long."""
    digest = hashlib.sha256()
    for path, section in places:
        status = path.stat()
        digest.update(f"{path.absolute()} {section} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def warp_stack(path: Path) -> Path:
    """The stack that belongs to a Warp XML: where Warp keeps it, or beside it; DataError if it is in neither."""
    stem = path.stem
    places = [path.parent / "tiltstack" / stem / f"{stem}.st", *(path.with_suffix(end) for end in (".st", ".mrc"))]
    for place in places:
        if place.is_file():
            return place
    raise DataError(f"{path}: its images are not at {places[0]} or {places[1]}: give the stack, and --warp {path}")
