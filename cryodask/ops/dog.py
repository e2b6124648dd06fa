"""Particles of one size without a reference: maxima of a difference of Gaussians."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cryodask.kernels.blobs import difference_of_gaussians, without_balls
from cryodask.kernels.peaks import extract_peaks, robust_z
from cryodask.model.source import BlockSource
from cryodask.ops.beads import whole_tomogram

WIDER = 1.6
"""Outer over inner Gaussian: the ratio at which the difference is closest to a Laplacian (Marr and Hildreth 1980)."""


def dog_peaks(
    image: BlockSource,
    beads: npt.NDArray[np.int64],
    *,
    dark: bool,
    diameter_voxels: float,
    threshold_z: float,
    max_picks: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Voxels (n, 3) and robust z-scores (n,) of the maxima at least a diameter apart; places of beads are left out."""
    volume = whole_tomogram(image, dark=dark)
    radius = diameter_voxels / 2
    nz, ny, nx = volume.shape
    volume = volume * without_balls((nz, ny, nx), beads, 9.0, 13.0)
    inner = radius / np.sqrt(3)
    answer = difference_of_gaussians(volume, inner, WIDER * inner)
    median, sigma = robust_z(answer)
    index, value = extract_peaks(
        answer,
        exclusion_radius_voxels=diameter_voxels,
        max_peaks=max_picks,
        threshold=median + threshold_z * sigma,
    )
    return index, (np.asarray(value, dtype=np.float64) - median) / sigma
