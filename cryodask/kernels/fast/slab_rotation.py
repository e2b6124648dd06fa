"""Compiled slab rotation: everything works on whole rows along y, contiguous in memory.

The weights of one output element are gathered once and used for its whole row; the spline is fitted row after row.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]


@numba.njit(cache=True, nogil=True)
def rotate(
    coefficients: Floats,
    cos_tilt: float,
    sin_tilt: float,
    slice_voxels: int,
    centre_x: float,
    centre_z: float,
    out: Floats,
) -> None:
    """Fill ``out`` (slice, x', y) from ``coefficients`` (x, z, y), both C-contiguous and of one dtype.

    The cubic B-spline taps of the ``slice_voxels`` points of an output element overlap: they are summed in a small
    window first, so that each coefficient row is read once. Rows along y never mix and terms are added in a fixed
    order, which makes the result of a y-block that of the whole, bit for bit.
    """
    nx, nz, _ny = coefficients.shape
    slices, width, _ = out.shape
    side = slice_voxels + 5
    window = np.zeros((side, side), np.float64)
    wx = np.empty(4, np.float64)
    wz = np.empty(4, np.float64)
    taps_x = np.empty(side * side, np.int64)
    taps_z = np.empty(side * side, np.int64)
    taps_w = np.empty(side * side, coefficients.dtype)
    first_h = -0.5 * (slices * slice_voxels - 1)
    for s in range(slices):
        for column in range(width):
            u = column - 0.5 * (width - 1)
            start_h = first_h + s * slice_voxels
            end_h = start_h + slice_voxels - 1
            start_x = u * cos_tilt - start_h * sin_tilt + centre_x
            start_z = u * sin_tilt + start_h * cos_tilt + centre_z
            end_x = u * cos_tilt - end_h * sin_tilt + centre_x
            end_z = u * sin_tilt + end_h * cos_tilt + centre_z
            low_x = int(np.floor(min(start_x, end_x))) - 1
            low_z = int(np.floor(min(start_z, end_z))) - 1
            size_x = int(np.floor(max(start_x, end_x))) + 3 - low_x
            size_z = int(np.floor(max(start_z, end_z))) + 3 - low_z
            row = out[s, column]
            row[:] = 0
            if low_x >= nx or low_z >= nz or low_x + size_x <= 0 or low_z + size_z <= 0:
                continue
            window[:size_x, :size_z] = 0.0
            for j in range(slice_voxels):
                h = start_h + j
                x = u * cos_tilt - h * sin_tilt + centre_x
                z = u * sin_tilt + h * cos_tilt + centre_z
                floor_x = np.floor(x)
                floor_z = np.floor(z)
                _cubic_weights(x - floor_x, wx)
                _cubic_weights(z - floor_z, wz)
                at_x = int(floor_x) - 1 - low_x
                at_z = int(floor_z) - 1 - low_z
                for a in range(4):
                    for b in range(4):
                        window[at_x + a, at_z + b] += wx[a] * wz[b]
            count = 0
            for a in range(max(0, -low_x), min(size_x, nx - low_x)):
                for b in range(max(0, -low_z), min(size_z, nz - low_z)):
                    if window[a, b] != 0.0:
                        taps_x[count] = low_x + a
                        taps_z[count] = low_z + b
                        taps_w[count] = window[a, b] / slice_voxels
                        count += 1
            _add_rows(coefficients, taps_x, taps_z, taps_w, count, row)


@numba.njit(cache=True, nogil=True)
def fit_spline(volume: Floats) -> None:
    """Turn a volume (x, z, y), zero in its outermost voxels, into its cubic B-spline coefficients along x and z."""
    nx, nz, ny = volume.shape
    _fit_rows(volume.reshape(nx, nz * ny))
    for x in range(nx):
        _fit_rows(volume[x])


@numba.njit(cache=True, nogil=True)
def _fit_rows(rows: Floats) -> None:
    """In place along the first axis: the recursive filter with the pole sqrt(3) - 2, forward and back, and the gain 6.

    Starting the forward pass at a zero sample needs no sum over the mirrored signal; the start of the backward pass is
    that of a mirrored one.
    """
    n, m = rows.shape
    pole = rows.dtype.type(np.sqrt(3.0) - 2.0)
    gain = rows.dtype.type(6.0)
    last = rows.dtype.type(pole / (pole * pole - 1.0))
    for j in range(m):
        rows[0, j] *= gain
    for k in range(1, n):
        for j in range(m):
            rows[k, j] = gain * rows[k, j] + pole * rows[k - 1, j]
    for j in range(m):
        rows[n - 1, j] = last * (rows[n - 1, j] + pole * rows[n - 2, j])
    for k in range(n - 2, -1, -1):
        for j in range(m):
            rows[k, j] = pole * (rows[k + 1, j] - rows[k, j])


@numba.njit(cache=True, nogil=True)
def _cubic_weights(fraction: float, weights: Floats) -> None:
    rest = 1.0 - fraction
    weights[0] = rest * rest * rest / 6.0
    weights[1] = (4.0 - 6.0 * fraction * fraction + 3.0 * fraction * fraction * fraction) / 6.0
    weights[2] = (4.0 - 6.0 * rest * rest + 3.0 * rest * rest * rest) / 6.0
    weights[3] = fraction * fraction * fraction / 6.0


@numba.njit(cache=True, nogil=True)
def _add_rows(
    coefficients: Floats,
    taps_x: npt.NDArray[np.int64],
    taps_z: npt.NDArray[np.int64],
    taps_w: Floats,
    count: int,
    row: Floats,
) -> None:
    """row += sum of weight times coefficient row; four taps a pass spare loads and stores, the order stays."""
    ny = row.shape[0]
    whole = count - count % 4
    for p in range(0, whole, 4):
        w0, w1, w2, w3 = taps_w[p], taps_w[p + 1], taps_w[p + 2], taps_w[p + 3]
        c0 = coefficients[taps_x[p], taps_z[p]]
        c1 = coefficients[taps_x[p + 1], taps_z[p + 1]]
        c2 = coefficients[taps_x[p + 2], taps_z[p + 2]]
        c3 = coefficients[taps_x[p + 3], taps_z[p + 3]]
        for y in range(ny):
            row[y] = row[y] + w0 * c0[y] + w1 * c1[y] + w2 * c2[y] + w3 * c3[y]
    for p in range(whole, count):
        w0 = taps_w[p]
        c0 = coefficients[taps_x[p], taps_z[p]]
        for y in range(ny):
            row[y] = row[y] + w0 * c0[y]
