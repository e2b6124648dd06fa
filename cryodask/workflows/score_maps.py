"""Score and angle maps of a search as MRC files, for programs that read nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryodask.io.atomic import replacing
from cryodask.io.mrc import write_volume
from cryodask.io.store import Store
from cryodask.kernels.rotations import relion_zyz_deg_from_matrix
from cryodask.workflows import layout
from cryodask.workflows.match import MatchJob, MatchResult

_EVERYTHING = (slice(None),) * 3


def write_maps(folder: Path, maps: Store, job: MatchJob, result: MatchResult) -> list[Path]:
    """``NAME_scores.mrc`` and ``NAME_angles.mrc`` of every template; with several tomograms their names come first.

    Where no score is defined both hold -1. Angle maps hold the number of the best rotation, counted from 0 in
    ``NAME_angles.txt`` (rot, tilt, psi a line, degrees).
    """
    written = []
    for tomogram in job.tomograms:
        prefix = f"{tomogram.name}_" if len(job.tomograms) > 1 else ""
        for template in job.templates:
            name = template.source.template_id
            group = layout.scores_group(tomogram.name, name)
            scores = maps.source(group, "score").read(_EVERYTHING)
            ids = maps.source(group, "rotation_id").read(_EVERYTHING)
            for kind, volume in (("scores", np.nan_to_num(scores, nan=-1.0)), ("angles", ids.astype(np.float32))):
                path = folder / f"{prefix}{name}_{kind}.mrc"
                write_volume(path, volume, tomogram.voxel_size_angstrom, overwrite=True)
                written.append(path)
            angles = relion_zyz_deg_from_matrix(result.rotations[tomogram.name, name])
            with replacing(folder / f"{prefix}{name}_angles.txt") as partial:
                np.savetxt(partial, angles, fmt="%10.4f", header="rot tilt psi, degrees")
    return written
