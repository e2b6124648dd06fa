"""Noise that is not equally strong everywhere in a tomogram.

Near the faces along x, the more so far from the middle plane, some tilts did not see the sample: fewer images were
summed there. Their number decides the variance of the noise and the strength of particles alike. With the noise divided
by its local deviation s, relative to the tomogram's, it has unit variance everywhere, and particles have the amplitude
``alpha s``. A tilt axis along y makes s a function of z and x, so that it is measured on whole lines along y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from cryodask.model.source import BlockSource

SMOOTH_VOXELS = 8.0
CLIP_DEVIATIONS = 2.5
"""Values beyond so many deviations of the whole are particles more often than noise."""
LEAST_LEVEL = 0.3


@dataclass(frozen=True, kw_only=True, eq=False)
class Levelled:
    """A volume (z, y, x) divided by the level of its noise, (z, x)."""

    inner: BlockSource
    level: npt.NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return np.dtype(np.float32)

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        here = self.level[region[0], region[2]].astype(np.float32)
        return np.asarray(self.inner.read(region), dtype=np.float32) / here[:, None, :]


def noise_level(whitened: BlockSource) -> npt.NDArray[np.float64]:
    """(z, x) local deviation over the tomogram's, its mean square 1; not below ``LEAST_LEVEL``."""
    volume = np.asarray(whitened.read((slice(None),) * 3), dtype=np.float32)
    limit = CLIP_DEVIATIONS * float(volume.std(dtype=np.float64))
    power = np.square(np.clip(volume, -limit, limit), dtype=np.float32).mean(axis=1, dtype=np.float64)
    smooth = gaussian_filter(power, SMOOTH_VOXELS, mode="nearest")
    level: npt.NDArray[np.float64] = np.maximum(np.sqrt(smooth / smooth.mean()), LEAST_LEVEL)
    return level
