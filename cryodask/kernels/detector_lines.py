"""Zero-padded detector lines, and where the voxels of a volume fall on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class LineGeometry:
    """Where voxels fall on zero-padded detector lines, in samples of these lines.

    Voxel (z, x) of tilt t lies at ``(origin + (z - centre_z) * sines[t]) + (x - centre_x) * cosines[t]``. The padding
    is so wide that all voxels of the volume find both neighbours on the line, hence no path needs to test for it.
    """

    cosines: npt.NDArray[np.float64]
    sines: npt.NDArray[np.float64]
    origin: float
    centre_z: float
    centre_x: float
    padding: int
    length: int


def line_geometry(
    tilt_deg: npt.NDArray[np.float64], n_samples: int, *, shape: tuple[int, int, int], oversampling: int
) -> LineGeometry:
    """Geometry of lines of ``n_samples`` samples, ``oversampling`` to a detector pixel, for a volume of ``shape``."""
    angles = np.deg2rad(tilt_deg)
    centre_z, centre_x = (shape[0] - 1) / 2, (shape[2] - 1) / 2
    reach = float(np.max(centre_x * np.abs(np.cos(angles)) + centre_z * np.abs(np.sin(angles))))
    nx_detector = n_samples // oversampling
    padding = line_padding(nx_detector, reach, oversampling)
    return LineGeometry(
        cosines=oversampling * np.cos(angles),
        sines=oversampling * np.sin(angles),
        origin=padding + oversampling * (nx_detector - 1) / 2,
        centre_z=centre_z,
        centre_x=centre_x,
        padding=padding,
        length=n_samples + 2 * padding,
    )


def line_padding(nx_detector: int, reach_pixels: float, oversampling: int) -> int:
    """Zeros at either end of a line: at least one, so that values fall off to 0 over one sample, as on a wide line."""
    return 1 + max(0, math.ceil(oversampling * (reach_pixels - (nx_detector - 1) / 2)))
