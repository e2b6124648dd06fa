"""CUDA implementations of the capabilities, by cupyx. Imported only when an array is on a CUDA device."""

from __future__ import annotations

import cupyx.scipy.ndimage
import cupyx.scipy.special
import numpy as np

from cryodask.backend.arrays import Array, as_device_array, to_host


class CudaCapabilities:
    """cupyx on the device; random counts are drawn on the host (see ``Capabilities.poisson``)."""

    def affine_transform(
        self, volume: Array, matrix: Array, offset: Array, output_shape: tuple[int, ...], order: int, prefilter: bool
    ) -> Array:
        return cupyx.scipy.ndimage.affine_transform(
            volume,
            as_device_array(to_host(matrix), volume),
            tuple(float(value) for value in to_host(offset)),
            output_shape=output_shape,
            output=volume.dtype,
            order=order,
            mode="constant",
            cval=0.0,
            prefilter=prefilter,
        )

    def spline_filter1d(self, volume: Array, axis: int) -> Array:
        return cupyx.scipy.ndimage.spline_filter1d(volume, 3, axis, output=volume.dtype, mode="mirror")

    def erf(self, x: Array) -> Array:
        return cupyx.scipy.special.erf(x)

    def poisson(self, mean: Array, generator: np.random.Generator) -> Array:
        host = to_host(mean)
        return as_device_array(generator.poisson(host).astype(host.dtype), mean)

    def label(self, mask: Array) -> tuple[Array, int]:
        structure = as_device_array(np.ones((3,) * mask.ndim, dtype=bool), mask)
        labels, count = cupyx.scipy.ndimage.label(mask, structure=structure)
        return labels, int(count)

    def maximum_filter(self, x: Array, size: int) -> Array:
        return cupyx.scipy.ndimage.maximum_filter(x, size=size, mode="nearest")
