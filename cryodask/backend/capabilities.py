"""What kernels need beyond the array API standard, once for the host and once for CUDA devices.

Arrays of a library without its own implementation (torch, array-api-strict) take the way over the host: slower,
never wrong.
"""

from __future__ import annotations

from typing import Protocol

import array_api_compat
import numpy as np
import scipy.ndimage
import scipy.special

from cryodask.backend.arrays import Array, as_device_array, to_host


class Capabilities(Protocol):
    """The few operations that the standard lacks. Arrays in, arrays of the same library and device out."""

    def affine_transform(
        self, volume: Array, matrix: Array, offset: Array, output_shape: tuple[int, ...], order: int, prefilter: bool
    ) -> Array:
        """Spline interpolation: output voxel o shows input position ``matrix @ o + offset``; outside counts as 0."""
        ...

    def spline_filter1d(self, volume: Array, axis: int) -> Array:
        """Coefficients of the cubic B-spline through ``volume`` along one axis (mirror boundary)."""
        ...

    def erf(self, x: Array) -> Array:
        """Gauss error function, elementwise."""
        ...

    def poisson(self, mean: Array, generator: np.random.Generator) -> Array:
        """Poisson counts, drawn on the host so that every device gives the same ones; dtype of ``mean``."""
        ...

    def label(self, mask: Array) -> tuple[Array, int]:
        """Connected components (full neighbourhood) of a boolean array: int32 labels from 1, and their number."""
        ...

    def maximum_filter(self, x: Array, size: int) -> Array:
        """Maximum over a cube of ``size`` voxels around each voxel (nearest boundary)."""
        ...


class HostCapabilities:
    """SciPy on the host, for numpy arrays and for every library without its own implementation."""

    def affine_transform(
        self, volume: Array, matrix: Array, offset: Array, output_shape: tuple[int, ...], order: int, prefilter: bool
    ) -> Array:
        host = to_host(volume)
        moved = scipy.ndimage.affine_transform(  # type: ignore[call-overload]  # the stubs spell out orders 0 to 5
            host,
            to_host(matrix),
            to_host(offset),
            output_shape=output_shape,
            output=host.dtype,
            order=order,
            mode="constant",
            cval=0.0,
            prefilter=prefilter,
        )
        return as_device_array(moved, volume)

    def spline_filter1d(self, volume: Array, axis: int) -> Array:
        host = to_host(volume)
        return as_device_array(scipy.ndimage.spline_filter1d(host, 3, axis, output=host.dtype, mode="mirror"), volume)

    def erf(self, x: Array) -> Array:
        return as_device_array(scipy.special.erf(to_host(x)), x)

    def poisson(self, mean: Array, generator: np.random.Generator) -> Array:
        host = to_host(mean)
        return as_device_array(generator.poisson(host).astype(host.dtype), mean)

    def label(self, mask: Array) -> tuple[Array, int]:
        host = to_host(mask)
        structure = np.ones((3,) * host.ndim, dtype=bool)
        labels = np.empty(host.shape, dtype=np.int32)
        count = scipy.ndimage.label(host, structure=structure, output=labels)
        return as_device_array(labels, mask), int(count)

    def maximum_filter(self, x: Array, size: int) -> Array:
        return as_device_array(scipy.ndimage.maximum_filter(to_host(x), size=size, mode="nearest"), x)


def capabilities(x: Array) -> Capabilities:
    """Implementation for the library of ``x``. cupy is imported only when ``x`` is one of its arrays."""
    if array_api_compat.is_cupy_array(x):
        from cryodask.backend.cuda import CudaCapabilities

        return CudaCapabilities()
    return HostCapabilities()
