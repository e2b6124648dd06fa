"""Shape of a particle from its density: volume, area, sphericity and effective radius (SHREC 2021, Table 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_fill_holes, distance_transform_edt, find_objects
from skimage.measure import marching_cubes, mesh_surface_area

from cryodask.backend import Array, to_host
from cryodask.errors import ConfigError, DataError


@dataclass(frozen=True)
class ShapeStatistics:
    """In the unit of the voxel size, squared and cubed."""

    volume: float
    area: float

    @property
    def sphericity(self) -> float:
        """pi^(1/3) (6 V)^(2/3) / A, equation 1: 1 for a ball, less for anything else."""
        return float(math.pi ** (1 / 3) * (6 * self.volume) ** (2 / 3) / self.area)

    @property
    def effective_radius(self) -> float:
        """3 V / A, equation 2: the radius of a ball with this ratio of volume to area."""
        return 3 * self.volume / self.area


def solid(inside: npt.NDArray[np.bool_], radius_voxels: float) -> npt.NDArray[np.bool_]:
    """A shape (z, y, x) without its holes: closed by a ball of ``radius_voxels``, then filled. Runs on the host.

    Channels and clefts narrower than twice the radius are closed, cavities that they led to are filled; the outline
    stays as it is elsewhere.
    """
    margin = math.ceil(radius_voxels) + 1
    padded = np.pad(inside, margin)
    if not padded.any():
        return np.zeros_like(inside)
    grown = distance_transform_edt(~padded) <= radius_voxels
    closed = distance_transform_edt(grown) > radius_voxels
    filled = binary_fill_holes(closed | padded)
    result: npt.NDArray[np.bool_] = np.asarray(filled)[(slice(margin, -margin),) * 3]
    return result


def bounding_boxes(labels: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.int64]:
    """(count, 3, 2) first and one behind the last voxel along (z, y, x) of labels 1 to ``count``; 0, 0 if not there."""
    boxes = np.zeros((count, 3, 2), np.int64)
    for index, found in enumerate(find_objects(labels, max_label=count)):
        if found is not None:
            boxes[index] = [(axis.start, axis.stop) for axis in found]
    return boxes


def shape_statistics(density: Array, threshold: float, voxel_size: float) -> ShapeStatistics:
    """Volume of a density's (z, y, x) voxels above ``threshold``, and area of its surface there by marching cubes.

    Runs on the host.

    Raises
    ------
    ConfigError
        ``density`` has no three axes, ``threshold`` is not finite, or ``voxel_size`` is not positive.
    DataError
        A value is not finite, nothing exceeds the threshold, or the surface leaves the box.
    """
    values = to_host(density)
    if values.ndim != 3 or not math.isfinite(threshold) or not 0 < voxel_size < math.inf:
        raise ConfigError(
            f"a shape needs a volume, a finite threshold and a positive voxel size, got shape {values.shape}, "
            f"threshold {threshold}, voxel size {voxel_size}"
        )
    if not np.isfinite(values).all():
        raise DataError(f"the density has {np.count_nonzero(~np.isfinite(values))} values that are not finite")
    inside = values > threshold
    if not inside.any():
        raise DataError(f"the density never exceeds {threshold}; its maximum is {values.max()}")
    faces = [np.take(inside, end, axis=axis) for axis in range(values.ndim) for end in (0, -1)]
    if any(face.any() for face in faces):
        raise DataError(f"the density exceeds {threshold} on a face of its box: enlarge the box")
    vertices, triangles, _, _ = marching_cubes(values, threshold)
    area = float(mesh_surface_area(vertices, triangles)) * voxel_size**2
    return ShapeStatistics(float(inside.sum()) * voxel_size**3, area)
