"""What both paths of ``sheared_backprojection`` need to know of a tilt series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ShearGeometry:
    """Where slices find their rows and voxels their samples, for every tilt; see ``sheared_backprojection``."""

    cosines: Floats
    """(n_tilts,) samples along the line a voxel in x."""
    sines: Floats
    """(n_tilts,) samples a voxel in z."""
    slopes: Floats
    """(n_tilts,) rows a voxel in z."""
    weights: Floats
    origin: float
    """Sample of the volume's centre, padding included."""
    padding: int
    length: int
    halo: int
