"""Curves over frequency from files: a camera's MTF and DQE, the radial amplitudes of recorded images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError, DataError
from cryodask.io.mrc import read_stack
from cryodask.io.star_blocks import read_blocks
from cryodask.io.text_files import finite_number, read_text
from cryodask.kernels.detector import CameraCurves
from cryodask.kernels.ring_scaling import RING_WIDTH_PIXELS, AmplitudeCurve
from cryodask.kernels.spectrum import amplitude_profile, cosine_taper

Floats = npt.NDArray[np.float64]

_WIDEST_GAP = 10.0
"""Distance of two frequencies of a profile, in their median distance, from which points are taken as missing."""

_MTF_COLUMNS = ("rlnResolutionInversePixel", "rlnMtfValue")
_TAPER = 0.1


def read_radial_profile(path: Path) -> AmplitudeCurve:
    """Amplitudes over frequency from CSV lines ``frequency in 1/angstrom, amplitude``, or from an MRC tilt series.

    A series gives the mean amplitude of each ring, over all its images, tapered at their edges. DataError naming file
    and line for what is no number, frequencies that do not rise, gaps among them and amplitudes that are not positive.
    """
    if _is_mrc(path):
        return _profile_of_stack(path)
    k, amplitude = _columns(path, ("frequency", "amplitude")).T
    steps = np.diff(k)
    if steps.size and steps.min() > 0 and steps.max() > _WIDEST_GAP * np.median(steps):
        at = int(np.argmax(steps))
        raise DataError(
            f"{path}: nothing between the frequencies {k[at]:g} and {k[at + 1]:g} 1/angstrom, "
            f"{steps[at] / np.median(steps):.0f} times the usual distance of two lines; fill the gap"
        )
    try:
        return AmplitudeCurve(k_per_angstrom=tuple(k.tolist()), amplitude=tuple(amplitude.tolist()))
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error


def read_camera_curves(path: Path) -> CameraCurves:
    """A camera from CSV lines ``fraction of Nyquist, MTF, DQE``, or from a STAR file of RELION, which has the MTF only.

    Without a DQE the noise is taken as white: DQE = MTF^2. DataError naming the file for what is no such curve.
    """
    try:
        if path.suffix == ".star":
            q, mtf = _star_columns(path)
            return CameraCurves(q=tuple(2 * q), mtf=tuple(mtf), dqe=tuple(mtf**2))
        q, mtf, dqe = _columns(path, ("frequency", "MTF", "DQE")).T
        return CameraCurves(q=tuple(q), mtf=tuple(mtf), dqe=tuple(dqe))
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error


def _is_mrc(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").removesuffix(".bz2").endswith((".mrc", ".mrcs", ".st", ".ali"))


def _columns(path: Path, names: tuple[str, ...]) -> Floats:
    """(lines, columns) numbers; a first line of words is a header, ``#`` starts a comment."""
    lines = [(number, line) for number, line in enumerate(read_text(path).splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line.strip() and not line.lstrip().startswith("#")]
    rows = []
    for index, ((number, _), cells) in enumerate(zip(lines, csv.reader(line for _, line in lines), strict=True)):
        if index == 0 and not _is_number(cells[0]):
            continue
        if len(cells) != len(names):
            raise DataError(f"{path}, line {number}: {len(cells)} values, expected {', '.join(names)}")
        rows.append([finite_number(cell.strip(), path, number) for cell in cells])
    if len(rows) < 2:
        raise DataError(f"{path}: {len(rows)} lines of {', '.join(names)}; a curve needs two or more")
    return np.array(rows, dtype=np.float64)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _star_columns(path: Path) -> Floats:
    """(2, lines): resolution in 1/pixel and MTF."""
    for block in read_blocks(read_text(path), path):
        if all(name in block.columns for name in _MTF_COLUMNS):
            at = [block.columns.index(name) for name in _MTF_COLUMNS]
            rows = [
                [finite_number(row[column], path, line) for column in at]
                for row, line in zip(block.rows, block.lines, strict=True)
            ]
            return np.array(rows, dtype=np.float64).reshape(-1, 2).T
    raise DataError(f"{path}: no block with the columns {' and '.join(_MTF_COLUMNS)}")


def _profile_of_stack(path: Path) -> AmplitudeCurve:
    stack, pixel = read_stack(path)
    if pixel is None:
        raise DataError(f"{path} does not say its pixel size; write it into the header, or give a CSV file")
    ny, nx = stack.shape[1:]
    taper = cosine_taper(ny, _TAPER, stack)[:, None] * cosine_taper(nx, _TAPER, stack)[None, :]
    width = RING_WIDTH_PIXELS / (max(ny, nx) * pixel)
    found = [amplitude_profile((image - image.mean()) * taper, pixel, width) for image in stack]
    amplitude = np.mean([profile.values for profile in found], axis=0)
    k = found[0].k
    within = k <= 0.5 / pixel
    try:
        return AmplitudeCurve(k_per_angstrom=tuple(k[within].tolist()), amplitude=tuple(amplitude[within].tolist()))
    except ConfigError as error:
        raise DataError(f"{path}: its images have no usable spectrum: {error}") from error
