"""Compiled back-projection: 32 rows at once, in tiles of the (z, x) plane that stay in the nearest cache.

Rows lie next to each other in memory, so that one position on the lines serves 32 rows with whole vector registers.
Products and sums are fused explicitly (one rounding, IEEE 754 fusedMultiplyAdd) and every row runs through the same
instructions, padded rows included. So the bits depend neither on how many rows a slab has nor on what the compiler
makes of a loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from cryodask.kernels.detector_lines import LineGeometry

_Ir: TypeAlias = Any
"""A value or type of numba and llvmlite while code is generated; they come without static types."""

# Sizes that are compiled in stand in this file, as numba's cache notices changes of the compiled file only.
LANES = 32
"""Rows at once. 16 do not fill the vector registers (5 giga updates a second where 32 make 8); 64 gain little and waste
more on slabs that are no multiple. ``cryodask.kernels.backprojection.LANES`` says the same to those who plan slabs."""

TILT_GROUP = 4
"""Tilts added to a voxel in one pass; 8 at once were no faster."""

_CACHE_LINE_BYTES = 64

_TILE_Z = 8
_TILE_X = 32
"""A tile's sums, 8 x 32 voxels of 32 rows, take 32 KiB. Giga updates a second on one core of a Cascade Lake: 7.6 with
this size, 7.4 with 4 x 32, 6.8 with 8 x 16; narrow tiles lose their time storing short pieces of the volume's rows."""

_PACKED_X = 16
"""Samples of a line that are packed at once: a cache line of single precision."""


def backproject_rows(
    tilts: npt.NDArray[Any], weights: npt.NDArray[np.float64], geometry: LineGeometry, shape: tuple[int, int, int]
) -> npt.NDArray[Any]:
    """``backproject`` for numpy arrays; see there. ``weights`` (n_tilts,) are already resolved."""
    n_tilts, ny, _ = tilts.shape
    # Tilts that fill up the last group have empty lines at position ``origin`` and change no bit.
    n_groups = math.ceil(n_tilts / TILT_GROUP)
    cosines = np.zeros(n_groups * TILT_GROUP)
    sines = np.zeros(n_groups * TILT_GROUP)
    cosines[:n_tilts], sines[:n_tilts] = geometry.cosines, geometry.sines
    lines = _aligned_zeros((n_groups * TILT_GROUP, geometry.length, LANES), tilts.dtype)
    sums = _aligned_zeros((_TILE_Z, _TILE_X, LANES), tilts.dtype)
    volume = np.empty(shape, dtype=tilts.dtype)
    typed_weights = weights.astype(tilts.dtype)
    for first_row in range(0, ny, LANES):
        _pack(tilts, typed_weights, first_row, geometry.padding, lines)
        _add_tilts(
            lines, cosines, sines, geometry.origin, geometry.centre_z, geometry.centre_x, sums, first_row, volume
        )
    return volume


