"""Which implementation of a kernel runs: the portable one, or a compiled one that tests hold equal to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import array_api_compat
import numpy as np

from cryodask.backend.arrays import Array

_portable_only: ContextVar[bool] = ContextVar("portable_only", default=False)


def fast_path(*arrays: Array) -> Literal["numba", "cuda", "portable"]:
    """``"numba"`` when all arrays are numpy's, ``"cuda"`` when all are cupy's; else, or if asked for, ``"portable"``.

    Not every kernel has an implementation in CUDA C; those without take the portable way on a device.
    """
    if _portable_only.get():
        return "portable"
    if all(isinstance(x, np.ndarray) for x in arrays):
        return "numba"
    return "cuda" if all(array_api_compat.is_cupy_array(x) for x in arrays) else "portable"


def launch_cuda(
    source: str, name: str, threads: tuple[int, int, int], arguments: Sequence[object], like: Array
) -> None:
    """Run the kernel ``name`` of CUDA C ``source`` on the device of ``like``, with so many threads along x, y, z."""
    from cryodask.backend.cuda_sources import launch

    launch(source, name, threads, arguments, like)


@contextmanager
def portable_only() -> Iterator[None]:
    """Within this block every kernel takes its portable path (for tests and for finding faults)."""
    token = _portable_only.set(True)
    try:
        yield
    finally:
        _portable_only.reset(token)
