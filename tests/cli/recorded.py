"""What tests of ``reconstruct`` on a microscope's files share: the series, its files, and running the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cryodask.io.alignments import imod
from cryodask.model.alignment import TiltAlignment
from tests.phantom import PIXEL

N = 31
TILTS = np.linspace(-60, 60, N)
SHAPE = (64, 72)
THICKNESS = ("--thickness", "32")
INNER = np.s_[:, 14:-14, 14:-14]
"""Away from edges, where images end in other places."""

Volume = npt.NDArray[np.float32]
Reconstruct = Callable[..., Volume]


def scattered(seed: int = 0, spread: float = 4.0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, spread, N)


def imod_files(folder: Path, alignment: TiltAlignment) -> tuple[str | Path, ...]:
    imod.write_angles(folder / "a.tlt", alignment.tilt_deg)
    imod.write_angles(folder / "a.xtilt", alignment.x_tilt_deg)
    imod.write_xf(folder / "a.xf", alignment.matrix_xy, alignment.shift_x_px, alignment.shift_y_px)
    return "--tilt-angles", folder / "a.tlt", "--xf", folder / "a.xf", "--xtilt", folder / "a.xtilt"


MDOC_SECTION = (
    "[ZValue = {z}]\nTiltAngle = {tilt:.3f}\nExposureDose = 3.0\nDateTime = 30-Nov-15  15:{minute:02d}:00\n\n"
)


def mdoc_text(tilts: npt.ArrayLike, minutes: npt.ArrayLike, axis: float) -> str:
    head = f"PixelSpacing = {PIXEL}\nVoltage = 300\n\n[T = Tilt axis angle = {axis}, binning = 1]\n\n"
    pairs = zip(np.asarray(tilts), np.asarray(minutes), strict=True)
    return head + "".join(MDOC_SECTION.format(z=z, tilt=tilt, minute=m) for z, (tilt, m) in enumerate(pairs))
