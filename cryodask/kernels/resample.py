"""Rotation of a volume about its centre onto another grid, by spline interpolation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, capabilities, fast_path
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.fourier import irfftn, radius, rfftn


def spline_coefficients(volume: Array) -> Array:
    """Coefficients of the cubic B-spline through ``volume`` (z, y, x), to be computed once for many rotations."""
    coefficients = volume
    for axis in range(3):
        coefficients = capabilities(volume).spline_filter1d(coefficients, axis)
    return coefficients


def rotate_volume(
    volume: Array,
    matrix_xyz: npt.ArrayLike,
    *,
    output_shape: tuple[int, int, int],
    zoom: float = 1.0,
    centre_offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
    order: int = 3,
    prefilter: bool = True,
) -> Array:
    """Show the rotated object on a grid of its own: ``out(r) = volume(R^-1 r)``, r from the centres (N - 1) / 2.

    Parameters
    ----------
    volume
        (z, y, x), real. With ``prefilter=False`` and order 3: its ``spline_coefficients``.
    matrix_xyz
        (3, 3) rotation R acting on (x, y, z).
    output_shape
        (z, y, x) of the result.
    zoom
        Voxel size of the result divided by that of ``volume``. Above 1 the volume has to be low-passed before.
    centre_offset
        (z, y, x), in output voxels: where the object's centre lies relative to the centre of the output.
    order
        1 (trilinear) or 3 (cubic B-spline).
    prefilter
        Whether ``volume`` holds values (True) or, for order 3, spline coefficients (False).

    Positions outside the input are 0. The result has the dtype of ``volume``.

    Raises
    ------
    ConfigError
        ``order``, ``zoom``, ``output_shape`` or the shape of ``matrix_xyz`` is not usable.
    DataError
        ``volume`` is not three-dimensional.
    """
    _require_usable(volume, output_shape, zoom, order)
    matrix, offset = _index_map(matrix_xyz, volume.shape, output_shape, zoom, centre_offset)
    if order == 3 and prefilter:
        volume = spline_coefficients(volume)
    if fast_path(volume) == "numba" and volume.dtype.kind == "f" and min(volume.shape) > 1:
        from cryodask.kernels.fast.resample import affine_cubic, affine_linear

        resample = affine_cubic if order == 3 else affine_linear
        output = np.empty(output_shape, dtype=volume.dtype)
        resample(np.ascontiguousarray(volume), matrix, offset, output)
        return output
    return capabilities(volume).affine_transform(volume, matrix, offset, output_shape, order, False)


def _index_map(
    matrix_xyz: npt.ArrayLike,
    input_shape: tuple[int, ...],
    output_shape: tuple[int, int, int],
    zoom: float,
    centre_offset: tuple[float, float, float],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Matrix and offset of: input index = matrix @ output index + offset, indices in the order of the array's axes."""
    rotation = np.asarray(matrix_xyz, dtype=np.float64)
    if rotation.shape != (3, 3) or not np.all(np.isfinite(rotation)):
        raise ConfigError(f"matrix_xyz must be a finite (3, 3) rotation matrix, got {matrix_xyz!r}")
    # Reversing both axes of R^-1 = R^T lets it act on (z, y, x).
    matrix = np.ascontiguousarray(zoom * rotation.T[::-1, ::-1])
    input_centre = (np.asarray(input_shape, dtype=np.float64) - 1) / 2
    object_centre = (np.asarray(output_shape, dtype=np.float64) - 1) / 2 + np.asarray(centre_offset, dtype=np.float64)
    return matrix, input_centre - matrix @ object_centre


def _require_usable(volume: Array, output_shape: tuple[int, ...], zoom: float, order: int) -> None:
    if volume.ndim != 3:
        raise DataError(f"a volume (z, y, x) is needed, got an array of shape {tuple(volume.shape)}")
    if order not in (1, 3):
        raise ConfigError(f"order={order!r} is not supported; use 3 (cubic spline) or 1 (trilinear)")
    if not (math.isfinite(zoom) and zoom > 0):
        raise ConfigError(f"zoom={zoom!r} must be a positive number (output voxel size / input voxel size)")
    if len(output_shape) != 3 or min(output_shape) < 1:
        raise ConfigError(f"output_shape={output_shape!r} must be three positive sizes (z, y, x)")


def averaged(volume: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """A cube on voxels ``factor`` times as wide: low-passed to what they can hold, and averaged over each. Host only.

    The centre of the cube lies in the middle of a voxel, to half a fine voxel; outside the cube is 0.
    """
    side = volume.shape[0]
    blocks = 2 * (side // (2 * factor)) + 3  # odd, and room on both sides
    before = (blocks * factor - side) // 2
    padded = np.pad(volume, (before, blocks * factor - side - before))
    k = radius(padded.shape, 1.0, padded, real=True)
    smooth = irfftn(rfftn(padded) * (k < 0.5 / factor), padded.shape)
    coarse: npt.NDArray[np.float32] = smooth.reshape((blocks, factor) * 3).mean(axis=(1, 3, 5))
    return coarse
