"""The one place where array libraries meet.

Kernels are written against the array API standard: ``namespace(x)`` gives the library an array belongs to, and what
the standard lacks (splines, labels, random counts, the error function) comes from ``capabilities(x)``. ``fast_path(x)``
says which compiled implementation, if any, may replace a kernel's portable one.
"""

from cryodask.backend.arrays import (
    Array,
    as_device_array,
    common_namespace,
    device_of,
    namespace,
    to_host,
)
from cryodask.backend.capabilities import Capabilities, capabilities
from cryodask.backend.device import DEVICE_VARIABLE, worker_array
from cryodask.backend.dispatch import fast_path, launch_cuda, portable_only

__all__ = [
    "DEVICE_VARIABLE",
    "Array",
    "Capabilities",
    "as_device_array",
    "capabilities",
    "common_namespace",
    "device_of",
    "fast_path",
    "launch_cuda",
    "namespace",
    "portable_only",
    "to_host",
    "worker_array",
]
