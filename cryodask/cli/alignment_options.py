"""Options that say how the images of a microscope's tilt series are aligned."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from cryodask.cli.options import Command, InputPath

_FILES = {
    "tilt_angles": ("--tilt-angles", "FILE", "Tilt angles, one a line (.tlt, .rawtlt)."),
    "xf": ("--xf", "FILE", "IMOD's transforms from raw to aligned images (.xf)."),
    "xtilt": ("--xtilt", "FILE", "IMOD's x tilt of each image (.xtilt)."),
    "tilt_com": ("--tilt-com", "FILE", "IMOD's tilt.com: thickness, offsets, excluded views, and the files it names."),
    "aln": ("--aln", "FILE", "AreTomo's alignment (.aln)."),
    "mdoc": ("--mdoc", "FILE", "SerialEM's metadata (.mdoc): dose and order, angles if nothing else tells them."),
    "warp": ("--warp", "FILE", "Warp's or WarpTools' XML of the tilt series."),
    "defocus": ("--defocus", "FILE", "IMOD's .defocus: the defocus of each image, for --ctf phase-flip."),
}
_NUMBERS = {
    "voxel_size": ("--voxel-size", "ANGSTROM", "Pixel size of the images.  [default: the header's]"),
    "tilt_axis": ("--tilt-axis", "DEG", "Tilt axis, counter-clockwise from +y with y upwards; wins over files."),
    "x_tilt": ("--x-tilt", "DEG", "Tilt of the sample about x; wins over files."),
    "angle_offset": ("--angle-offset", "DEG", "Added to all tilt angles; wins over tilt.com."),
}


def alignment_options(command: Command) -> Command:
    """All of them as one argument ``stack: StackOptions``."""

    @functools.wraps(command)
    def with_stack(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        from cryodask.workflows.stack_inputs import StackOptions

        files: dict[str, Path | None] = {name: kwargs.pop(name) for name in _FILES}
        numbers: dict[str, float | None] = {name: kwargs.pop(name) for name in _NUMBERS}
        stack = StackOptions(
            tilt_angles=files["tilt_angles"],
            xf=files["xf"],
            xtilt=files["xtilt"],
            tilt_com=files["tilt_com"],
            aln=files["aln"],
            mdoc=files["mdoc"],
            warp=files["warp"],
            defocus=files["defocus"],
            pixel_size_angstrom=numbers["voxel_size"],
            tilt_axis_deg=numbers["tilt_axis"],
            x_tilt_deg=numbers["x_tilt"],
            angle_offset_deg=numbers["angle_offset"],
            exclude=kwargs.pop("exclude"),
        )
        return command(*args, stack=stack, **kwargs)

    decorated: Command = click.option(
        "--exclude",
        metavar="N,N...",
        callback=lambda _context, _option, text: parse_exclusions(text),
        help="Images to leave out, counted from 0, such as 0,17-19; wins over files.",
    )(with_stack)
    for name, (flag, metavar, text) in reversed(_NUMBERS.items()):
        decorated = click.option(flag, name, type=float, metavar=metavar, help=text)(decorated)
    for name, (flag, metavar, text) in reversed(_FILES.items()):
        decorated = click.option(flag, name, type=InputPath(), metavar=metavar, help=text)(decorated)
    return decorated


def parse_exclusions(text: str | None) -> tuple[int, ...] | None:
    """Numbers of a list such as ``0,17-19``; None stays None."""
    if text is None:
        return None
    numbers: set[int] = set()
    for part in text.replace(",", " ").split():
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or int(last or first) < int(first):
            raise click.BadParameter(f"{part!r} is no image number or range of them, such as 0,17-19")
        if int(last or first) > 100_000:
            raise click.BadParameter(f"{part!r}: no tilt series has so many images")
        numbers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))