def _aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Zeros that start at a cache line, so that no vector has to be read from two of them."""
    size = math.prod(shape) * dtype.itemsize
    buffer = np.zeros(size + _CACHE_LINE_BYTES, dtype=np.uint8)
    start = -buffer.ctypes.data % _CACHE_LINE_BYTES
    return buffer[start : start + size].view(dtype).reshape(shape)


def fused_vector_multiply_add(builder: _Ir, vector: _Ir, factor: _Ir, values: _Ir, total: _Ir) -> _Ir:
    """``factor * values + total`` for a scalar factor and vectors, each element rounded once."""
    suffix = "f32" if vector.element == ir.FloatType() else "f64"
    function_type = ir.FunctionType(vector, [vector] * 3)
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.fma.v{vector.count}{suffix}")
    undefined = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(undefined, factor, ir.Constant(ir.IntType(32), 0))
    all_first = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.call(function, [builder.shuffle_vector(single, undefined, all_first), values, total])


@intrinsic
def _add_group(
    typing_context: _Ir,
    sums: _Ir,
    voxel: _Ir,
    lines: _Ir,
    samples: _Ir,
    near: _Ir,
    far: _Ir,
    x: _Ir,
) -> tuple[_Ir, Callable[..., _Ir]]:
    """Add one group of tilts to the ``LANES`` rows of a voxel.

    For each tilt t of the group: ``sums[voxel] += near[t, x] * lines[samples[t, x]] + far[t, x] * lines[samples[t, x]
    + 1]``, in the order of the tilts, where voxel and sample numbers count rows of ``LANES`` values from the start of
    contiguous arrays. Written as vector instructions because a loop over rows spends most of its time on checks that
    the arrays do not overlap (4 instead of 10 giga updates a second).
    """
    signature = types.void(sums, types.intp, lines, samples, near, far, types.intp)

    def generate(context: _Ir, builder: _Ir, signature: _Ir, arguments: _Ir) -> _Ir:
        sums_at, lines_at, samples_at, near_at, far_at = (
            context.make_array(signature.args[n])(context, builder, arguments[n]).data for n in (0, 2, 3, 4, 5)
        )
        element = context.get_value_type(signature.args[0].dtype)
        vector = ir.VectorType(element, LANES)
        integer = arguments[1].type
        element_bytes = signature.args[0].dtype.bitwidth // 8

        def pointer_to_rows(start: _Ir, number: _Ir) -> _Ir:
            offset = builder.mul(number, ir.Constant(integer, LANES))
            return builder.bitcast(builder.gep(start, [offset]), vector.as_pointer())

        def load_rows(start: _Ir, number: _Ir) -> _Ir:
            rows = builder.load(pointer_to_rows(start, number))
            rows.align = element_bytes  # arrays start anywhere, not at multiples of the vector's size
            return rows

        total = load_rows(sums_at, arguments[1])
        for tilt in range(TILT_GROUP):
            entry = builder.add(arguments[6], ir.Constant(integer, tilt * _TILE_X))
            sample = builder.load(builder.gep(samples_at, [entry]))
            after = builder.add(sample, ir.Constant(integer, 1))
            for factors_at, number in ((near_at, sample), (far_at, after)):
                factor = builder.load(builder.gep(factors_at, [entry]))
                rows = load_rows(lines_at, number)
                total = fused_vector_multiply_add(builder, vector, factor, rows, total)
        stored = builder.store(total, pointer_to_rows(sums_at, arguments[1]))
        stored.align = element_bytes
        return context.get_dummy_value()

    return signature, generate


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _pack(
    tilts: npt.NDArray[Any], weights: npt.NDArray[Any], first_row: int, padding: int, lines: npt.NDArray[Any]
) -> None:
    """Copy ``LANES`` weighted rows (tilt, y, x) into ``lines`` (tilt, padded x, y); rows beyond the last become 0."""
    n_tilts, ny, nx = tilts.shape
    rows = min(LANES, ny - first_row)
    for tilt in range(n_tilts):
        weight = weights[tilt]
        # Piece by piece along x, so that whole cache lines are used of what is read and of what is written.
        for first_x in range(0, nx, _PACKED_X):
            last_x = min(first_x + _PACKED_X, nx)
            for y in range(rows):
                for x in range(first_x, last_x):
                    lines[tilt, padding + x, y] = tilts[tilt, first_row + y, x] * weight
        for x in range(padding, padding + nx):
            for y in range(rows, LANES):
                lines[tilt, x, y] = 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_tilts(
    lines: npt.NDArray[Any],
    cosines: npt.NDArray[np.float64],
    sines: npt.NDArray[np.float64],
    origin: float,
    centre_z: float,
    centre_x: float,
    sums: npt.NDArray[Any],
    first_row: int,
    volume: npt.NDArray[Any],
) -> None:
    """Fill ``volume`` (nz, up to LANES rows, nx) with the sum over ``lines`` (tilts, length, LANES).

    Within a tile tilts come in the outer loop, so that a group's lines are read from the nearest cache once for all
    voxels. Tiles follow each other along z, where successive tiles share most of their lines.
    """
    nz, _, nx = volume.shape
    samples = np.empty((TILT_GROUP, _TILE_X), np.int64)
    near = np.empty((TILT_GROUP, _TILE_X), lines.dtype)
    far = np.empty((TILT_GROUP, _TILE_X), lines.dtype)
    for first_x in range(0, nx, _TILE_X):
        columns = min(_TILE_X, nx - first_x)
        for first_z in range(0, nz, _TILE_Z):
            slices = min(_TILE_Z, nz - first_z)
            sums[:] = 0
            for tilt in range(0, lines.shape[0], TILT_GROUP):
                for z in range(slices):
                    for member in range(TILT_GROUP):
                        start = origin + (first_z + z - centre_z) * sines[tilt + member]
                        line = (tilt + member) * lines.shape[1]
                        for x in range(_TILE_X):
                            position = start + (first_x + x - centre_x) * cosines[tilt + member]
                            lower = np.int32(position)
                            samples[member, x] = line + lower
                            near[member, x] = 1 - (position - lower)
                            far[member, x] = position - lower
                    for x in range(columns):
                        _add_group(sums, z * _TILE_X + x, lines, samples, near, far, x)  # type: ignore[call-arg]
            _store_tile(sums, volume, first_z, slices, first_row, first_x, columns)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _store_tile(
    sums: npt.NDArray[Any],
    volume: npt.NDArray[Any],
    first_z: int,
    slices: int,
    first_row: int,
    first_x: int,
    columns: int,
) -> None:
    """Copy a tile of sums (z, x, y) to its place in ``volume`` (z, y, x)."""
    for z in range(slices):
        for y in range(min(LANES, volume.shape[1] - first_row)):
            if columns == _TILE_X:  # a loop of known length becomes vector instructions
                for x in range(_TILE_X):
                    volume[first_z + z, first_row + y, first_x + x] = sums[z, x, y]
            else:
                for x in range(columns):
                    volume[first_z + z, first_row + y, first_x + x] = sums[z, x, y]
