"""Mode ``strict``: every pick and every truth particle counts at most once, and every wrong pick counts against."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from cryodask.kernels.scoring import Bools, Counts, Floats, Ints, Judged, confusion_matrix, distances, fixed_point

_SLACK_VOXEL = 1e-6
"""A pick at exactly the tolerance counts as within it, whatever the conversion from angstrom rounds to."""


def best_first(score: Floats) -> Ints:
    """Order of the picks by falling score; equal scores and picks without one (last) keep their order."""
    return np.argsort(np.where(np.isnan(score), np.inf, -score), kind="stable").astype(np.int64)


def match_greedily(truth_voxel: Floats, tolerance_voxel: Floats, pick_voxel: Floats, order: Ints) -> tuple[Ints, Ints]:
    """Each pick in turn takes the nearest truth particle that is still free and within its tolerance.

    Returns
    -------
        (m,) truth particle of each pick, -1 for none; and (n,) how many picks lie within each truth particle's
        tolerance without having been given another particle.
    """
    taken_by = np.full(len(pick_voxel), -1, dtype=np.int64)
    n_near = np.zeros(len(truth_voxel), dtype=np.int64)
    if not len(truth_voxel) or not len(pick_voxel):
        return taken_by, n_near
    nearest, starts = _within_tolerance(truth_voxel, tolerance_voxel, pick_voxel)
    free = [True] * len(truth_voxel)
    for pick in order.tolist():
        near = nearest[starts[pick] : starts[pick + 1]]
        if not near:
            continue
        chosen = next((particle for particle in near if free[particle]), None)
        if chosen is None:
            n_near[near[0]] += 1
            continue
        taken_by[pick] = chosen
        free[chosen] = False
        n_near[chosen] += 1
    return taken_by, n_near


def _within_tolerance(truth_voxel: Floats, tolerance_voxel: Floats, pick_voxel: Floats) -> tuple[list[int], list[int]]:
    """Truth particles within whose tolerance each pick lies, nearest first, equally near ones in their order.

    Those of pick ``i`` are the first list from place ``starts[i]`` to ``starts[i + 1]``, ``starts`` being the second.
    """
    radius = float(tolerance_voxel.max()) + 2 * _SLACK_VOXEL
    candidates: Any = cKDTree(truth_voxel).query_ball_point(pick_voxel, radius)
    pick = np.repeat(np.arange(len(pick_voxel)), [len(near) for near in candidates])
    particle = np.fromiter(chain.from_iterable(candidates), np.int64, count=len(pick))
    distance = distances(truth_voxel[particle], pick_voxel[pick])
    near_enough = distance <= tolerance_voxel[particle] + _SLACK_VOXEL
    pick, particle, distance = pick[near_enough], particle[near_enough], distance[near_enough]
    by_distance = np.lexsort((particle, distance, pick))
    starts = np.searchsorted(pick, np.arange(len(pick_voxel) + 1))
    return particle[by_distance].tolist(), starts.tolist()


def score_strict(
    truth_voxel: Floats,
    truth_label: Ints,
    tolerance_voxel: Floats,
    pick_voxel: Floats,
    pick_label: Ints,
    pick_score: Floats,
    *,
    n_labels: int,
    excluded: Collection[int],
    pick_on_excluded: Bools | None = None,
    picks_outside: int = 0,
) -> Judged:
    """Counts of one tomogram by one-to-one matching, best score first, and what became of each pick and particle.

    Localisation ignores the class. A class is matched once more within itself, so that its F1 knows all of its picks.
    Picks of an excluded class are set aside, and so are those that match no evaluated particle and lie on one that is
    not evaluated.

    Parameters
    ----------
    truth_voxel
        (n, 3) centres (z, y, x) of the truth particles in voxels.
    truth_label
        (n,) class labels from 1.
    tolerance_voxel
        (n,) greatest distance of a pick that finds the particle.
    pick_voxel
        (m, 3) positions of the picks in voxels.
    pick_label
        (m,) class labels; -1 for a class that the truth does not know.
    pick_score
        (m,) higher is better; NaN for none.
    n_labels
        Number of labels, background included.
    excluded
        Labels that are not evaluated.
    pick_on_excluded
        (m,) picks that lie on a particle of an excluded class; None for none.
    picks_outside
        How many picks lie outside the volume; passed on.
    """
    evaluated, of_interest = ~np.isin(truth_label, list(excluded)), ~np.isin(pick_label, list(excluded))
    truth_voxel, truth_label, tolerance_voxel = (
        truth_voxel[evaluated],
        truth_label[evaluated],
        tolerance_voxel[evaluated],
    )
    pick_voxel, pick_label, pick_score = pick_voxel[of_interest], pick_label[of_interest], pick_score[of_interest]
    n_submitted = len(of_interest)
    on_excluded = np.zeros(n_submitted, dtype=bool) if pick_on_excluded is None else pick_on_excluded

    taken, n_near = match_greedily(truth_voxel, tolerance_voxel, pick_voxel, best_first(pick_score))
    hit = taken >= 0
    against = ~hit & ~on_excluded[of_interest]
    confusion = _confusion(truth_label, pick_label, taken, against, n_labels)

    class_found = np.zeros(n_labels, dtype=np.int64)
    class_false = np.zeros(n_labels, dtype=np.int64)
    for label in range(1, n_labels):
        own, members = truth_label == label, np.flatnonzero(pick_label == label)
        order = best_first(pick_score[members])
        own_taken, _ = match_greedily(truth_voxel[own], tolerance_voxel[own], pick_voxel[members], order)
        class_found[label] = (own_taken >= 0).sum()
        class_false[label] = ((own_taken < 0) & (hit | against)[members]).sum()
    class_missed = np.bincount(truth_label, minlength=n_labels) - class_found

    distance_voxel = distances(pick_voxel[hit], truth_voxel[taken[hit]])
    found, false_positive = int(hit.sum()), int(against.sum())
    counts = Counts(
        n_tomograms=1,
        submitted=n_submitted,
        found=found,
        false_positive=false_positive,
        missed=len(truth_label) - found,
        multiply_found=int((n_near > 1).sum()),
        extra_picks=int(np.maximum(n_near - 1, 0).sum()),
        ignored_picks=n_submitted - found - false_positive,
        picks_outside=picks_outside,
        recall_base=len(truth_label),
        precision_base=found + false_positive,
        distance_sum=fixed_point(distance_voxel),
        confusion=tuple(tuple(int(value) for value in row) for row in confusion),
        class_found=tuple(int(value) for value in class_found),
        class_false_positive=tuple(int(value) for value in class_false),
        class_missed=tuple(int(value) for value in class_missed),
    )
    rows, columns = np.flatnonzero(of_interest), np.flatnonzero(evaluated)
    lies_on, found_by = np.full(n_submitted, -1, dtype=np.int64), np.full(len(evaluated), -1, dtype=np.int64)
    lies_on[rows[hit]] = columns[taken[hit]]
    found_by[columns[taken[hit]]] = rows[hit]
    off_voxel = np.full(len(evaluated), np.nan)
    off_voxel[columns[taken[hit]]] = distance_voxel
    wrong = np.zeros(n_submitted, dtype=bool)
    wrong[rows[against]] = True
    return Judged(
        counts=counts,
        lies_on=lies_on,
        found_by=found_by,
        distance_voxel=off_voxel,
        evaluated=evaluated,
        counted=wrong | (lies_on >= 0),
        against=wrong,
    )


def _confusion(truth_label: Ints, pick_label: Ints, taken: Ints, against: Bools, n_labels: int) -> Ints:
    """Matched pairs, missed particles against the background column, wrong picks in the background row.

    A pick of an unknown class has no column: on a particle it counts as background, elsewhere it is left out.
    """
    known = np.maximum(pick_label, 0)
    hit = taken >= 0
    picked = np.zeros(len(truth_label), dtype=np.int64)
    picked[taken[hit]] = known[hit]
    matrix = confusion_matrix(truth_label, picked, n_labels)
    wrong = known[against & (known > 0)]
    matrix[0] += np.bincount(wrong, minlength=n_labels)
    return matrix
