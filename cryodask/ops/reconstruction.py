"""Weighted back-projection: images are prepared tilt by tilt, the tomogram is made slab by slab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed, delayed

from cryodask.errors import DataError
from cryodask.kernels.backprojection import backproject
from cryodask.kernels.fourier import fourier_crop, fourier_shift
from cryodask.kernels.ramp import RampWindow, filter_tilts
from cryodask.kernels.spectrum import cosine_taper
from cryodask.model.images import TiltSeries
from cryodask.model.source import BlockSource
from cryodask.params.schema import ReconstructionParameters

Image = npt.NDArray[np.float32]

OVERSAMPLING = 2
"""Samples per pixel of the filtered lines: linear interpolation between them errs four times less than without."""


@dataclass(frozen=True)
class ReconstructionGeometry:
    """Shapes and sizes of a reconstruction, computed once from the images and the parameters."""

    tilt_deg: tuple[float, ...]
    shape: tuple[int, int, int]
    voxel_size_angstrom: float

    @classmethod
    def plan(
        cls,
        image_shape: tuple[int, int],
        pixel_size_angstrom: float,
        tilt_deg: Sequence[float],
        sample_thickness_angstrom: float | None,
        parameters: ReconstructionParameters,
    ) -> ReconstructionGeometry:
        """Geometry for images of this shape; DataError where binning does not divide them or the depth is unknown."""
        binning = parameters.binning
        if any(n % binning for n in image_shape):
            raise DataError(f"images of {image_shape[0]} x {image_shape[1]} pixels cannot be binned by {binning}")
        voxel = pixel_size_angstrom * binning
        depth = parameters.thickness_voxels
        if depth is None:
            if sample_thickness_angstrom is None:
                raise DataError("the tilt series does not say how thick its sample is: give --thickness VOXELS")
            depth = round(sample_thickness_angstrom / voxel)
        ny, nx = (n // binning for n in image_shape)
        return cls(tuple(float(t) for t in tilt_deg), (depth, ny, nx), voxel)


def prepare_image(
    images: BlockSource,
    index: int,
    shift_pixels: tuple[float, float],
    parameters: ReconstructionParameters,
) -> Image:
    """One image as contrast ``(I - mean) / mean``, shift undone, edges tapered, binned: (y, x) float32."""
    image = images.read((slice(index, index + 1), slice(None), slice(None)))[0].astype(np.float32)
    mean = float(image.mean(dtype=np.float64))
    if not np.isfinite(mean) or mean <= 0:
        raise DataError(f"tilt {index}: the image's mean is {mean}; counts must be finite and positive on average")
    contrast = image / np.float32(mean) - np.float32(1)
    for axis, n in enumerate(contrast.shape):
        taper = cosine_taper(n, parameters.taper_fraction, contrast)
        contrast = contrast * (taper[:, None] if axis == 0 else taper[None, :])
    if shift_pixels != (0.0, 0.0):
        contrast = fourier_shift(contrast, -shift_pixels[0], -shift_pixels[1])
    binned: Image = fourier_crop(contrast, parameters.binning).astype(np.float32)
    return binned


def reconstruct_slab(
    images: Sequence[Image], rows: tuple[int, int], geometry: ReconstructionGeometry, window: RampWindow
) -> npt.NDArray[np.float32]:
    """Rows ``rows[0]`` to ``rows[1]`` along y of the tomogram, from the same rows of all prepared images."""
    lines = np.stack([image[rows[0] : rows[1]] for image in images])
    filtered = filter_tilts(lines, window=window, oversampling=OVERSAMPLING)
    nz, _, nx = geometry.shape
    slab: npt.NDArray[np.float32] = backproject(
        filtered, np.array(geometry.tilt_deg), shape=(nz, rows[1] - rows[0], nx), oversampling=OVERSAMPLING
    )
    return slab


def slab_tasks(
    series: TiltSeries,
    images: BlockSource,
    geometry: ReconstructionGeometry,
    parameters: ReconstructionParameters,
    blocks: Sequence[int] | None = None,
) -> list[Delayed]:
    """One delayed slab (z, rows, x) for each of ``blocks`` (all by default); each image is prepared once for all."""
    shifts = np.stack([series.coordinate(f"shift_{axis}_angstrom") for axis in "yx"], axis=1)
    prepared = [
        delayed(prepare_image, pure=False)(images, index, (float(shift[0]), float(shift[1])), parameters)
        for index, shift in enumerate(shifts / series.pixel_size_angstrom)
    ]
    rows = slabs(geometry, parameters)
    chosen = range(len(rows)) if blocks is None else blocks
    return [
        delayed(reconstruct_slab, pure=False)(prepared, rows[block], geometry, parameters.window) for block in chosen
    ]


def slabs(geometry: ReconstructionGeometry, parameters: ReconstructionParameters) -> list[tuple[int, int]]:
    """Ranges of rows, one a task."""
    ny = geometry.shape[1]
    return [(start, min(start + parameters.slab_voxels, ny)) for start in range(0, ny, parameters.slab_voxels)]


def reconstruct_slab_bytes(geometry: ReconstructionGeometry, parameters: ReconstructionParameters) -> int:
    """Peak bytes of one slab task: the prepared images it receives, its lines through the filter, its slab."""
    nz, ny, nx = geometry.shape
    n_tilts = len(geometry.tilt_deg)
    rows = min(parameters.slab_voxels, ny)
    images = 4 * n_tilts * ny * nx
    # Zero-padded spectra (complex64 of 2 x padding, 2 x oversampling) beside their real lines and a transposed copy.
    lines = n_tilts * rows * nx * 4 * (1 + 2 + 2 * 2 + 4 + 2 * OVERSAMPLING)
    return images + lines + 3 * 4 * nz * rows * nx
