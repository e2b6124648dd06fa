"""Correlation of one template with a padded volume, fused with the running maximum, for numpy arrays.

The same transforms as the portable path's, but axis by axis in blocks that stay in the processor's cache, without
those parts of the template that are zero and of the result that nobody reads, and without large temporary arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import scipy.fft

Real = npt.NDArray[Any]
Complex = npt.NDArray[Any]

# Complex numbers in one block of the z and the y pass: a megabyte in single precision. At 128^3 voxels, blocks from a
# quarter to twice this size take the same time within 10 percent.
_BLOCK_SIZE = 131072


def update_best(
    transform: Complex,
    padded_shape: tuple[int, int, int],
    reversed_template: Real,
    weight: Real,
    rotation_id: int,
    best: Real,
    best_id: npt.NDArray[np.int32],
    work: Complex,
) -> None:
    """Update ``best`` and ``best_id`` in place with the weighted correlation of one template.

    ``transform`` is ``rfftn`` of the padded volume, ``reversed_template`` the template with all axes reversed, ``work``
    scratch space of shape ``(best.shape[0], transform.shape[1], transform.shape[2])`` and the dtype of ``transform``.
    """
    for part, correlation in _correlated(transform, padded_shape, reversed_template, best.shape, work):
        running_maximum(correlation, weight[part], np.int32(rotation_id), best[part], best_id[part])


def _correlated(
    transform: Complex,
    padded_shape: tuple[int, int, int],
    reversed_template: Real,
    shape: tuple[int, ...],
    work: Complex,
) -> Iterator[tuple[slice, Real]]:
    """Some planes of the correlation at a time, (planes, y, x and padding)."""
    size_z, size_y, size_x = padded_shape
    count_z, count_y, _ = shape
    lines = scipy.fft.rfft(_about_origin(reversed_template, 2, size_x), axis=2, workers=1)
    planes = scipy.fft.fft(_about_origin(lines, 1, size_y), axis=1, overwrite_x=True, workers=1)
    step = max(1, _BLOCK_SIZE // (size_z * transform.shape[2]))
    along_z = _ShortAxis(planes, size_z)
    for y in range(0, size_y, step):
        block = along_z.times(transform[:, y : y + step], y)
        block = scipy.fft.ifft(block, axis=0, overwrite_x=True, workers=1)
        work[:, y : y + step] = block[:count_z]
    step = max(1, _BLOCK_SIZE // (size_y * transform.shape[2]))
    for z in range(0, count_z, step):
        block = scipy.fft.ifft(work[z : z + step], axis=1, overwrite_x=True, workers=1)
        correlation = scipy.fft.irfft(block[:, :count_y], n=size_x, axis=2, workers=1)
        yield slice(z, z + step), correlation


def _about_origin(values: Any, axis: int, size: int) -> Any:  # noqa: ANN401
    """Zero-padded to ``size`` along an axis, the middle at index 0 and what comes before it at the end."""
    half = values.shape[axis] // 2
    shape = list(values.shape)
    shape[axis] = size
    out = np.zeros(shape, dtype=values.dtype)
    at = (slice(None),) * axis
    out[(*at, slice(0, half + 1))] = values[(*at, slice(half, None))]
    out[(*at, slice(size - half, None))] = values[(*at, slice(0, half))]
    return out


class _ShortAxis:
    """Transforms along z of planes that are few, 2 h + 1 of a much larger size, as products of real matrices.

    With the middle plane at the origin, ``X[+-k] = sum cos(a k n) (x[n] + x[-n]) -+ i sin(a k n) (x[n] - x[-n])`` over
    n = 0 ... h, for k = 0 ... size / 2: 73 x 17 numbers in place of a transform of 144 of which 111 are zeros, in a
    third of its time.
    """

    def __init__(self, planes: Complex, size: int) -> None:
        real = planes.real.dtype
        count, self.size_y, self.size_x = planes.shape
        half = count // 2
        rows = planes.view(real).reshape(count, -1)
        self.even = rows[half:] + rows[half::-1]
        self.even[0] = rows[half]
        # Times -i, so that what the products of matrices give only needs to be added and subtracted.
        self.odd = ((planes[half:] - planes[half::-1]) * planes.dtype.type(-1j)).view(real).reshape(half + 1, -1)
        self.cosine, self.sine = _waves(size, half, real.str)
        self.size = size
        self.memory: tuple[Complex, Complex, Complex] | None = None

    def times(self, transform: Complex, first_y: int) -> Complex:
        """Of the rows from ``first_y`` on, multiplied with as many rows of another transform; (size, rows, x).

        The next call overwrites it.
        """
        rows, width = transform.shape[1], 2 * self.size_x
        part = slice(first_y * width, (first_y + rows) * width)
        if self.memory is None or self.memory[2].shape[1] != rows:
            halves = np.empty((2, len(self.cosine), rows, self.size_x), dtype=transform.dtype)
            product = np.empty((self.size, rows, self.size_x), dtype=transform.dtype)
            self.memory = halves[0], halves[1], product
        even, odd, product = self.memory
        for wave, parts, out in ((self.cosine, self.even, even), (self.sine, self.odd, odd)):
            np.matmul(wave, parts[:, part], out=out.view(wave.dtype).reshape(len(wave), -1))
        np.add(even, odd, out=product[: len(even)])
        mirrored = self.size - len(even)
        np.subtract(even[mirrored:0:-1], odd[mirrored:0:-1], out=product[len(even) :])
        product *= transform
        return product


@lru_cache(maxsize=16)
def _waves(size: int, half: int, dtype: str) -> tuple[Real, Real]:
    """cos and sin of 2 pi k n / size for k = 0 ... size / 2, n = 0 ... half."""
    angle = 2 * np.pi / size * (np.outer(np.arange(size // 2 + 1), np.arange(half + 1)) % size)
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)


@numba.njit(cache=True, nogil=True)
def running_maximum(
    correlation: Real, weight: Real, rotation_id: np.int32, best: Real, best_id: npt.NDArray[np.int32]
) -> None:
    """Keep the larger of ``best`` and ``correlation * weight``, of equal ones that with the lower rotation id.

    All (z, y, x), ``correlation`` with padding beyond. NaN never wins.
    """
    for z in range(best.shape[0]):
        for y in range(best.shape[1]):
            # Rows as arrays of their own: only then does the compiler see that they are contiguous and vectorise.
            new, factor = correlation[z, y, : best.shape[2]], weight[z, y]
            row, row_id = best[z, y], best_id[z, y]
            for x in range(row.shape[0]):
                score = new[x] * factor[x]
                old, old_id = row[x], row_id[x]
                better = (score > old) | ((score == old) & (rotation_id < old_id))
                row[x] = score if better else old
                row_id[x] = rotation_id if better else old_id


def correlate_into(
    transform: Complex, padded_shape: tuple[int, int, int], reversed_template: Real, out: Real, work: Complex
) -> None:
    """Write the correlation of one template with the padded volume into ``out`` (z, y, x); arguments as above."""
    for part, correlation in _correlated(transform, padded_shape, reversed_template, out.shape, work):
        out[part] = correlation[..., : out.shape[2]]


def correlate_every_second(
    transform: Complex, padded_shape: tuple[int, int, int], reversed_template: Real, out: Real
) -> None:
    """Every second voxel of what ``correlate_into`` writes, from the first: ``out`` (z, y, x), at half the cost.

    Sampling along z and y is a sum of the two halves of a spectrum before its inverse, which then is half as long.
    ``padded_shape`` must be even along z and y.
    """
    size_z, size_y, size_x = padded_shape
    first_z, first_y, first_x = (n // 2 for n in reversed_template.shape)
    count_z, count_y, count_x = out.shape
    # Samples of the convolution lie on its own even voxels: an odd offset is made up for by a shift of the template.
    shift = [first % 2 for first in (first_z, first_y)]
    padded = np.pad(reversed_template, [(shift[0], 0), (shift[1], 0), (0, 0)])
    lines = scipy.fft.rfft(padded, n=size_x, axis=2, workers=1)
    planes = scipy.fft.fft(lines, n=size_y, axis=1, overwrite_x=True, workers=1)
    half_z, half_y = size_z // 2, size_y // 2
    begin_z, begin_y = (first_z + shift[0]) // 2, (first_y + shift[1]) // 2
    work = np.empty((count_z, half_y, transform.shape[2]), transform.dtype)
    step = max(1, _BLOCK_SIZE // (size_z * transform.shape[2]))
    for y in range(0, half_y, step):
        rows = slice(y, min(y + step, half_y))
        upper = slice(rows.start + half_y, rows.stop + half_y)
        block = scipy.fft.fft(planes[:, rows], n=size_z, axis=0, workers=1) * transform[:, rows]
        block += scipy.fft.fft(planes[:, upper], n=size_z, axis=0, workers=1) * transform[:, upper]
        folded = block[:half_z] + block[half_z:]
        work[:, rows] = scipy.fft.ifft(folded, axis=0, overwrite_x=True, workers=1)[begin_z : begin_z + count_z]
    step = max(1, _BLOCK_SIZE // (half_y * transform.shape[2]))
    for z in range(0, count_z, step):
        block = scipy.fft.ifft(work[z : z + step], axis=1, workers=1)[:, begin_y : begin_y + count_y]
        found = scipy.fft.irfft(block, n=size_x, axis=2, workers=1)
        out[z : z + step] = 0.25 * found[..., first_x : first_x + 2 * count_x : 2]
