"""Which library an array belongs to, where it lives, and how it moves to and from the host."""

from __future__ import annotations

from types import ModuleType
from typing import Any, TypeAlias

import array_api_compat
import numpy as np
import numpy.typing as npt

Array: TypeAlias = Any
"""An array of any library that follows the array API standard (the standard has no static type)."""


def namespace(x: Array) -> Any:  # noqa: ANN401  (a module seen as a namespace)
    """Array API namespace of one array (numpy, cupy, torch, array-api-strict, ...)."""
    return array_api_compat.array_namespace(x)


def common_namespace(*arrays: Array) -> Any:  # noqa: ANN401
    """Array API namespace shared by all arrays; mixed libraries raise ``TypeError``."""
    return array_api_compat.array_namespace(*arrays)


def device_of(x: Array) -> Any:  # noqa: ANN401
    """Device of an array, to be passed as ``device=`` when a kernel makes a new one."""
    return array_api_compat.device(x)


def to_host(x: Array) -> npt.NDArray[Any]:
    """Copy of ``x`` in host memory as a numpy array (no copy if it is one already)."""
    if isinstance(x, np.ndarray):
        return x
    if array_api_compat.is_cupy_array(x):
        return np.asarray(x.get())
    if array_api_compat.is_torch_array(x):
        return np.asarray(x.detach().cpu().numpy())
    return np.asarray(_strict_to_host(x))


def _strict_to_host(x: Array) -> Array:
    """array-api-strict refuses to convert from a device that plays the accelerator: move to its CPU device first."""
    module: ModuleType = namespace(x)
    if hasattr(module, "Device") and hasattr(x, "to_device"):
        return x.to_device(module.Device("CPU_DEVICE"))
    return x


def as_device_array(values: npt.ArrayLike, like: Array) -> Array:
    """``values`` (host) as an array of the library and on the device of ``like``, dtype kept."""
    return namespace(like).asarray(np.asarray(values), device=device_of(like))
