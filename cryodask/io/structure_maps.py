"""Structures that are only known as a density map (MRC): listed in a manifest with the assembly ``density``."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cryodask.errors import DataError
from cryodask.io.mrc import read_volume
from cryodask.io.structure_manifest import ManifestRow
from cryodask.model.structure import DensityMap, StructureInfo

MODELLED_BLUR_ANGSTROM = 5.75
"""Blur of the maps of about 10 angstrom resolution that are commonly computed from atoms for simulations.

Found from maps of the 26S proteasome and of a mitochondrial ribosome: with it, their spectra level off beyond the
particle's shape as those of atoms do. Averaging over the map's voxels comes on top of it.
"""


@dataclass(frozen=True, kw_only=True)
class MapStructure:
    """A structure in an MRC file. Picklable; the file must be visible where the map is loaded."""

    info: StructureInfo
    path: str
    voxel_size_angstrom: float
    blur_sigma_angstrom: float

    def load(self) -> DensityMap:
        """The map; DataError if the file is not the one that this handle was made from."""
        loaded = _loaded(self, Path(self.path))
        if _content_hash(loaded) != self.info.content_sha256:
            raise DataError(f"{self.path} has changed since this run began: run the command again")
        return loaded


def map_structure(row: ManifestRow, notices: list[str]) -> MapStructure:
    """The handle of a manifest row with the assembly ``density``; what was assumed about the map goes to ``notices``.

    DataError for a map that cannot be a particle's: no voxel size, no weight in the manifest, nothing positive in it.
    """
    if row.molecular_weight_kda is None:
        raise DataError(
            f"{row.path}: the density of {row.class_id} has no scale of its own; "
            "give the manifest the column molecular_weight_kda"
        )
    voxel = row.map_voxel_size_angstrom or read_volume(row.path)[1]
    if voxel is None:
        raise DataError(f"{row.path} does not say its voxel size; give the manifest the column map_voxel_size_angstrom")
    blur = row.map_blur_sigma_angstrom
    if blur is None:
        blur = math.hypot(MODELLED_BLUR_ANGSTROM, voxel / math.sqrt(12))
        notices.append(
            f"{row.class_id} is made of a density map, taken as blurred by a Gaussian of {blur:.2f} angstrom; "
            "the manifest's column map_blur_sigma_angstrom says otherwise"
        )
    info = row.info(row.molecular_weight_kda, "")
    handle = MapStructure(info=info, path=str(row.path), voxel_size_angstrom=voxel, blur_sigma_angstrom=blur)
    return replace(handle, info=replace(info, content_sha256=_content_hash(_loaded(handle, row.path))))


def _loaded(handle: MapStructure, path: Path) -> DensityMap:
    density, _ = read_volume(path)
    if not density.sum(dtype=np.float64) > 0:
        raise DataError(f"{path}: the sum of its values is not positive; a particle's density must be brighter than 0")
    return DensityMap(
        density=density,
        voxel_size_angstrom=handle.voxel_size_angstrom,
        blur_sigma_angstrom=handle.blur_sigma_angstrom,
        molecular_weight_kda=handle.info.molecular_weight_kda or 0.0,
    )


def _content_hash(loaded: DensityMap) -> str:
    digest = hashlib.sha256(loaded.density.astype("<f4").tobytes())
    numbers = (loaded.density.shape, loaded.voxel_size_angstrom, loaded.blur_sigma_angstrom)
    digest.update(repr((numbers, loaded.molecular_weight_kda)).encode())
    return digest.hexdigest()
