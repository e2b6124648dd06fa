"""The table of the particles that were placed, with the box of voxels that each of them fills."""

from __future__ import annotations

import xarray as xr

from cryodask.kernels.shape import bounding_boxes
from cryodask.model.particles import Particles
from cryodask.model.source import BlockSource


def with_bounding_boxes(particles: Particles, occupancy: BlockSource) -> xr.Dataset:
    """``particles`` as a data set, with ``z_first``, ``z_stop``, ``y_first``, ... of each in the mask's voxels.

    ``stop`` is one behind the last voxel; a particle that the mask does not hold has 0 and 0.
    """
    mask = occupancy.read(tuple(slice(0, n) for n in occupancy.shape))
    boxes = bounding_boxes(mask, len(particles))
    columns = {
        f"{axis}_{end}": ("particle", boxes[:, a, e])
        for a, axis in enumerate("zyx")
        for e, end in enumerate(("first", "stop"))
    }
    return particles.to_dataset().assign(columns)
