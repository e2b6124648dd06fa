"""Back-projection when the sample is also tilted about x: a slice then takes its rows from further up or down.

With the images resampled as ``x_tilt_matrix`` says, a voxel (x, y, z) from the centre takes row y - z tan(x_tilt) at
the position x cos(tilt) + z sin(tilt) / cos(x_tilt). So a slab of rows needs some rows more on either side.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, device_of, fast_path, namespace
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.detector_lines import line_padding
from cryodask.kernels.shear_geometry import ShearGeometry

Floats = npt.NDArray[np.float64]

_NEIGHBOURS = 2
"""Rows on either side that the cubic interpolation between rows reads."""


def x_tilt_matrix(tilt_deg: float, x_tilt_deg: float) -> Floats:
    """(2, 2) matrix from (u', v') of the image that ``backproject_sheared`` takes to (u, v) of the upright one.

    From u = x cos t + (y sin a + z cos a) sin t and v = y cos a - z sin a follows, with v' = v / cos a and
    u' = u - v' sin a sin t, that v' = y - z tan a and u' = x cos t + z sin t / cos a.
    """
    tilt, x_tilt = math.radians(tilt_deg), math.radians(x_tilt_deg)
    return np.array([[1.0, math.sin(x_tilt) * math.sin(tilt)], [0.0, math.cos(x_tilt)]])


def halo_rows(x_tilt_deg: npt.ArrayLike, nz: int) -> int:
    """Rows on either side of a slab that its slices need: 0 without an x tilt."""
    slope = float(np.max(np.abs(np.tan(np.radians(np.asarray(x_tilt_deg, dtype=np.float64))))))
    return 0 if slope == 0 else math.ceil(slope * (nz - 1) / 2) + _NEIGHBOURS


def backproject_sheared(
    filtered_tilts: Array,
    tilt_deg: npt.ArrayLike,
    x_tilt_deg: npt.ArrayLike,
    *,
    shape: tuple[int, int, int],
    halo: int,
    weights: npt.ArrayLike,
    oversampling: int = 1,
) -> Array:
    """``backproject`` for tilts with an x tilt each; rows are interpolated by cubic convolution (Keys 1981).

    Args:
        filtered_tilts: (n_tilts, ny + 2 * halo, oversampling * n_detector), float32 or float64; ``halo`` rows above
            and below those of the volume, 0 where the images end.
        tilt_deg: (n_tilts,) degrees.
        x_tilt_deg: (n_tilts,) degrees.
        shape: (nz, ny, nx) of the volume.
        halo: at least ``halo_rows(x_tilt_deg, nz)``.
        weights: (n_tilts,) factor of each tilt.
        oversampling: samples to a detector pixel.

    Returns:
        (nz, ny, nx) volume, dtype and library of ``filtered_tilts``.

    Raises:
        ConfigError: numbers that do not fit the tilts, or too small a halo.
        DataError: ``filtered_tilts`` is not a float32 or float64 array with three axes.
    """
    xp = namespace(filtered_tilts)
    if filtered_tilts.ndim != 3 or filtered_tilts.dtype not in (xp.float32, xp.float64):
        raise DataError(f"filtered tilts are float32 or float64 (tilt, y, x), got {filtered_tilts.dtype}")
    geometry = _geometry(filtered_tilts.shape, tilt_deg, x_tilt_deg, weights, shape, halo, oversampling)
    if fast_path(filtered_tilts) == "numba":
        from cryodask.kernels.fast.sheared_backprojection import backproject_sheared_rows

        return backproject_sheared_rows(filtered_tilts, geometry, shape)
    return _portable(filtered_tilts, geometry, shape)


def _geometry(
    tilts_shape: tuple[int, ...],
    tilt_deg: npt.ArrayLike,
    x_tilt_deg: npt.ArrayLike,
    weights: npt.ArrayLike,
    shape: tuple[int, int, int],
    halo: int,
    oversampling: int,
) -> ShearGeometry:
    n_tilts, rows, n_samples = tilts_shape
    angles, x_angles, factors = (np.asarray(v, dtype=np.float64) for v in (tilt_deg, x_tilt_deg, weights))
    for values in (angles, x_angles, factors):
        if values.shape != (n_tilts,) or not np.all(np.isfinite(values)):
            raise ConfigError(f"{n_tilts} tilts need one finite angle, x tilt and weight each, got {values.tolist()}")
    if rows != shape[1] + 2 * halo or halo < halo_rows(x_angles, shape[0]) or n_samples % oversampling:
        raise ConfigError(
            f"lines of shape {tilts_shape} do not fit a volume of {shape} with {halo} rows more on either side, "
            f"{halo_rows(x_angles, shape[0])} of which are needed"
        )
    tilt, x_tilt = np.radians(angles), np.radians(x_angles)
    cosines, sines = oversampling * np.cos(tilt), oversampling * np.sin(tilt) / np.cos(x_tilt)
    reach = float(np.max(np.abs(cosines) * (shape[2] - 1) / 2 + np.abs(sines) * (shape[0] - 1) / 2)) / oversampling
    padding = line_padding(n_samples // oversampling, reach, oversampling)
    return ShearGeometry(
        cosines=cosines,
        sines=sines,
        slopes=np.tan(x_tilt),
        weights=factors,
        origin=padding + oversampling * (n_samples // oversampling - 1) / 2,
        padding=padding,
        length=n_samples + 2 * padding,
        halo=halo,
    )


def cubic_weights(fraction: float) -> tuple[float, float, float, float]:
    """Weights of the rows -1, 0, 1, 2 for a position ``fraction`` of the way from row 0 to row 1."""
    f = fraction
    return (
        -0.5 * f + f**2 - 0.5 * f**3,
        1 - 2.5 * f**2 + 1.5 * f**3,
        0.5 * f + 2 * f**2 - 1.5 * f**3,
        -0.5 * f**2 + 0.5 * f**3,
    )


def _portable(tilts: Array, geometry: ShearGeometry, shape: tuple[int, int, int]) -> Array:
    xp, device = namespace(tilts), device_of(tilts)
    nz, ny, nx = shape
    n_samples = tilts.shape[2]
    volume = xp.zeros(shape, dtype=tilts.dtype, device=device)
    lines = xp.zeros((ny, geometry.length), dtype=tilts.dtype, device=device)
    across = xp.arange(nx, dtype=xp.float64, device=device) - (nx - 1) / 2
    inside = slice(geometry.padding, geometry.padding + n_samples)
    for tilt in range(tilts.shape[0]):
        for z in range(nz):
            depth = z - (nz - 1) / 2
            row = -depth * float(geometry.slopes[tilt])
            first = geometry.halo + math.floor(row) - 1
            factors = [part * float(geometry.weights[tilt]) for part in cubic_weights(row - math.floor(row))]
            total = tilts[tilt, first : first + ny, :] * factors[0]
            for step in (1, 2, 3):
                total = total + tilts[tilt, first + step : first + step + ny, :] * factors[step]
            lines[:, inside] = total
            positions = geometry.origin + depth * float(geometry.sines[tilt]) + across * float(geometry.cosines[tilt])
            lower = xp.astype(xp.floor(positions), xp.int64)
            fraction = xp.astype(positions - xp.astype(lower, xp.float64), tilts.dtype)
            values = xp.take(lines, lower, axis=1) * (1 - fraction)
            volume[z, :, :] += values + xp.take(lines, lower + 1, axis=1) * fraction
    return volume
