"""OME-Zarr 0.5 metadata of a multiscale image (https://ngff.openmicroscopy.org/0.5/)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryodask.errors import ConfigError


def ome_multiscales(
    name: str, voxel_sizes_angstrom: Sequence[float], *, variable: str = "image", level: str = "scale{}"
) -> dict[str, Any]:
    """Attributes for the parent group of a pyramid whose levels are groups ``scale0``, ``scale1`` ..., finest first.

    The level's image is the array ``variable`` in its group, axes (z, y, x). Voxel 0 of level 0 is centred at 0; that
    of a coarser level at half the difference of the voxel sizes, because a coarse voxel covers whole fine ones.
    """
    if not voxel_sizes_angstrom or any(size <= 0 for size in voxel_sizes_angstrom):
        raise ConfigError(f"voxel sizes of a pyramid must be positive, got {list(voxel_sizes_angstrom)}")
    datasets = []
    for index, size in enumerate(voxel_sizes_angstrom):
        transformations: list[dict[str, Any]] = [{"type": "scale", "scale": [float(size)] * 3}]
        if index:
            offset = (size - voxel_sizes_angstrom[0]) / 2
            transformations.append({"type": "translation", "translation": [float(offset)] * 3})
        path = f"{level.format(index)}/{variable}"
        datasets.append({"path": path, "coordinateTransformations": transformations})
    axes = [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"]
    return {"ome": {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}}
