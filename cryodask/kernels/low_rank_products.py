"""Portable paths of ``kernels.fast.low_rank``: turned templates at points, and products with their maximum."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, as_device_array, device_of, namespace

_SCORES_AT_ONCE = 2**24
"""Of one product, in floats: 64 MiB, enough work for a GPU and little of its memory."""


def best_of_products(
    maps: Array,
    offsets: npt.NDArray[np.int64],
    coefficients: npt.NDArray[np.float32],
    characters: npt.NDArray[np.float32],
) -> tuple[Array, Array]:
    """Highest score of each column of ``maps`` (K, voxels), and the id ``rotation * flips + flip`` that gave it.

    ``offsets`` (classes + 1,) groups the K images into classes, ``coefficients`` is (rotations, K), ``characters``
    (flips, classes). Of equal scores the lowest id wins. Both results are on the device of ``maps``, ids int32.
    """
    xp, device = namespace(maps), device_of(maps)
    voxels, flips = int(maps.shape[1]), len(characters)
    step = max(1, _SCORES_AT_ONCE // max(1, voxels))
    best = xp.full((voxels,), -float("inf"), dtype=maps.dtype, device=device)
    best_id = xp.zeros((voxels,), dtype=xp.int32, device=device)
    for first in range(0, len(coefficients), step):
        some = coefficients[first : first + step]
        sums = _class_sums(maps, offsets, some)
        for flip in range(flips):
            score = sum(_signed(part, float(sign)) for part, sign in zip(sums, characters[flip], strict=True))
            top = xp.max(score, axis=0)
            rows = xp.reshape(xp.arange(len(some), dtype=xp.int32, device=device), (-1, 1))
            none = xp.asarray(len(some), dtype=xp.int32, device=device)
            row = xp.min(xp.where(score == top, rows, none), axis=0)
            this_id = (row + first) * flips + flip
            better = (top > best) | ((top == best) & (this_id < best_id))
            best, best_id = xp.where(better, top, best), xp.where(better, this_id, best_id)
    return best, best_id


def _class_sums(maps: Array, offsets: npt.NDArray[np.int64], coefficients: npt.NDArray[np.float32]) -> list[Array]:
    """(rotations, voxels) of each class."""
    xp = namespace(maps)
    return [
        xp.matmul(as_device_array(np.ascontiguousarray(coefficients[:, low:high]), maps), maps[low:high, :])
        for low, high in itertools.pairwise(offsets.tolist())
    ]


def _signed(part: Array, sign: float) -> Array:
    return part if sign > 0 else -part


def sampled_at_points(fine: Array, inverse: Array, points: Array) -> Array:
    """(rotations, points) trilinear samples of ``fine`` at ``inverse[r] @ points[i]`` from its centre; 0 outside.

    ``inverse`` (rotations, 3, 3) and ``points`` (points, 3) are in the order (z, y, x), in fine voxels.
    """
    xp = namespace(fine)
    at = xp.matmul(inverse, xp.matrix_transpose(points))  # (rotations, zyx, points)
    inside, index, cells = None, 0, []
    for axis, n in enumerate(fine.shape):
        coordinate = at[:, axis, :] + (n - 1) / 2
        here = (coordinate >= 0) & (coordinate < n - 1)
        inside = here if inside is None else inside & here
        coordinate = xp.where(here, coordinate, xp.zeros_like(coordinate))
        low = xp.floor(coordinate)
        cells.append((coordinate - low, math.prod(fine.shape[axis + 1 :])))
        index = index + xp.astype(low, xp.int64) * cells[-1][1]
    flat, total = xp.reshape(fine, (-1,)), xp.zeros_like(at[:, 0, :])
    for corner in itertools.product((0, 1), repeat=3):
        weight, step = 1.0, 0
        for upper, (fraction, stride) in zip(corner, cells, strict=True):
            weight, step = weight * (fraction if upper else 1 - fraction), step + upper * stride
        taken = xp.reshape(xp.take(flat, xp.reshape(index + step, (-1,))), total.shape)
        total = total + weight * taken
    return xp.where(inside, total, xp.zeros_like(total))
