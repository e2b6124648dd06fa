"""``structures describe``: Table 1 of the SHREC 2021 paper for any structure set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cryodask.kernels.resample import rotate_volume
from cryodask.kernels.shape import shape_statistics
from cryodask.model.structure import Structure
from cryodask.ops.sample import MASK_THRESHOLD_V, particle_density
from cryodask.params.schema import SampleParameters

VOXEL_NM = 1.0


def describe_structures(structures: Sequence[Structure]) -> list[dict[str, Any]]:
    """Weight, volume, area, sphericity and effective radius of each structure at 1 nm sampling above 0.5 V."""
    return [_describe(structure) for structure in structures]


def _describe(structure: Structure) -> dict[str, Any]:
    density = particle_density(structure, SampleParameters())
    zoom = 10 * VOXEL_NM / density.voxel_size_angstrom
    side = int(np.ceil(density.electrostatic_v.shape[0] / zoom)) + 4
    coarse = rotate_volume(density.electrostatic_v, np.eye(3), output_shape=(side,) * 3, zoom=zoom)
    shape = shape_statistics(coarse, MASK_THRESHOLD_V, VOXEL_NM)
    info = structure.info
    return {
        "class_id": info.class_id,
        "name": info.name,
        "molecular_weight_kda": info.molecular_weight_kda,
        "volume_nm3": shape.volume,
        "area_nm2": shape.area,
        "sphericity": shape.sphericity,
        "effective_radius_nm": shape.effective_radius,
        "bounding_radius_nm": density.radius_angstrom / 10,
    }
