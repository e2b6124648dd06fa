"""What an evaluation keeps beyond its counts, for figures: distances, orientations, scores, tomograms and examples.

Everything merges without regard to order, and nothing but one small row a tomogram grows with their number: values that
are many become histograms with fixed bins, and of examples only the foremost are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cryodask.kernels.rotations import matrix_from_zxz_deg, misorientation_deg
from cryodask.kernels.scoring import Floats, Ints, Judged, Row, fixed_point
from cryodask.model.evaluation import Truth
from cryodask.model.particles import Particles

DISTANCE_BIN_VOXEL = 0.25
DISTANCE_BINS = 48
"""The last bin also holds what is farther off."""

ANGLE_BIN_DEG = 5.0
ANGLE_BINS = 36

EXAMPLES = 12
"""Foremost false positives and misses that are kept."""

_DROPPED_BITS = 13
"""Of the 23 bits of a single-precision score: scores that agree to one part in a thousand share a step."""

NO_SCORE = -(2**31)
"""The step of picks without a score: below all others."""

Steps: TypeAlias = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, kw_only=True, order=True)
class Example:
    """One false positive or missed particle; the smallest come first."""

    rank: float
    """Minus the score of a false positive, minus the molecular weight (kDa) of a missed particle."""
    tomogram: str
    index: int
    """Line of the pick or particle within its tomogram, from 0."""
    class_id: str
    voxel: tuple[float, float, float]
    """Position (z, y, x)."""
    centred_angstrom: tuple[float, float, float]
    """The same from the volume's centre."""


@dataclass(frozen=True, kw_only=True, order=True)
class TomogramRow:
    """The counts of one tomogram that a resampling of tomograms needs."""

    name: str
    submitted: int
    found: int
    false_positive: int
    missed: int
    recall_base: int
    precision_base: int
    class_found: Row
    class_false_positive: Row
    class_missed: Row


@dataclass(frozen=True, kw_only=True)
class Details:
    """Histograms and examples of some tomograms; rows follow the labels, background first."""

    distances: tuple[Row, ...]
    """Found particles by true class and distance of the pick to the centre, in bins of 0.25 voxels."""
    distance_sums: Row
    """Sum of those distances, in voxels * 2**40."""
    angles: tuple[Row, ...]
    """Particles found with the right class and with angles, by misorientation in bins of 5 degrees."""
    steps: Steps = ()
    """(step of the score, particles whose best pick has it, picks that count), best first."""
    tomograms: tuple[TomogramRow, ...] = ()
    false_positives: tuple[Example, ...] = ()
    misses: tuple[Example, ...] = ()

    @classmethod
    def zero(cls, n_labels: int) -> Details:
        """Details of no tomogram."""
        return cls(
            distances=((0,) * DISTANCE_BINS,) * n_labels,
            distance_sums=(0,) * n_labels,
            angles=((0,) * ANGLE_BINS,) * n_labels,
        )

    def merge(self, other: Details) -> Details:
        """Details of both together: associative and commutative bit by bit."""
        return Details(
            distances=_added(self.distances, other.distances),
            distance_sums=tuple(a + b for a, b in zip(self.distance_sums, other.distance_sums, strict=True)),
            angles=_added(self.angles, other.angles),
            steps=_merged_steps(self.steps, other.steps),
            tomograms=tuple(sorted(self.tomograms + other.tomograms)),
            false_positives=_foremost(self.false_positives + other.false_positives),
            misses=_foremost(self.misses + other.misses),
        )


def details_of(truth: Truth, truth_label: Ints, picks: Particles, judged: Judged) -> Details:
    """Details of one tomogram from what a mode made of it; arguments as the mode had them."""
    n_labels = len(truth.labels)
    found = np.flatnonzero(judged.found_by >= 0)
    label, by = truth_label[found], judged.found_by[found]
    pick_voxel = picks.voxels(truth.shape, truth.voxel_size_angstrom)
    truth_voxel = truth.particles.voxels(truth.shape, truth.voxel_size_angstrom)
    off_voxel = judged.distance_voxel[found]
    counts = judged.counts
    return Details(
        distances=_histogram(label, off_voxel / DISTANCE_BIN_VOXEL, n_labels, DISTANCE_BINS),
        distance_sums=tuple(fixed_point(off_voxel[label == own]) for own in range(n_labels)),
        angles=_angles(truth, truth_label, picks, found, by),
        steps=_steps(picks.score, judged),
        tomograms=(
            TomogramRow(
                name=truth.name,
                submitted=counts.submitted,
                found=counts.found,
                false_positive=counts.false_positive,
                missed=counts.missed,
                recall_base=counts.recall_base,
                precision_base=counts.precision_base,
                class_found=counts.class_found,
                class_false_positive=counts.class_false_positive,
                class_missed=counts.class_missed,
            ),
        ),
        false_positives=_false_positives(truth.name, picks, pick_voxel, judged),
        misses=_misses(truth, truth_voxel, judged),
    )


