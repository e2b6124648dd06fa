"""Gold beads of a tomogram, and the volume without them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.kernels.blobs import Blobs, find_blobs
from cryodask.model.source import BlockSource

Volume = npt.NDArray[np.float32]
Beads = Blobs

SCALES = 9
"""Of the Laplacian, evenly spaced in the logarithm of sigma."""


def whole_tomogram(image: BlockSource, *, dark: bool) -> Volume:
    """All of a tomogram with particles bright and a median of 0; DataError where it has values that are not finite."""
    volume = np.asarray(image.read((slice(None),) * 3), dtype=np.float32)
    bad = int(np.count_nonzero(~np.isfinite(volume)))
    if bad:
        raise DataError(
            f"the tomogram has {bad} voxels that are NaN or infinite: replace them by the mean of their surroundings, "
            "or cut them off"
        )
    if not float(volume.std(dtype=np.float64)) > 0:
        raise DataError("the tomogram is constant: there is nothing to pick")
    volume = volume - np.float32(np.median(volume))
    return -volume if dark else volume


def find_beads(image: BlockSource, *, dark: bool, sigma_voxels: tuple[float, float], threshold_z: float) -> Beads:
    """Beads whose Laplacian, at any scale of the range, exceeds so many of its robust standard deviations."""
    low, high = sigma_voxels
    return find_blobs(whole_tomogram(image, dark=dark), np.geomspace(low, high, SCALES).tolist(), threshold_z)


def far_from_beads(
    index: npt.NDArray[np.int64], beads: npt.NDArray[np.int64], distance_voxels: npt.ArrayLike
) -> npt.NDArray[np.bool_]:
    """(n,) which voxels (n, 3) have no bead (m, 3) within their distance (n,) or one for all."""
    if not len(beads):
        return np.ones(len(index), dtype=bool)
    apart = np.linalg.norm(index[:, None, :] - beads[None, :, :], axis=2).min(axis=1)
    return np.asarray(apart >= np.asarray(distance_voxels), dtype=bool)
