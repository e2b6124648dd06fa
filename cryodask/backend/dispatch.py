"""Which implementation of a kernel runs: the portable one, or a compiled one that tests hold equal to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import numpy as np

from cryodask.backend.arrays import Array

_portable_only: ContextVar[bool] = ContextVar("portable_only", default=False)


def fast_path(*arrays: Array) -> Literal["numba", "portable"]:
    """``"numba"`` when all arrays are numpy's and nobody asked otherwise, else ``"portable"``."""
    if _portable_only.get() or not all(isinstance(x, np.ndarray) for x in arrays):
        return "portable"
    return "numba"


@contextmanager
def portable_only() -> Iterator[None]:
    """Within this block every kernel takes its portable path (for tests and for finding faults)."""
    token = _portable_only.set(True)
    try:
        yield
    finally:
        _portable_only.reset(token)
