"""How each evaluation mode scores one tomogram: from a truth and picks to the tables that the kernels count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from cryodask.errors import DataError
from cryodask.kernels.scoring import (
    Bools,
    Extents,
    Floats,
    Ints,
    Judged,
    distances,
    nearest_voxels,
)
from cryodask.kernels.scoring_czii import score_czii
from cryodask.kernels.scoring_shrec21 import first_picks, score_shrec21
from cryodask.kernels.scoring_strict import score_strict
from cryodask.model.evaluation import Truth
from cryodask.model.particles import Particles
from cryodask.model.source import ArraySource
from cryodask.ops.mask_scan import scan_mask

STRICT_TOLERANCE_ANGSTROM = 25.0
"""Least tolerance of mode ``strict``: 2.5 voxels of the benchmark's 10 angstrom."""

FRAME_TOLERANCE_VOXEL = 2.0
_LEAST_FINDS_TO_JUDGE = 10
"""With fewer found particles, a large mean distance says little: a pick may lie on the tip of a long particle."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A truth as tables: what every mode scores against."""

    truth: Truth
    looked_up: tuple[Ints, Ints] | None
    """Voxels, as their place in the flattened mask in rising order, and the particles there; None without a mask."""
    voxel: Floats
    label: Ints
    radius_voxel: Floats
    extents: Extents | None
    """From the mask, if there is one."""

    @classmethod
    def of(cls, truth: Truth, picks: Particles) -> Scene:
        """The truth, and what of its mask ``picks`` and the truth's own particles need."""
        label = truth.label_of(truth.particles.class_id)
        looked_up, measured = _read_mask(truth, picks)
        radius = np.zeros(len(label)) if measured is None else measured.radius_voxel.copy()
        known = {truth.label_of([name])[0]: value for name, value in truth.radius_angstrom.items()}
        for row, own in enumerate(label):
            radius[row] = known.get(own, radius[row] * truth.voxel_size_angstrom) / truth.voxel_size_angstrom
        voxel = truth.particles.voxels(truth.shape, truth.voxel_size_angstrom)
        return cls(truth=truth, looked_up=looked_up, voxel=voxel, label=label, radius_voxel=radius, extents=measured)

    def particle_at(self, voxel: Ints) -> Ints:
        """(m,) id of the particle that each voxel (m, 3) of a pick or true centre lies on, 0 for none."""
        if self.looked_up is None:
            raise DataError(
                f"truth of {self.truth.name!r} has no occupancy mask, which mode shrec21 needs; use mode strict"
            )
        places, ids = self.looked_up
        found: Ints = ids[np.searchsorted(places, np.ravel_multi_index(tuple(voxel.T), self.truth.shape))]
        return found


def _read_mask(truth: Truth, picks: Particles) -> tuple[tuple[Ints, Ints] | None, Extents | None]:
    """Particles at the voxels of picks and true centres, and the extents of all, in one pass over the mask."""
    if truth.occupancy is None:
        return None, None
    voxels = [
        nearest_voxels(own.voxels(truth.shape, truth.voxel_size_angstrom), truth.shape)[0]
        for own in (picks, truth.particles)
    ]
    places = np.unique(np.ravel_multi_index(tuple(np.concatenate(voxels).T), truth.shape))
    voxel = np.stack(np.unravel_index(places, truth.shape), axis=1)
    source = ArraySource(truth.occupancy) if isinstance(truth.occupancy, np.ndarray) else truth.occupancy
    measured, ids = scan_mask(source, len(truth.particles), voxel)
    return (places, ids), measured


Scorer: TypeAlias = Callable[[Scene, Particles, Sequence[int]], Judged]


def _shrec21(scene: Scene, picks: Particles, excluded: Sequence[int]) -> Judged:
    truth = scene.truth
    voxel, outside = nearest_voxels(picks.voxels(truth.shape, truth.voxel_size_angstrom), truth.shape)
    particle = scene.particle_at(voxel)
    _check_distances(scene, voxel, particle, excluded)
    return score_shrec21(
        scene.voxel,
        scene.label,
        voxel,
        truth.label_of(picks.class_id),
        particle,
        n_labels=len(truth.labels),
        excluded=excluded,
        # The benchmark drops vesicles, but leaves them in the recall's denominator and among the classes.
        excluded_but_in_recall=[label for label in excluded if truth.labels[label].casefold() == "vesicle"],
        picks_outside=int(outside.sum()),
    )


