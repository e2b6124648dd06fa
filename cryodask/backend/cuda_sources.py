"""Kernels written in CUDA C, compiled on first use for the device at hand. Imported only for arrays on one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import cupy

from cryodask.backend.arrays import Array

BLOCK = (32, 8, 1)
"""Threads of a block along x, y, z: a warp reads neighbouring samples."""


@cache
def _function(source: str, name: str, real: str) -> Any:  # noqa: ANN401  (cupy has no types)
    return cupy.RawModule(code=source, options=(f"-DREAL={real}", "--std=c++14")).get_function(name)


def launch(source: str, name: str, threads: tuple[int, int, int], arguments: Sequence[object], like: Array) -> None:
    """Run ``name`` of ``source`` with at least ``threads`` (x, y, z) threads; REAL is the type of ``like``."""
    real = "double" if like.dtype == cupy.float64 else "float"
    grid = tuple(math.ceil(count / size) for count, size in zip(threads, BLOCK, strict=True))
    with like.device:
        # Kernels index arrays as C does; what is contiguous already, as results are, is passed as it is.
        plain = tuple(cupy.ascontiguousarray(each) if isinstance(each, cupy.ndarray) else each for each in arguments)
        _function(source, name, real)(grid, BLOCK, plain)
