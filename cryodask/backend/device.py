"""On which device the tasks of this process compute: the host, or the CUDA device of a GPU worker."""

from __future__ import annotations

import os

import numpy as np

from cryodask.backend.arrays import Array
from cryodask.errors import BackendError

DEVICE_VARIABLE = "CRYODASK_DEVICE"
"""Environment variable that GPU workers start with, set to ``cuda``."""


def worker_array() -> Array:
    """An empty array on the device of this process, for ``as_device_array``: numpy's, or cupy's on a GPU worker.

    BackendError, with the reason and what to do, on a GPU worker that lacks cupy or whose device cannot be used.
    """
    if os.environ.get(DEVICE_VARIABLE) != "cuda":
        return np.empty(0, dtype=np.float32)
    try:
        import cupy
    except ImportError as error:
        raise BackendError(
            f"this worker is to compute on a GPU ({DEVICE_VARIABLE}=cuda), but cupy cannot be loaded ({error}): "
            "pip install 'cryodask[cuda]' where the workers run, or ask for workers without GPUs"
        ) from error
    try:
        return cupy.empty(0, dtype=cupy.float32)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendError(
            f"this worker's GPU cannot be used ({error}): is the driver installed and new enough? "
            "Workers without GPUs (--cluster local) compute all the same"
        ) from error