def step_of(score: npt.ArrayLike) -> Ints:
    """(n,) integers in the order of the scores (n,), equal where they agree to a thousandth; NaN is ``NO_SCORE``."""
    values = np.asarray(score, dtype=np.float32)
    bits = values.view(np.int32).astype(np.int64)
    # The bits of positive floats are ordered as the floats are, those of negative ones the other way round.
    ordered = np.where(bits >= 0, bits >> _DROPPED_BITS, -((bits & 0x7FFFFFFF) >> _DROPPED_BITS))
    return np.where(np.isnan(values), NO_SCORE, ordered)


def score_of(step: int) -> float | None:
    """The score at the lower end of a step (the upper one of a negative step), None for ``NO_SCORE``."""
    if step == NO_SCORE:
        return None
    value = float(np.array(abs(step) << _DROPPED_BITS, dtype=np.int32).view(np.float32))
    return value if step >= 0 else -value


# -- parts ---------------------------------------------------------------------------------------------------------


def _added(a: tuple[Row, ...], b: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(tuple(map(int, row)) for row in (np.asarray(a) + np.asarray(b)).tolist())


def _histogram(label: Ints, position: Floats, n_labels: int, bins: int) -> tuple[Row, ...]:
    column = np.minimum(position, bins - 1).astype(np.int64)
    table = np.bincount(label * bins + column, minlength=n_labels * bins).reshape(n_labels, bins)
    return tuple(tuple(row) for row in table.tolist())


def _angles(truth: Truth, truth_label: Ints, picks: Particles, found: Ints, by: Ints) -> tuple[Row, ...]:
    """Misorientation of what was found with the right class, up to the structure's symmetry."""
    right = truth.label_of(picks.class_id[by]) == truth_label[found]
    ours, theirs = picks.zxz_deg[by], truth.particles.zxz_deg[found]
    known = right & np.isfinite(ours).all(axis=1) & np.isfinite(theirs).all(axis=1)
    label, error_deg = truth_label[found][known], np.zeros(int(known.sum()))
    symmetries = {name.casefold(): symbol for name, symbol in truth.symmetry.items()}
    for own in np.unique(label):
        of_class = label == own
        symmetry = symmetries.get(truth.labels[own].casefold(), "C1")
        one, other = (matrix_from_zxz_deg(angles[known][of_class]) for angles in (ours, theirs))
        error_deg[of_class] = misorientation_deg(one, other, symmetry)
    return _histogram(label, error_deg / ANGLE_BIN_DEG, len(truth.labels), ANGLE_BINS)


def _steps(score: Floats, judged: Judged) -> Steps:
    step = step_of(score)
    best = np.full(len(judged.found_by), np.iinfo(np.int64).min)
    hit = judged.lies_on >= 0
    np.maximum.at(best, judged.lies_on[hit], step[hit])
    found_step = best[judged.found_by >= 0]
    keys = np.unique(step[judged.counted])[::-1]
    if not len(keys):
        return ()
    rising = keys[::-1]
    found, counted = (
        np.bincount(np.searchsorted(rising, values), minlength=len(keys))[::-1]
        for values in (found_step, step[judged.counted])
    )
    return tuple(zip(keys.tolist(), found.tolist(), counted.tolist(), strict=True))


def _merged_steps(a: Steps, b: Steps) -> Steps:
    total: dict[int, tuple[int, int]] = {}
    for step, found, counted in (*a, *b):
        before = total.get(step, (0, 0))
        total[step] = before[0] + found, before[1] + counted
    return tuple((step, *total[step]) for step in sorted(total, reverse=True))


def _foremost(examples: Iterable[Example]) -> tuple[Example, ...]:
    return tuple(sorted(examples)[:EXAMPLES])


def _false_positives(name: str, picks: Particles, voxel: Floats, judged: Judged) -> tuple[Example, ...]:
    against = np.flatnonzero(judged.against)
    rank = np.where(np.isnan(picks.score[against]), np.inf, -picks.score[against])
    return _examples(name, picks, voxel, against, rank)


def _misses(truth: Truth, voxel: Floats, judged: Judged) -> tuple[Example, ...]:
    missed = np.flatnonzero(judged.evaluated & (judged.found_by < 0))
    weights = {name.casefold(): value for name, value in truth.molecular_weight_kda.items()}
    rank = -np.array([weights.get(str(name).casefold(), 0.0) for name in truth.particles.class_id[missed]], float)
    return _examples(truth.name, truth.particles, voxel, missed, rank)


def _examples(name: str, particles: Particles, voxel: Floats, index: Ints, rank: Floats) -> tuple[Example, ...]:
    first = np.argsort(rank, kind="stable")[:EXAMPLES]
    return _foremost(
        Example(
            rank=float(rank[k]),
            tomogram=name,
            index=int(index[k]),
            class_id=str(particles.class_id[index[k]]),
            voxel=_triple(voxel[index[k]]),
            centred_angstrom=_triple(particles.position_angstrom[index[k]]),
        )
        for k in first
    )


def _triple(values: Floats) -> tuple[float, float, float]:
    a, b, c = values.tolist()
    return a, b, c
