"""Tilt series of Gaussian blobs, exact by the convention of ``model/alignment.py``, and the volume they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from cryodask.io.mrc import write_volume
from cryodask.model.alignment import TiltAlignment

PIXEL = 4.0
SHAPE = (32, 48, 56)
"""Of the volume, (z, y, x)."""
SIGMA = 2.0
BLOBS = ((-12.0, -8.0, 6.0), (9.0, 13.0, -7.0), (14.0, -10.0, -3.0), (-5.0, 9.0, 9.0))
"""x, y, z in pixels from the centre."""
DEPTH = 0.02
"""Share of the electrons that a voxel in the middle of a blob takes away."""


def images(alignment: TiltAlignment, shape: tuple[int, int], mean: float = 200.0) -> npt.NDArray[np.float32]:
    """Raw images (tilt, y, x), dark blobs on a bright ground."""
    y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    series = np.empty((len(alignment), *shape), dtype=np.float32)
    for index in range(len(alignment)):
        t, a = np.radians(alignment.tilt_deg[index]), np.radians(alignment.x_tilt_deg[index])
        inverse = np.linalg.inv(alignment.matrix_xy[index])
        raw = np.stack([x - alignment.shift_x_px[index], y - alignment.shift_y_px[index]])
        u, v = np.einsum("ij,j...->i...", inverse, raw)
        shadow = np.zeros(shape)
        for bx, by, bz in BLOBS:
            at_u = bx * np.cos(t) + (by * np.sin(a) + bz * np.cos(a)) * np.sin(t)
            at_v = by * np.cos(a) - bz * np.sin(a)
            shadow += np.exp(-((u - at_u) ** 2 + (v - at_v) ** 2) / (2 * SIGMA**2))
        series[index] = mean * (1 - DEPTH * SIGMA * np.sqrt(2 * np.pi) * shadow)
    return series


def write_stack(path: Path, alignment: TiltAlignment, shape: tuple[int, int] = SHAPE[1:], mean: float = 200.0) -> Path:
    """An MRC stack as a microscope's software writes it."""
    write_volume(path, images(alignment, shape, mean), PIXEL, stack=True)
    return path


def places(volume: npt.NDArray[np.floating], binning: int = 1) -> npt.NDArray[np.float64]:
    """Where the blobs are found, (x, y, z) in unbinned pixels from the centre: centroids of what is dark nearby."""
    dark = -np.asarray(volume, dtype=np.float64)
    found = []
    for blob in BLOBS:
        middle = [round(c / binning + (n - 1) / 2) for c, n in zip(reversed(blob), volume.shape, strict=True)]
        reach = 5 if binning == 1 else 3
        starts = [max(0, m - reach) for m in middle]
        box = dark[tuple(slice(s, m + reach + 1) for s, m in zip(starts, middle, strict=True))]
        weight = np.clip(box - 0.4 * box.max(), 0, None)
        axes = np.indices(box.shape)
        at = [float((axis * weight).sum() / weight.sum()) + s for axis, s in zip(axes, starts, strict=True)]
        found.append([(p - (n - 1) / 2) * binning for p, n in zip(at, volume.shape, strict=True)][::-1])
    return np.array(found)


def relative_l2(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Distance of ``one`` from ``other``, as a share of the latter's norm."""
    a, b = (np.asarray(v, dtype=np.float64) for v in (one, other))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
