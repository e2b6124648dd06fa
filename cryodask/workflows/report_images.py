"""Where a report finds the tomograms that an evaluation is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cryodask.io.mrc import read_volume
from cryodask.io.store import Store
from cryodask.model.source import ArraySource
from cryodask.workflows import layout
from cryodask.workflows.report_slices import TomogramImage

RECONSTRUCTION_FILE = "reconstruction.mrc"
RELEASE_VOXEL_ANGSTROM = 10.0
"""Of the SHREC release, whose files do not say it."""


def images_of_store(store: Store, names: Sequence[str]) -> dict[str, TomogramImage]:
    """Reconstructions of those of the named tomograms that the data set has."""
    found = {}
    for name in names:
        group = layout.tomogram_group(name)
        if store.is_complete(group):
            voxel = float(store.info(group)["voxel_size_angstrom"])
            found[name] = TomogramImage(source=store.source(group, "image"), voxel_size_angstrom=voxel)
    return found


def image_of_folder(folder: Path) -> TomogramImage | None:
    """The reconstruction in a SHREC model folder; None if it has none. Read as a whole."""
    file = folder / RECONSTRUCTION_FILE
    if not file.is_file():
        return None
    source = ArraySource(read_volume(file, dtype=np.float32)[0])
    return TomogramImage(source=source, voxel_size_angstrom=RELEASE_VOXEL_ANGSTROM)
