"""Compiled back-projection with an x tilt: rows lie next to each other in memory, so that loops over rows are vectors.

Every row runs through the same instructions whatever slab it is in, so slabs of any height have the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from cryodask.kernels.fast.backprojection import fused_vector_multiply_add
from cryodask.kernels.shear_geometry import ShearGeometry

_Ir: TypeAlias = Any
"""A value or type of numba and llvmlite while code is generated; they come without static types."""

LANES = 32
"""Rows at once."""


def _combination(n_taps: int, step: int, *, accumulate: bool) -> _Ir:
    """An intrinsic for ``target[at:] (+)= sum over k of taps[k] * source[start + k * step:]``, ``LANES`` values each.

    Positions count elements from the start of contiguous arrays. Written as vector instructions, as numba does not make
    any of a loop whose indices might be negative (0.17 instead of 2 giga updates a second).
    """

    @intrinsic
    def combine(
        typing_context: _Ir, target: _Ir, at: _Ir, source: _Ir, start: _Ir, taps: _Ir
    ) -> tuple[_Ir, Callable[..., _Ir]]:
        signature = types.void(target, types.intp, source, types.intp, taps)

        def generate(context: _Ir, builder: _Ir, signature: _Ir, arguments: _Ir) -> _Ir:
            target_at, source_at, taps_at = (
                context.make_array(signature.args[n])(context, builder, arguments[n]).data for n in (0, 2, 4)
            )
            element = context.get_value_type(signature.args[0].dtype)
            vector = ir.VectorType(element, LANES)
            integer = arguments[1].type
            element_bytes = signature.args[0].dtype.bitwidth // 8

            def rows_at(first: _Ir, offset: _Ir) -> _Ir:
                return builder.bitcast(builder.gep(first, [offset]), vector.as_pointer())

            def load(first: _Ir, offset: _Ir) -> _Ir:
                rows = builder.load(rows_at(first, offset))
                rows.align = element_bytes
                return rows

            total = load(target_at, arguments[1]) if accumulate else ir.Constant(vector, None)
            for tap in range(n_taps):
                factor = builder.load(builder.gep(taps_at, [ir.Constant(integer, tap)]))
                rows = load(source_at, builder.add(arguments[3], ir.Constant(integer, tap * step)))
                total = fused_vector_multiply_add(builder, vector, factor, rows, total)
            stored = builder.store(total, rows_at(target_at, arguments[1]))
            stored.align = element_bytes
            return context.get_dummy_value()

        return signature, generate

    return combine


_between_rows = _combination(4, 1, accumulate=False)
_between_samples = _combination(2, LANES, accumulate=True)


def backproject_sheared_rows(
    tilts: npt.NDArray[Any], geometry: ShearGeometry, shape: tuple[int, int, int]
) -> npt.NDArray[Any]:
    """``backproject_sheared`` for numpy arrays; see there."""
    n_tilts = tilts.shape[0]
    ny = shape[1]
    volume = np.empty(shape, dtype=tilts.dtype)
    rows = LANES + 2 * geometry.halo
    packed = np.zeros((n_tilts, geometry.length, rows), dtype=tilts.dtype)
    for first in range(0, ny, LANES):
        count = min(rows, tilts.shape[1] - first)
        inside = packed[:, geometry.padding : geometry.padding + tilts.shape[2]]
        weighted = tilts[:, first : first + count] * geometry.weights.astype(tilts.dtype)[:, None, None]
        inside[:, :, :count] = weighted.transpose(0, 2, 1)
        inside[:, :, count:] = 0
        lanes = math.ceil(min(LANES, ny - first))
        _fill(
            packed,
            geometry.cosines,
            geometry.sines,
            geometry.slopes,
            geometry.origin,
            geometry.halo,
            first,
            lanes,
            volume,
        )
    return volume


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fill(
    packed: npt.NDArray[Any],
    cosines: npt.NDArray[np.float64],
    sines: npt.NDArray[np.float64],
    slopes: npt.NDArray[np.float64],
    origin: float,
    halo: int,
    first_row: int,
    rows: int,
    volume: npt.NDArray[Any],
) -> None:
    """Rows ``first_row`` to ``first_row + rows`` of ``volume`` from ``packed`` (tilt, sample, row)."""
    n_tilts, length, _ = packed.shape
    nz, _, nx = volume.shape
    lines = np.zeros((length, LANES), packed.dtype)
    sums = np.zeros((nx, LANES), packed.dtype)
    taps = np.zeros(4, packed.dtype)
    pair = np.zeros(2, packed.dtype)
    for z in range(nz):
        depth = z - (nz - 1) / 2
        sums[:] = 0
        for tilt in range(n_tilts):
            row = -depth * slopes[tilt]
            below = math.floor(row)
            f = row - below
            taps[0] = -0.5 * f + f**2 - 0.5 * f**3
            taps[1] = 1 - 2.5 * f**2 + 1.5 * f**3
            taps[2] = 0.5 * f + 2 * f**2 - 1.5 * f**3
            taps[3] = -0.5 * f**2 + 0.5 * f**3
            start = origin + depth * sines[tilt]
            ends = (nx - 1) / 2 * cosines[tilt]
            low = math.floor(start - abs(ends))
            high = min(length, math.floor(start + abs(ends)) + 2)
            above = halo + below - 1
            for sample in range(low, high):
                first = (tilt * length + sample) * packed.shape[2] + above
                _between_rows(lines, sample * LANES, packed, first, taps)
            for x in range(nx):
                position = start + (x - (nx - 1) / 2) * cosines[tilt]
                lower = int(position)
                pair[0] = 1 - (position - lower)
                pair[1] = position - lower
                _between_samples(sums, x * LANES, lines, lower * LANES, pair)
        for lane in range(rows):
            for x in range(nx):
                volume[z, first_row + lane, x] = sums[x, lane]
