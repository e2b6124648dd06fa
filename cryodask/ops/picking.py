"""From peaks of single templates to one list of picks: the classes compete by robust z-score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryodask.kernels.peaks import joint_exclusion
from cryodask.kernels.rotations import zxz_deg_from_matrix
from cryodask.model.particles import Particles, concatenate
from cryodask.ops.matching import Peaks

OVERLAP = 0.7
"""Two picks are one particle when they are nearer than this times the sum of their classes' mask radii.

At 1.0 a side lobe of a large particle could never be picked, but neither could elongated particles side by side."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """What one template offers to the competition."""

    class_id: str
    radius_angstrom: float
    peaks: Peaks
    matrices: npt.NDArray[np.float64]
    """(n, 3, 3) rotations that the peaks' ids count."""


def decide(
    candidates: Sequence[Candidates],
    *,
    shape: tuple[int, int, int],
    voxel_size_angstrom: float,
    tomogram: str,
) -> Particles:
    """Best z-score first over all classes; a pick removes the candidates of every class that overlap it.

    Args:
        candidates: Peaks of every template.
        shape: Of the score maps.
        voxel_size_angstrom: Of the score maps.
        tomogram: Name given to the picks.

    Returns:
        Picks, best first, with their z-score as score.
    """
    found = [c for c in candidates if len(c.peaks.score)]
    if not found:
        return Particles.create([], np.empty((0, 3)), tomogram=tomogram)
    classes = [c.class_id for c in found for _ in c.peaks.score]
    index = np.concatenate([c.peaks.index if c.peaks.offset is None else c.peaks.index + c.peaks.offset for c in found])
    radii = np.concatenate([np.full(len(c.peaks.score), c.radius_angstrom) for c in found])
    z = np.concatenate([c.peaks.z for c in found])
    rotations = np.concatenate([c.matrices[c.peaks.rotation_id] for c in found])
    position = (index - (np.asarray(shape) - 1) / 2) * voxel_size_angstrom
    kept = joint_exclusion(position, radii, z, overlap=OVERLAP)
    return Particles.create(
        [classes[i] for i in kept],
        position[kept],
        tomogram=tomogram,
        zxz_deg=zxz_deg_from_matrix(rotations[kept]),
        score=z[kept],
    )


def joined(parts: Sequence[Particles]) -> Particles:
    """Picks of all tomograms in one list, tomogram by tomogram."""
    return concatenate(parts)