def _strict(scene: Scene, picks: Particles, excluded: Sequence[int]) -> Judged:
    truth = scene.truth
    position = picks.voxels(truth.shape, truth.voxel_size_angstrom)
    voxel, outside = nearest_voxels(position, truth.shape)
    on_excluded: Bools | None = None
    if scene.looked_up is not None:
        label_of_id = np.concatenate([[0], scene.label])
        on_excluded = ~outside & np.isin(label_of_id[scene.particle_at(voxel)], excluded)
    return score_strict(
        scene.voxel,
        scene.label,
        np.maximum(STRICT_TOLERANCE_ANGSTROM / truth.voxel_size_angstrom, scene.radius_voxel / 2),
        position,
        truth.label_of(picks.class_id),
        picks.score,
        n_labels=len(truth.labels),
        excluded=excluded,
        pick_on_excluded=on_excluded,
        picks_outside=int(outside.sum()),
    )


def _czii(scene: Scene, picks: Particles, excluded: Sequence[int]) -> Judged:
    truth = scene.truth
    position = picks.voxels(truth.shape, truth.voxel_size_angstrom)
    _, outside = nearest_voxels(position, truth.shape)
    unknown = sorted({str(truth.labels[own]) for own, r in zip(scene.label, scene.radius_voxel, strict=True) if not r})
    if unknown and scene.looked_up is None:
        raise DataError(
            f"truth of {truth.name!r} does not tell the radius of {', '.join(unknown)}, which mode czii needs; give it "
            "an occupancy mask, or use mode strict"
        )
    return score_czii(
        scene.voxel,
        scene.label,
        scene.radius_voxel,
        position,
        truth.label_of(picks.class_id),
        picks.score,
        n_labels=len(truth.labels),
        excluded=excluded,
        picks_outside=int(outside.sum()),
    )


MODES: Mapping[str, tuple[Scorer, tuple[str, ...]]] = {
    "shrec21": (_shrec21, ("4V94", "vesicle")),
    "strict": (_strict, ("vesicle",)),
    "czii": (_czii, ("vesicle",)),
}
"""How each mode scores one tomogram, and the classes it does not evaluate unless told otherwise."""


def check_frame(scene: Scene) -> None:
    """The listed centres must lie where the mask has their particles."""
    truth, measured = scene.truth, scene.extents
    if measured is None or not len(scene.label):
        return
    near = int(measured.near(scene.voxel, FRAME_TOLERANCE_VOXEL).sum())
    if 2 * near < len(scene.label):
        raise DataError(
            f"coordinate frame mismatch: of {len(scene.label)} particles of {truth.name!r}, {near} lie where the "
            f"occupancy mask has them{_typical_offset(measured.centroid_voxel - scene.voxel)}; check that list and "
            "mask are of the same model, the axis order (x y z in files) and the offset in z of a cropped volume"
        )


def _typical_offset(offset: Floats) -> str:
    held = offset[np.isfinite(offset).all(axis=1)]
    if not len(held):
        return ""
    z, y, x = np.median(held, axis=0)
    return f" (there they are shifted by {z:.0f}, {y:.0f}, {x:.0f} voxels in z, y, x)"


def _check_distances(scene: Scene, pick_voxel: Ints, pick_particle: Ints, excluded: Sequence[int]) -> None:
    """Picks that lie on particles must, on the whole, be nearer to their centres than a particle is wide."""
    first = first_picks(pick_particle, len(scene.label))
    found = (first >= 0) & ~np.isin(scene.label, excluded)
    if int(found.sum()) < _LEAST_FINDS_TO_JUDGE:
        return
    distance = float(distances(pick_voxel[first[found]].astype(np.float64), scene.voxel[found]).mean())
    diameter = float(2 * scene.radius_voxel[found].mean())
    if distance > diameter:
        raise DataError(
            f"coordinate frame mismatch: in {scene.truth.name!r} the picks that hit a particle lie {distance:.1f} "
            f"voxels from its listed centre on average, but the particles are {diameter:.1f} voxels wide; check the "
            "offset in z and the voxel size of the particle list"
        )
