"""Back-projection by the formulas of ``TiltAlignment`` alone: every voxel looked up on the raw images.

Slow and general: an oracle for the pipeline, which resamples each image once and then works in rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from cryodask.kernels.ramp import angular_shares
from cryodask.model.alignment import TiltAlignment

Floats = npt.NDArray[np.float64]
FINER = 2
"""Samples to a raw pixel, so that cubic interpolation errs little."""


def affine_backprojection(
    images: npt.NDArray[np.floating], alignment: TiltAlignment, shape: tuple[int, int, int]
) -> Floats:
    """(z, y, x) volume of contrast images (tilt, y, x) as they were taken; excluded ones are left out."""
    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    used = alignment.used
    volume = np.zeros(shape)
    for share, index in zip(angular_shares(alignment.tilt_deg[used]), used, strict=True):
        tilt, x_tilt = np.radians(alignment.tilt_deg[index]), np.radians(alignment.x_tilt_deg[index])
        u = x * np.cos(tilt) + (y * np.sin(x_tilt) + z * np.cos(x_tilt)) * np.sin(tilt)
        v = y * np.cos(x_tilt) - z * np.sin(x_tilt)
        (a, b), (c, d) = alignment.matrix_xy[index]
        ny, nx = images.shape[1:]
        raw_x = a * u + b * v + alignment.shift_x_px[index] + (nx - 1) / 2
        raw_y = c * u + d * v + alignment.shift_y_px[index] + (ny - 1) / 2
        # Frequencies of the aligned image along u, by those of the raw one: q_u = q . (a, c).
        fine = _ramp_filtered(np.asarray(images[index], dtype=np.float64), (a, c))
        places = [FINER * (raw_y + ny), FINER * (raw_x + nx)]
        volume += share * scipy.ndimage.map_coordinates(fine, places, order=3, mode="constant")
    return volume


def _ramp_filtered(image: Floats, along: tuple[float, float]) -> Floats:
    """The image in the middle of one three times as large, |q_u| filtered, at FINER samples a pixel."""
    ny, nx = image.shape
    padded = np.pad(image, ((ny, ny), (nx, nx)))
    qy, qx = np.meshgrid(np.fft.fftfreq(3 * ny), np.fft.fftfreq(3 * nx), indexing="ij")
    spectrum = np.fft.fftshift(np.fft.fft2(padded) * np.abs(qx * along[0] + qy * along[1]))
    high, wide = FINER * 3 * ny, FINER * 3 * nx
    centred = np.zeros((high, wide), complex)
    top, left = high // 2 - 3 * ny // 2, wide // 2 - 3 * nx // 2
    centred[top : top + 3 * ny, left : left + 3 * nx] = spectrum
    return np.asarray(np.fft.ifft2(np.fft.ifftshift(centred)).real * FINER**2)
