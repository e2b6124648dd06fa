"""Mode ``czii``, as the CZII challenge of 2024: classes are matched one by one, counts pooled, F-beta with beta 4.

Published rule: a pick finds a particle of its own class within half of the particle's radius; each pick and particle
counts once; counts are summed over tomograms before the ratio; the score is the mean F4 over the classes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from cryodask.kernels.scoring import Counts, Floats, Ints, Judged
from cryodask.kernels.scoring_strict import score_strict

BETA = 4.0
"""A missed particle weighs sixteen times as much as a wrong pick."""

TOLERANCE_RADII = 0.5


def score_czii(
    truth_voxel: Floats,
    truth_label: Ints,
    radius_voxel: Floats,
    pick_voxel: Floats,
    pick_label: Ints,
    pick_score: Floats,
    *,
    n_labels: int,
    excluded: Collection[int],
    picks_outside: int = 0,
) -> Judged:
    """Counts of one tomogram: those of mode ``strict``, class by class, added up; likewise for picks and particles.

    Parameters as for ``score_strict``, but ``radius_voxel`` (n,) is the particles' radius. Picks of a class that the
    truth does not know (label -1) are false positives. Picks of excluded classes are set aside.
    """
    total = Counts.zero(n_labels)
    n, m = len(truth_label), len(pick_label)
    lies_on, found_by = np.full(m, -1, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    evaluated, counted, against = np.zeros(n, dtype=bool), np.zeros(m, dtype=bool), np.zeros(m, dtype=bool)
    off_voxel = np.full(n, np.nan)
    # Background first: it has no truth, so that what is labelled so, or not known, finds nothing.
    for label in (-1, *range(n_labels)):
        own, members = np.flatnonzero(truth_label == label), np.flatnonzero(pick_label == label)
        judged = score_strict(
            truth_voxel[own],
            truth_label[own],
            TOLERANCE_RADII * radius_voxel[own],
            pick_voxel[members],
            pick_label[members],
            pick_score[members],
            n_labels=n_labels,
            excluded=excluded,
        )
        total = total.merge(judged.counts)
        hit = judged.lies_on >= 0
        lies_on[members[hit]] = own[judged.lies_on[hit]]
        found_by[lies_on[members[hit]]] = members[hit]
        off_voxel[own] = judged.distance_voxel
        evaluated[own], counted[members], against[members] = judged.evaluated, judged.counted, judged.against
    return Judged(
        counts=replace(total, n_tomograms=1, picks_outside=picks_outside),
        lies_on=lies_on,
        found_by=found_by,
        distance_voxel=off_voxel,
        evaluated=evaluated,
        counted=counted,
        against=against,
    )


def f_beta(found: int, false_positive: int, missed: int, beta: float = BETA) -> float | None:
    """(1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP), None for a class that is neither in the truth nor picked."""
    weight = beta**2
    whole = (1 + weight) * found + weight * missed + false_positive
    return (1 + weight) * found / whole if whole else None


def class_scores(counts: Counts) -> list[float | None]:
    """F-beta of every label, background first."""
    rows = zip(counts.class_found, counts.class_false_positive, counts.class_missed, strict=True)
    return [f_beta(found, false_positive, missed) for found, false_positive, missed in rows]
