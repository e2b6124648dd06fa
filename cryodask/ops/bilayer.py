"""A flat piece of membrane as a template, and the regions that a tomogram's membranes fill."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, find_objects

from cryodask.backend import capabilities
from cryodask.model.source import ArraySource
from cryodask.ops.templates import TemplateSource

MEMBRANE = "membrane"

DISC_RADIUS_ANGSTROM = 75.0
HEAD_DISTANCE_ANGSTROM = 19.0
"""Of each leaflet's head groups from the middle."""
HEAD_SIGMA_ANGSTROM = 8.0
HEAD_POTENTIAL_V = 2.0
VOXEL_ANGSTROM = 2.5
_REACH_ANGSTROM = 110.0
_RIM_ANGSTROM = 3.3

LEAST_PRODUCT = 6.0
"""In deviations of the noise: what is membrane."""
LEAST_EXTENT_ANGSTROM, LEAST_SECOND_EXTENT_ANGSTROM = 300.0, 180.0
"""A membrane extends so far along one axis, and along another: particles do not."""
GROWN_VOXELS = 2


def bilayer_template() -> TemplateSource:
    """A disc of two leaflets, normal along z."""
    side = 2 * int(_REACH_ANGSTROM / VOXEL_ANGSTROM) + 1
    axis = (np.arange(side) - (side - 1) / 2) * VOXEL_ANGSTROM
    across = np.sqrt(axis[:, None] ** 2 + axis**2)
    rim = 1 / (1 + np.exp(np.clip((across - DISC_RADIUS_ANGSTROM) / _RIM_ANGSTROM, -50, 50)))
    heads = sum(
        np.exp(-0.5 * ((axis - at) / HEAD_SIGMA_ANGSTROM) ** 2)
        for at in (-HEAD_DISTANCE_ANGSTROM, HEAD_DISTANCE_ANGSTROM)
    )
    density = (HEAD_POTENTIAL_V * np.asarray(heads)[:, None, None] * rim).astype(np.float32)
    return TemplateSource(
        template_id=MEMBRANE,
        density=ArraySource(density),
        voxel_size_angstrom=VOXEL_ANGSTROM,
        radius_angstrom=DISC_RADIUS_ANGSTROM,
    )


def membrane_regions(
    products: npt.NDArray[np.float32], voxel_size_angstrom: float, shape: tuple[int, int, int], every: int
) -> npt.NDArray[np.bool_]:
    """(z, y, x) of the tomogram: connected regions of high products with the template that are as wide as a membrane.

    ``products`` has a sample at every ``every`` voxels.
    """
    labels, _ = capabilities(products).label(products > LEAST_PRODUCT)
    host = np.asarray(labels)
    found = np.zeros(host.shape, dtype=bool)
    size = voxel_size_angstrom * every
    for number, box in enumerate(find_objects(host), start=1):
        extents = sorted((axis.stop - axis.start) * size for axis in box)
        if extents[-1] >= LEAST_EXTENT_ANGSTROM and extents[-2] >= LEAST_SECOND_EXTENT_ANGSTROM:
            found[box] |= host[box] == number
    if found.any():
        found = np.asarray(binary_dilation(found, iterations=GROWN_VOXELS), dtype=bool)
    if every > 1:
        for axis in range(3):
            found = found.repeat(every, axis=axis)
        found = found[tuple(slice(0, n) for n in shape)]
    return found
