"""Boxes about picks: their middle slices, and their average once each is turned back to the reference's orientation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cryodask.kernels.fourier import irfftn, radius, rfftn
from cryodask.kernels.resample import rotate_volume
from cryodask.kernels.spectrum import gaussian_low_pass
from cryodask.model.source import BlockSource

Volume = npt.NDArray[np.float32]


def boxes_of(image: BlockSource, places: npt.NDArray[np.int64], half: int, *, dark: bool) -> Volume:
    """(n, 2 half + 1, ...) boxes about voxels (n, 3), particles bright; those cut by a face are left out."""
    low, high = places - half, places + half + 1
    whole = ((low >= 0) & (high <= np.array(image.shape))).all(axis=1)
    boxes = [
        np.asarray(image.read(tuple(slice(int(a), int(b)) for a, b in zip(x, y, strict=True))), dtype=np.float32)
        for x, y in zip(low[whole], high[whole], strict=True)
    ]
    if not boxes:
        return np.zeros((0, *(2 * half + 1,) * 3), np.float32)
    stack = np.stack(boxes)
    return -stack if dark else stack


def middle_slices(
    image: BlockSource,
    places: npt.NDArray[np.int64],
    half: int,
    *,
    dark: bool,
    voxel_size_angstrom: float,
    low_pass_angstrom: float,
) -> Volume:
    """(n, y, x) middle slices of the low-passed boxes."""
    boxes = boxes_of(image, places, half, dark=dark)
    return (
        np.stack([_smooth(box, voxel_size_angstrom, low_pass_angstrom)[half] for box in boxes])
        if len(boxes)
        else (np.zeros((0, 2 * half + 1, 2 * half + 1), np.float32))
    )


def aligned_average(
    image: BlockSource,
    places: npt.NDArray[np.int64],
    matrices: npt.NDArray[np.float64],
    half: int,
    *,
    dark: bool,
    voxel_size_angstrom: float,
    low_pass_angstrom: float,
) -> tuple[Volume, int]:
    """Mean of the boxes about picks, each turned back by its rotation (n, 3, 3), low-passed; and how many there were.

    Missing wedges fill each other up as far as orientations differ; nothing is weighted by them.
    """
    low, high = places - half, places + half + 1
    whole = ((low >= 0) & (high <= np.array(image.shape))).all(axis=1)
    boxes = boxes_of(image, places[whole], half, dark=dark)
    total = np.zeros((2 * half + 1,) * 3, np.float64)
    for box, matrix in zip(boxes, matrices[whole], strict=True):
        flat = box - box.mean()
        total += rotate_volume(flat, matrix.T, output_shape=(2 * half + 1,) * 3, order=1)
    mean = (total / max(len(boxes), 1)).astype(np.float32)
    return _smooth(mean, voxel_size_angstrom, low_pass_angstrom), len(boxes)


def reference_slices(
    density: BlockSource, density_voxel_angstrom: float, half: int, voxel_size_angstrom: float, low_pass_angstrom: float
) -> Volume:
    """(3, n, n) middle slices along z, y and x of a density on the boxes' grid."""
    values = np.asarray(density.read((slice(None),) * 3), dtype=np.float32)
    smooth = _smooth(values, density_voxel_angstrom, low_pass_angstrom)
    on_grid = rotate_volume(
        smooth,
        np.eye(3),
        output_shape=(2 * half + 1,) * 3,
        zoom=voxel_size_angstrom / density_voxel_angstrom,
        order=1,
    )
    return middle_sections(on_grid)


def middle_sections(volume: Volume) -> Volume:
    """(3, n, n) middle slices of a cube along z, y and x."""
    half = volume.shape[0] // 2
    return np.stack([volume[half], volume[:, half], volume[:, :, half]])


def _smooth(volume: Volume, voxel_size_angstrom: float, low_pass_angstrom: float) -> Volume:
    k = radius(volume.shape, voxel_size_angstrom, volume, real=True)
    return np.asarray(irfftn(rfftn(volume) * gaussian_low_pass(k, low_pass_angstrom), volume.shape), dtype=np.float32)
