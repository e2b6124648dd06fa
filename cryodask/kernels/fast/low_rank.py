"""Compiled parts of the low-rank search: turned templates at points, and products fused with their maximum."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Real = npt.NDArray[Any]
Ints = npt.NDArray[Any]

ROTATIONS_AT_ONCE, VOXELS_AT_ONCE = 64, 256
"""Of one product: the sums of all classes, 4 x 64 x 256 floats, stay in the second-level cache."""


@numba.njit(cache=True, nogil=True, fastmath=True)
def turned_at_points(fine: Real, inverse: Real, points: Real, out: Real) -> None:
    """``out[r, i]`` = fine at ``inverse[r] @ points[i]``, trilinear, from its centre; 0 outside. All (z, y, x)."""
    nz, ny, nx = fine.shape
    cz, cy, cx = (nz - 1) / 2, (ny - 1) / 2, (nx - 1) / 2
    for r in range(inverse.shape[0]):
        m = inverse[r]
        for i in range(points.shape[0]):
            z, y, x = points[i, 0], points[i, 1], points[i, 2]
            u = m[0, 0] * z + m[0, 1] * y + m[0, 2] * x + cz
            v = m[1, 0] * z + m[1, 1] * y + m[1, 2] * x + cy
            w = m[2, 0] * z + m[2, 1] * y + m[2, 2] * x + cx
            value = 0.0
            if 0 <= u < nz - 1 and 0 <= v < ny - 1 and 0 <= w < nx - 1:
                a, b, c = int(u), int(v), int(w)
                fz, fy, fx = u - a, v - b, w - c
                for da in range(2):
                    for db in range(2):
                        weight = (fz if da else 1 - fz) * (fy if db else 1 - fy)
                        value += weight * (fine[a + da, b + db, c] * (1 - fx) + fine[a + da, b + db, c + 1] * fx)
            out[r, i] = value


@numba.njit(cache=True, nogil=True)
def best_rotation(maps: Real, offsets: Ints, coefficients: Real, signs: Real, best: Real, arg: Ints) -> None:
    """Best score of all (flips x rotations) at every voxel, and the rotation that its flip starts from.

    ``maps`` (K, voxels) are correlations with the basis images, grouped into classes as ``offsets`` (classes + 1,)
    says; ``coefficients`` the (rotations, K_c) matrices of the classes, one after the other, flat; ``signs`` (flips,
    classes) what a flip does to a class. Of equal scores the first rotation wins.
    """
    k, count = maps.shape
    classes = offsets.size - 1
    n_rotations = coefficients.size // k
    size = ROTATIONS_AT_ONCE * VOXELS_AT_ONCE
    sums = np.zeros((classes, size), np.float32)
    block = np.zeros((k, VOXELS_AT_ONCE), np.float32)
    here, here_arg = np.empty(VOXELS_AT_ONCE, np.float32), np.zeros(VOXELS_AT_ONCE, np.int32)
    for first in range(0, count, VOXELS_AT_ONCE):
        n = min(VOXELS_AT_ONCE, count - first)
        block[:, :n] = maps[:, first : first + n]
        here[:] = -np.inf
        for rotation in range(0, n_rotations, ROTATIONS_AT_ONCE):
            some = min(ROTATIONS_AT_ONCE, n_rotations - rotation)
            for c in range(classes):
                low, own = offsets[c], offsets[c + 1] - offsets[c]
                if own > 0:
                    begin = low * n_rotations + rotation * own
                    part = coefficients[begin : begin + some * own].reshape(some, own)
                    target = sums[c, : some * VOXELS_AT_ONCE].reshape(some, VOXELS_AT_ONCE)
                    np.dot(part, block[low : low + own], target)
            if signs.shape[0] == 4 and classes == 4:
                _best_of_four(sums, some, rotation, here, here_arg)
            else:
                _best_of_flips(sums, signs, some, rotation, here, here_arg)
        best[first : first + n] = here[:n]
        arg[first : first + n] = here_arg[:n]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _best_of_four(sums: Real, count: int, first_rotation: int, best: Real, arg: Ints) -> None:
    """The four flips that turn by 180 degrees about an axis: a 4-point Hadamard transform of the class sums."""
    s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
    for r in range(count):
        at = r * VOXELS_AT_ONCE
        for v in range(VOXELS_AT_ONCE):
            q = at + v
            one, two, three, four = s0[q] + s3[q], s0[q] - s3[q], s1[q] + s2[q], s1[q] - s2[q]
            m = max(max(one + three, one - three), max(two + four, two - four))
            arg[v] = first_rotation + r if m > best[v] else arg[v]
            best[v] = max(m, best[v])


@numba.njit(cache=True, nogil=True, fastmath=True)
def _best_of_flips(sums: Real, signs: Real, count: int, first_rotation: int, best: Real, arg: Ints) -> None:
    flips, classes = signs.shape
    for r in range(count):
        at = r * VOXELS_AT_ONCE
        for v in range(VOXELS_AT_ONCE):
            for g in range(flips):
                m = np.float32(0.0)
                for c in range(classes):
                    m += signs[g, c] * sums[c, at + v]
                if m > best[v]:
                    best[v] = m
                    arg[v] = first_rotation + r


@numba.njit(cache=True, nogil=True)
def best_flip(maps: Real, offsets: Ints, coefficients: Real, signs: Real, arg: Ints, flip: Ints) -> None:
    """Which flip of its best rotation gave each voxel's score; of equal ones the first. Arguments as above."""
    k, count = maps.shape
    classes = offsets.size - 1
    n_rotations = coefficients.size // k
    sums = np.zeros(classes)
    for v in range(count):
        for c in range(classes):
            low, own = offsets[c], offsets[c + 1] - offsets[c]
            begin = low * n_rotations + arg[v] * own
            total = 0.0
            for i in range(own):
                total += coefficients[begin + i] * maps[low + i, v]
            sums[c] = total
        best = -np.inf
        for g in range(signs.shape[0]):
            score = 0.0
            for c in range(classes):
                score += signs[g, c] * sums[c]
            if score > best:
                best = score
                flip[v] = g
