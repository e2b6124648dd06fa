"""Back-projection of a filtered tilt series with the tilt axis along y: every y row of the volume stands alone."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, device_of, fast_path, namespace
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.detector_lines import LineGeometry, line_geometry, line_padding
from cryodask.kernels.ramp import angular_shares

LANES = 32
"""Rows that the compiled path works on at once (its ``LANES``); slabs of a multiple of this many rows are fastest."""

_FILL_UP_TILTS = 3
"""Tilts, at most, that the compiled path adds to complete its last group."""

_PORTABLE_BLOCK = 2**21
"""Voxels that the portable path gathers at once: 8 MiB in single precision, enough to hide the cost of a call."""

_GATHER_TEMPORARIES = 5
"""Arrays of that many voxels that the portable path holds at once, at most; see ``_interpolate``."""


def backproject(
    filtered_tilts: Array,
    tilt_deg: npt.ArrayLike,
    *,
    shape: tuple[int, int, int],
    weights: npt.ArrayLike | None = None,
    oversampling: int = 1,
) -> Array:
    """Sum of the tilts, each smeared back along its beam: the density, if the lines come from ``filter_tilts``.

    Voxel (z, y, x) takes from each tilt the value of row y at detector position u = x cos(tilt) + z sin(tilt), with
    x, z and u counted from the centres (n - 1) / 2 of volume and detector, by linear interpolation between samples.
    The detector sees nothing beyond its edges: samples there are 0. As rows are independent and each voxel adds the
    tilts in the order given, a slab of rows gives the very bits that the whole volume has there.

    Args:
        filtered_tilts: (n_tilts, ny, oversampling * n_detector), float32 or float64.
        tilt_deg: (n_tilts,) tilt angles in degrees.
        shape: (nz, ny, nx) of the volume; ny is that of the tilts.
        weights: (n_tilts,) factor of each tilt, by default its angular share in radians. A tilt that is excluded must
            be left out of both lists, so that its neighbours take over its share; weight 0 would leave a gap.
        oversampling: samples to a detector pixel, as given to ``filter_tilts``.

    Returns:
        (nz, ny, nx) volume, dtype, library and device of ``filtered_tilts``. ``backproject_bytes`` tells the memory.

    Raises:
        ConfigError: angles, weights or shape that do not fit the tilts, or that are not finite.
        DataError: ``filtered_tilts`` is not a float32 or float64 array with three axes.
    """
    angles = _checked_angles(filtered_tilts, tilt_deg)
    factors = _checked_weights(angles, weights)
    _check_shape(filtered_tilts, shape, oversampling)
    geometry = line_geometry(angles, filtered_tilts.shape[2], shape=shape, oversampling=oversampling)
    path = fast_path(filtered_tilts)
    if path == "cuda":
        from cryodask.kernels.fast.cuda_backprojection import backproject_on_device

        return backproject_on_device(filtered_tilts, factors, geometry, shape)
    if path == "numba":
        from cryodask.kernels.fast.backprojection import backproject_rows

        return backproject_rows(filtered_tilts, factors, geometry, shape)
    return _backproject_portable(filtered_tilts, factors, geometry, shape)


def backproject_bytes(
    n_tilts: int, slab_rows: int, nx_detector: int, nz: int, nx: int, *, oversampling: int = 1, itemsize: int = 4
) -> int:
    """Most bytes that ``backproject`` allocates for a slab, on whichever path and at whatever tilt angles.

    Counted are the volume of the slab, nz * slab_rows * nx, and the temporaries: for the compiled path the padded
    lines of 32 rows of all tilts, for the portable one a tilt's padded rows and the voxels gathered at once. The
    filtered tilts that the caller holds, n_tilts * slab_rows * oversampling * nx_detector, come on top.
    """
    padding = line_padding(nx_detector, math.hypot((nz - 1) / 2, (nx - 1) / 2), oversampling)
    length = oversampling * nx_detector + 2 * padding
    compiled = (n_tilts + _FILL_UP_TILTS) * length * LANES * itemsize
    plane = slab_rows * nx
    block = min(nz, max(1, _PORTABLE_BLOCK // plane))
    positions = 6 * 8 * block * nx
    portable = (slab_rows * (2 * length + nx_detector * oversampling) + _GATHER_TEMPORARIES * block * plane) * itemsize
    scratch = 2**16
    return nz * plane * itemsize + max(compiled, portable + positions) + scratch


def _backproject_portable(
    tilts: Array, weights: npt.NDArray[np.float64], geometry: LineGeometry, shape: tuple[int, int, int]
) -> Array:
    xp, device = namespace(tilts), device_of(tilts)
    nz, ny, nx = shape
    n_samples = tilts.shape[2]
    volume = xp.zeros(shape, dtype=tilts.dtype, device=device)
    lines = xp.zeros((ny, geometry.length), dtype=tilts.dtype, device=device)
    depths = xp.arange(nz, dtype=xp.float64, device=device) - geometry.centre_z
    across = xp.arange(nx, dtype=xp.float64, device=device) - geometry.centre_x
    block = max(1, _PORTABLE_BLOCK // (ny * nx))
    for tilt, weight in enumerate(weights):
        lines[:, geometry.padding : geometry.padding + n_samples] = tilts[tilt, :, :] * float(weight)
        starts = geometry.origin + depths * float(geometry.sines[tilt])
        steps = across * float(geometry.cosines[tilt])
        for first in range(0, nz, block):
            last = min(nz, first + block)
            positions = starts[first:last, None] + steps[None, :]
            volume[first:last, :, :] += _interpolate(lines, positions)
    return volume


def _interpolate(lines: Array, positions: Array) -> Array:
    """Values (nz, ny, nx) of ``lines`` (ny, length) at the ``positions`` (nz, nx), in between samples linearly."""
    xp = namespace(lines)
    nz, nx = positions.shape
    lower = xp.astype(xp.floor(positions), xp.int64)
    fraction = positions - xp.astype(lower, xp.float64)
    near = xp.reshape(xp.astype(1 - fraction, lines.dtype), (-1,))
    far = xp.reshape(xp.astype(fraction, lines.dtype), (-1,))
    lower = xp.reshape(lower, (-1,))
    values = xp.take(lines, lower, axis=1) * near
    values += xp.take(lines, lower + 1, axis=1) * far
    return xp.permute_dims(xp.reshape(values, (lines.shape[0], nz, nx)), (1, 0, 2))


def _checked_angles(tilts: Array, tilt_deg: npt.ArrayLike) -> npt.NDArray[np.float64]:
    xp = namespace(tilts)
    if tilts.ndim != 3 or tilts.dtype not in (xp.float32, xp.float64):
        raise DataError(
            f"filtered tilts are float32 or float64 with axes (tilt, y, x), got {tilts.dtype} {tilts.shape}"
        )
    angles = np.asarray(tilt_deg, dtype=np.float64)
    if angles.shape != (tilts.shape[0],):
        raise ConfigError(f"{tilts.shape[0]} tilts need one angle each, got tilt angles of shape {angles.shape}")
    if not np.all(np.isfinite(angles)):
        raise ConfigError(f"tilt angles must be finite, got {angles.tolist()}")
    return angles


def _checked_weights(angles: npt.NDArray[np.float64], weights: npt.ArrayLike | None) -> npt.NDArray[np.float64]:
    if weights is None:
        return angular_shares(angles)
    factors = np.asarray(weights, dtype=np.float64)
    if factors.shape != angles.shape or not np.all(np.isfinite(factors)):
        raise ConfigError(f"{angles.size} tilts need one finite weight each, got {factors.tolist()}")
    return factors


def _check_shape(tilts: Array, shape: tuple[int, int, int], oversampling: int) -> None:
    if oversampling != int(oversampling) or oversampling < 1 or tilts.shape[2] % oversampling:
        raise ConfigError(f"lines of {tilts.shape[2]} samples do not hold {oversampling!r} samples to each pixel")
    if len(tuple(shape)) != 3 or min(shape) < 1:
        raise ConfigError(f"the volume's shape is (nz, ny, nx) with sizes of 1 or more, got {shape}")
    if shape[1] != tilts.shape[1]:
        raise ConfigError(f"rows map one to one: a volume of {shape[1]} rows does not fit tilts of {tilts.shape[1]}")
