"""``backproject`` for arrays on a CUDA device, by the kernel in ``backprojection.cu``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, as_device_array, device_of, launch_cuda, namespace
from cryodask.kernels.detector_lines import LineGeometry

Launch: TypeAlias = Callable[[str, str, tuple[int, int, int], Sequence[object], Array], None]
"""Runs a kernel of a source with so many threads along x, y, z; the last argument tells device and precision."""


def source() -> str:
    """The kernel's CUDA C, which needs REAL defined as float or double."""
    return resources.files("cryodask.kernels.fast").joinpath("backprojection.cu").read_text(encoding="ascii")


def backproject_on_device(
    tilts: Array,
    weights: npt.NDArray[np.float64],
    geometry: LineGeometry,
    shape: tuple[int, int, int],
    launch: Launch = launch_cuda,
) -> Array:
    """``backproject``; see there. ``weights`` (n_tilts,) are already resolved; ``launch`` is another one in tests."""
    xp = namespace(tilts)
    nz, ny, nx = shape
    volume = xp.empty(shape, dtype=tilts.dtype, device=device_of(tilts))
    arguments = (
        tilts,
        xp.astype(as_device_array(weights, tilts), tilts.dtype),
        as_device_array(np.ascontiguousarray(geometry.cosines), tilts),
        as_device_array(np.ascontiguousarray(geometry.sines), tilts),
        np.int32(tilts.shape[0]),
        np.int32(tilts.shape[2]),
        np.float64(geometry.origin - geometry.padding),
        np.float64(geometry.centre_z),
        np.float64(geometry.centre_x),
        np.int32(nz),
        np.int32(ny),
        np.int32(nx),
        volume,
    )
    launch(source(), "backproject", (nx, ny, nz), arguments, tilts)
    return volume
