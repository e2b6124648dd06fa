"""An image of a tilt series as it would look with the tilt axis upright in its middle: resampled once, and well."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, as_device_array, capabilities, device_of, namespace
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.fourier import fourier_shift

SPLINE_ORDER = 5
"""Quintic: on average over positions, waves of half Nyquist lose 0.14 % of their amplitude, by a cubic 1.4 %."""

_NO_SHIFT_PX = 1e-9

_NO_ROTATION = 1e-7
"""Matrices that close to the identity move no pixel of any camera by more than a thousandth."""


def align_image(
    image: Array,
    *,
    matrix_xy: npt.ArrayLike,
    shift_y_px: float,
    shift_x_px: float,
    output_shape: tuple[int, int],
) -> Array:
    """Show at (u, v) what ``image`` has at ``matrix_xy (u, v) + shift``, all counted from the centres (n - 1) / 2.

    Without rotation the image moves in Fourier space, which loses nothing; else by quintic splines. What lies outside
    the image is 0, so its mean should be 0 and its edges tapered.

    Args:
        image: (y, x), float32 or float64.
        matrix_xy: (2, 2), from aligned (u, v) to raw (x, y), in pixels.
        shift_y_px: where the aligned centre lies in ``image``.
        shift_x_px: the same along x.
        output_shape: (y, x) of the result.

    Raises:
        DataError: ``image`` has not two axes.
        ConfigError: the matrix, the shifts or the shape cannot be used.
    """
    matrix = np.asarray(matrix_xy, dtype=np.float64)
    if image.ndim != 2:
        raise DataError(f"an image (y, x) is needed, got an array of shape {tuple(image.shape)}")
    if matrix.shape != (2, 2) or not np.all(np.isfinite(matrix)) or min(output_shape) < 1:
        raise ConfigError(f"cannot align an image by {matrix.tolist()} to the shape {output_shape}")
    if not (math.isfinite(shift_y_px) and math.isfinite(shift_x_px)):
        raise ConfigError(f"shifts must be finite, got {shift_y_px!r} and {shift_x_px!r}")
    if np.abs(matrix - np.eye(2)).max() <= _NO_ROTATION:
        return _moved(image, (shift_y_px, shift_x_px), output_shape)
    return _resampled(image, matrix, (shift_y_px, shift_x_px), output_shape)


def _moved(image: Array, shifts: tuple[float, float], shape: tuple[int, int]) -> Array:
    """By a Fourier shift, after which the new frame holds whole pixels of the old one."""
    starts, rests = whole_and_rest((image.shape[0], image.shape[1]), shifts, shape)
    if any(rests):
        image = fourier_shift(image, -rests[0], -rests[1])
    return frame(image, starts, shape)


def whole_and_rest(
    shape: tuple[int, int], shifts: tuple[float, float], output_shape: tuple[int, int]
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Whole pixels and what is left of them, (y, x): pixel i of the result shows pixel i + whole + rest of the image.

    ``shifts`` say where the result's centre lies from the image's centre.
    """
    starts, rests = [], []
    for n, shift, m in zip(shape, shifts, output_shape, strict=True):
        first = (n - 1) / 2 + shift - (m - 1) / 2
        start = math.floor(first + 0.5)
        starts.append(start)
        rests.append(0.0 if abs(first - start) < _NO_SHIFT_PX else first - start)
    return (starts[0], starts[1]), (rests[0], rests[1])


def frame(image: Array, starts: tuple[int, int], shape: tuple[int, int]) -> Array:
    """``shape`` pixels from ``starts`` on, 0 outside of ``image``."""
    if starts == (0, 0) and tuple(image.shape) == tuple(shape):
        return image
    xp = namespace(image)
    framed = xp.zeros(shape, dtype=image.dtype, device=device_of(image))
    source, target = [], []
    for axis, start in enumerate(starts):
        low, high = max(start, 0), min(start + shape[axis], image.shape[axis])
        if low >= high:
            return framed
        source.append(slice(low, high))
        target.append(slice(low - start, high - start))
    framed[target[0], target[1]] = image[source[0], source[1]]
    return framed


def _resampled(
    image: Array, matrix: npt.NDArray[np.float64], shifts: tuple[float, float], shape: tuple[int, int]
) -> Array:
    rows_first = np.ascontiguousarray(matrix[::-1, ::-1])
    centre_in, centre_out = ((np.array(s, dtype=np.float64) - 1) / 2 for s in (image.shape, shape))
    offset = centre_in + np.array(shifts) - rows_first @ centre_out
    arguments = (as_device_array(rows_first, image), as_device_array(offset, image))
    return capabilities(image).affine_transform(image, *arguments, shape, SPLINE_ORDER, True)
