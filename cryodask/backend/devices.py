"""Arrays on a CUDA device, for those who do not start from an array that is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.backend.arrays import Array
from cryodask.errors import BackendError


def cuda_device() -> tuple[str, Callable[[npt.NDArray[Any]], Array]]:
    """A description of the current CUDA device, and a function that moves host arrays to it.

    BackendError, with the reason and what to do, where cupy is not installed or finds no device.
    """
    try:
        import cupy
    except ImportError as error:
        raise BackendError(f"cupy cannot be loaded ({error}): pip install 'cryodask[cuda]'") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
        if not count:
            raise BackendError("cupy finds no CUDA device: is a GPU visible here (CUDA_VISIBLE_DEVICES)?")
        properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendError(f"no CUDA device can be used ({error}): is the driver installed and new enough?") from error
    name = properties["name"].decode(errors="replace")
    memory = properties["totalGlobalMem"] / 2**30
    capability = f"{properties['major']}.{properties['minor']}"
    return f"{name}, {memory:.1f} GiB, compute capability {capability}, one of {count}", lambda x: cupy.asarray(
        np.asarray(x)
    )
