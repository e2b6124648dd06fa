"""The paper's template matching after the search: the best places of each class, cut where their Gaussian ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.kernels.peaks import joint_exclusion
from cryodask.kernels.score_cutoff import kept_scores
from cryodask.model.source import BlockSource
from cryodask.ops.beads import far_from_beads
from cryodask.ops.low_rank import rescored_peaks
from cryodask.ops.matching import peaks_of
from cryodask.ops.templates import SearchFilter, TemplateSource, fine_template

BEAD_MARGIN_VOXELS = 4.0
"""A place is left out when a bead lies nearer than half of the mask's radius and this."""

SHAPE_THRESHOLD_V = 0.5
SHAPE_FRACTION = 0.1
"""What belongs to a particle's shape: what exceeds this potential, or of a density in other units this share of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassPeaks:
    """Places of one class, best first."""

    class_id: str
    radius_voxels: float
    index: npt.NDArray[np.int64]
    """(n, 3) voxel (z, y, x)."""
    score: npt.NDArray[np.float64]
    matrices: npt.NDArray[np.float64]
    """(n, 3, 3)."""

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> ClassPeaks:
        return ClassPeaks(
            class_id=self.class_id,
            radius_voxels=self.radius_voxels,
            index=self.index[rows],
            score=self.score[rows],
            matrices=self.matrices[rows],
        )


def best_places(
    class_id: str,
    score: BlockSource,
    rotation_id: BlockSource,
    matrices: npt.NDArray[np.float64],
    count: int,
    *,
    source: TemplateSource,
    search: SearchFilter,
    filtered: BlockSource | None,
) -> ClassPeaks:
    """The ``count`` best maxima of one template's map, none nearer to another than the mask's radius.

    With ``filtered``, the tomogram as it was searched, scores are computed exactly at the maxima of an approximate map.
    """
    radius = source.radius_angstrom / search.voxel_size_angstrom
    if filtered is None:
        found = peaks_of(score, rotation_id, radius, count, 0.0)
    else:
        fine = fine_template(source, search)
        found = rescored_peaks(score, rotation_id, filtered, fine, matrices, radius, count, 0.0)
    return ClassPeaks(
        class_id=class_id,
        radius_voxels=radius,
        index=found.index,
        score=found.score,
        matrices=matrices[found.rotation_id],
    )


def merged_hands(parts: Sequence[ClassPeaks], count: int) -> ClassPeaks:
    """The best ``count`` places of several templates of one class, e.g. of both hands."""
    first = parts[0]
    together = ClassPeaks(
        class_id=first.class_id,
        radius_voxels=first.radius_voxels,
        index=np.concatenate([p.index for p in parts]),
        score=np.concatenate([p.score for p in parts]),
        matrices=np.concatenate([p.matrices for p in parts]),
    )
    if len(parts) > 1:
        radii = np.full(len(together.index), first.radius_voxels / 2)
        together = together.take(joint_exclusion(together.index, radii, together.score, overlap=1.0))
    return together.take(np.arange(min(count, len(together.index))))


def cut_list(peaks: ClassPeaks, beads: npt.NDArray[np.int64]) -> ClassPeaks:
    """Places away from gold beads (m, 3) whose score lies above the fitted Gaussian's mean less two deviations."""
    clear = far_from_beads(peaks.index, beads, 0.5 * peaks.radius_voxels + BEAD_MARGIN_VOXELS)
    kept = peaks.take(clear)
    return kept.take(kept_scores(kept.score))


def without_overlaps(lists: Sequence[ClassPeaks]) -> list[ClassPeaks]:
    """Each list in turn without the places nearer to one taken before than the sum of both radii, of any class."""
    taken, radii = np.empty((0, 3)), np.empty(0)
    result = []
    for peaks in lists:
        kept = []
        for row, place in enumerate(peaks.index):
            apart = np.linalg.norm(taken - place, axis=1)
            if not (apart < radii + peaks.radius_voxels).any():
                kept.append(row)
                taken = np.concatenate([taken, place[None].astype(np.float64)])
                radii = np.append(radii, peaks.radius_voxels)
        result.append(peaks.take(np.array(kept, dtype=np.int64)))
    return result


def roundness(source: TemplateSource) -> float:
    """Radius of the ball with the volume of a density's shape over the shape's farthest reach: 1 for a ball."""
    inside, voxel = particle_shape(source)
    centre = (np.array(inside.shape) - 1) / 2
    farthest = float(np.linalg.norm(np.argwhere(inside) - centre, axis=1).max()) + 0.5
    return equivalent_radius_angstrom(source) / (farthest * voxel)


def equivalent_radius_angstrom(source: TemplateSource) -> float:
    """Radius of the ball with the volume of a density's shape."""
    inside, voxel = particle_shape(source)
    return float(np.cbrt(3 * inside.sum() / (4 * np.pi))) * voxel


def particle_shape(source: TemplateSource) -> tuple[npt.NDArray[np.bool_], float]:
    """What of a density is particle, and its voxel size in angstrom; DataError for a density that is nowhere positive.

    That is what exceeds half a volt; a density that never does is taken to be in another unit.
    """
    density = source.density.read((slice(None),) * 3)
    highest = float(np.nanmax(density))
    if not highest > 0:
        raise DataError(f"template {source.template_id} has no positive density: particles must be positive")
    threshold = SHAPE_THRESHOLD_V if highest > SHAPE_THRESHOLD_V else SHAPE_FRACTION * highest
    return np.asarray(density > threshold, dtype=bool), source.voxel_size_angstrom
