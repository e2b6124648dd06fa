"""From peaks of single templates to one list of picks: the classes compete by robust z-score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cryodask.kernels.peaks import joint_exclusion
from cryodask.kernels.rotations import zxz_deg_from_matrix
from cryodask.model.particles import Particles, concatenate
from cryodask.ops.matching import Peaks

OVERLAP = 1.0
"""Two picks are one particle when they are nearer than this times the larger of their classes' radii."""


def decide(
    peaks: Sequence[tuple[str, float, Peaks]],
    matrices: npt.NDArray[np.float64],
    *,
    shape: tuple[int, int, int],
    voxel_size_angstrom: float,
    tomogram: str,
) -> Particles:
    """Best z-score first over all classes; a pick removes the candidates of every class that overlap it.

    Args:
        peaks: Class, radius in angstrom and peaks of every template.
        matrices: (n, 3, 3) rotations that the peaks' ids count.
        shape: Of the score maps.
        voxel_size_angstrom: Of the score maps.
        tomogram: Name given to the picks.

    Returns:
        Picks, best first, with their z-score as score.
    """
    classes = [name for name, _, found in peaks for _ in found.score]
    if not classes:
        return Particles.create([], np.empty((0, 3)), tomogram=tomogram)
    index = np.concatenate([found.index for _, _, found in peaks])
    radii = np.concatenate([np.full(len(found.score), radius) for _, radius, found in peaks])
    z = np.concatenate([found.z for _, _, found in peaks])
    ids = np.concatenate([found.rotation_id for _, _, found in peaks])
    position = (index - (np.asarray(shape) - 1) / 2) * voxel_size_angstrom
    kept = joint_exclusion(position, radii, z, overlap=OVERLAP)
    return Particles.create(
        [classes[i] for i in kept],
        position[kept],
        tomogram=tomogram,
        zxz_deg=zxz_deg_from_matrix(matrices[ids[kept]]),
        score=z[kept],
    )


def joined(parts: Sequence[Particles]) -> Particles:
    """Picks of all tomograms in one list, tomogram by tomogram."""
    return concatenate(parts)
