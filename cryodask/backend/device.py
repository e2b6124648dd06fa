"""On which device the tasks of this process compute: the host, or the CUDA device of a GPU worker."""

from __future__ import annotations

import os

import numpy as np

from cryodask.backend.arrays import Array

DEVICE_VARIABLE = "CRYODASK_DEVICE"
"""Environment variable that the workers of ``--cluster cuda`` start with, set to ``cuda``."""


def worker_array() -> Array:
    """An empty array on the device of this process, for ``as_device_array``: numpy's, or cupy's on a GPU worker."""
    if os.environ.get(DEVICE_VARIABLE) == "cuda":
        import cupy

        return cupy.empty(0, dtype=cupy.float32)
    return np.empty(0, dtype=np.float32)
