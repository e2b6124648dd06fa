"""Mode ``shrec21``: the benchmark's own way of counting, kept to the letter so that published numbers compare.

Source: the SHREC 2021 evaluation; what it counts is stated at the lines below, peculiarities included.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from cryodask.kernels.scoring import (
    Counts,
    Floats,
    Ints,
    Judged,
    confusion_matrix,
    distances,
    fixed_point,
    foreign_id,
)


def first_picks(pick_particle: Ints, n_particles: int) -> Ints:
    """(n_particles,) index of the first pick that lies on each particle, -1 where there is none."""
    first = np.full(n_particles + 1, -1, dtype=np.int64)
    ids, index = np.unique(pick_particle, return_index=True)
    if len(ids) and ids[-1] > n_particles:
        raise foreign_id(int(ids[-1]), n_particles)
    first[ids] = index
    return first[1:]


def score_shrec21(
    truth_voxel: Floats,
    truth_label: Ints,
    pick_voxel: Ints,
    pick_label: Ints,
    pick_particle: Ints,
    *,
    n_labels: int,
    excluded: Collection[int],
    excluded_but_in_recall: Collection[int] = (),
    picks_outside: int = 0,
) -> Judged:
    """Counts of one tomogram, and what they say of each pick and particle.

    Parameters
    ----------
    truth_voxel
        (n, 3) centres (z, y, x) of the truth particles in voxels; row k has id k + 1 in the mask.
    truth_label
        (n,) class labels from 1.
    pick_voxel
        (m, 3) voxels of the picks, in the order of the submission, moved into the volume.
    pick_label
        (m,) class labels; -1 for a class that the truth does not know.
    pick_particle
        (m,) id of the particle that each pick lies on by the dilated mask, 0 for none.
    n_labels
        Number of labels, background included.
    excluded
        Labels whose particles, and the picks on them, are dropped.
    excluded_but_in_recall
        Those of them that the recall's denominator still holds and that a pick may still be classified as (the
        benchmark's vesicles).
    picks_outside
        How many picks had to be moved into the volume; passed on.
    """
    n = len(truth_label)
    first = first_picks(pick_particle, n)
    n_picks = np.bincount(pick_particle, minlength=n + 1)[1:]
    evaluated = ~np.isin(truth_label, list(excluded))
    found = evaluated & (n_picks > 0)
    dropped = [label for label in excluded if label not in excluded_but_in_recall]

    # A particle is classified as its first pick says; picks on the background and further picks never enter.
    picked_label = np.where(first >= 0, pick_label[first] if len(pick_label) else 0, 0)
    picked_label = np.where((picked_label < 0) | np.isin(picked_label, dropped), 0, picked_label)
    confusion = confusion_matrix(truth_label[evaluated], picked_label[evaluated], n_labels)
    diagonal = np.diag(confusion)
    distance_voxel = distances(pick_voxel[first[found]].astype(np.float64), truth_voxel[found])

    counts = Counts(
        n_tomograms=1,
        submitted=len(pick_particle),
        found=int(found.sum()),
        false_positive=int((pick_particle == 0).sum()),
        missed=int((evaluated & (n_picks == 0)).sum()),
        multiply_found=int((evaluated & (n_picks > 1)).sum()),
        extra_picks=int((n_picks[found] - 1).sum()),
        ignored_picks=int(n_picks[~evaluated].sum()),
        picks_outside=picks_outside,
        recall_base=int((~np.isin(truth_label, dropped)).sum()),
        precision_base=len(pick_particle),
        distance_sum=fixed_point(distance_voxel),
        confusion=tuple(tuple(int(value) for value in row) for row in confusion),
        class_found=tuple(int(value) for value in diagonal),
        class_false_positive=tuple(int(value) for value in confusion.sum(axis=0) - diagonal),
        class_missed=tuple(int(value) for value in confusion.sum(axis=1) - diagonal),
    )
    on_evaluated = (pick_particle > 0) & np.concatenate([[False], evaluated])[pick_particle]
    off_voxel = np.full(n, np.nan)
    off_voxel[found] = distance_voxel
    return Judged(
        counts=counts,
        lies_on=np.where(on_evaluated, pick_particle - 1, -1),
        found_by=np.where(evaluated, first, -1),
        distance_voxel=off_voxel,
        evaluated=evaluated,
        counted=np.ones(len(pick_particle), dtype=bool),
        against=pick_particle == 0,
    )
