"""Evaluation of picks against the truth over any number of tomograms: count, merge in a tree, derive ratios once.

The pattern is that of a distributed reduction: ``EvaluationCounts.zero`` (init), ``count_tomogram`` (update),
``EvaluationCounts.merge``, and ``finalise`` of ``evaluation_result``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from dask.delayed import delayed

from cryodask.errors import ConfigError, DataError
from cryodask.kernels.scoring import Counts
from cryodask.model.evaluation import TruthSource
from cryodask.model.particles import Particles
from cryodask.ops.evaluation_details import Details, details_of
from cryodask.ops.evaluation_modes import MODES, Scene, check_frame

MERGE_FAN_IN = 8


@dataclass(frozen=True, kw_only=True)
class EvaluationCounts:
    """Counts of the picks, and of the truth evaluated against itself (the ceiling), over some tomograms."""

    mode: str
    labels: tuple[str, ...]
    excluded: tuple[str, ...]
    """Classes that are not evaluated, in the order of the labels."""
    picks: Counts
    ceiling: Counts
    details: Details
    unknown_classes: tuple[tuple[str, int], ...] = ()
    """(class, picks) of the classes that the truth does not have, by name."""
    duplicates: int = 0
    """Picks that repeat class and position of an earlier one of the same tomogram."""
    weight_kda: tuple[tuple[str, float], ...] = ()
    """(class, molecular weight) of the classes whose weight is known, by name."""

    @classmethod
    def zero(cls, mode: str, labels: tuple[str, ...], excluded: tuple[str, ...]) -> EvaluationCounts:
        """Counts of no tomogram."""
        nothing = Counts.zero(len(labels))
        return cls(
            mode=mode,
            labels=labels,
            excluded=excluded,
            picks=nothing,
            ceiling=nothing,
            details=Details.zero(len(labels)),
        )

    def merge(self, other: EvaluationCounts) -> EvaluationCounts:
        """Counts of both together: associative and commutative bit by bit. DataError if they do not belong together."""
        for name in ("mode", "labels", "excluded"):
            if getattr(self, name) != getattr(other, name):
                raise DataError(
                    f"evaluations cannot be merged, their {name} differ: {getattr(self, name)} and "
                    f"{getattr(other, name)}; evaluate data sets with different classes one by one"
                )
        unknown = dict(self.unknown_classes)
        for class_id, count in other.unknown_classes:
            unknown[class_id] = unknown.get(class_id, 0) + count
        return EvaluationCounts(
            mode=self.mode,
            labels=self.labels,
            excluded=self.excluded,
            picks=self.picks.merge(other.picks),
            ceiling=self.ceiling.merge(other.ceiling),
            details=self.details.merge(other.details),
            duplicates=self.duplicates + other.duplicates,
            # Should two tomograms differ, the lighter one holds, whichever comes first.
            weight_kda=tuple(sorted(dict(sorted({*self.weight_kda, *other.weight_kda}, reverse=True)).items())),
            unknown_classes=tuple(sorted(unknown.items())),
        )


def count_tomogram(
    truth: TruthSource, picks: Particles, *, mode: str = "strict", excluded: Sequence[str] | None = None
) -> EvaluationCounts:
    """Counts of one tomogram.

    Parameters
    ----------
    truth
        What is there, or where to read it.
    picks
        The submission for this tomogram: best first (``shrec21`` takes the order, ``strict`` the scores and then the
        order). Classes are compared without regard to case.
    mode
        A key of ``MODES``.
    excluded
        Classes that are not evaluated; None takes the mode's own.

    Raises ConfigError for an unknown mode or excluded class, DataError if the truth's list and mask disagree.
    """
    if mode not in MODES:
        raise ConfigError(f"unknown evaluation mode {mode!r}; known modes: {', '.join(MODES)}")
    scorer, default = MODES[mode]
    truth = truth.load()
    left_out = sorted({int(label) for label in truth.label_of(default if excluded is None else excluded)})
    if excluded is not None and left_out[:1] == [-1]:
        unknown = [name for name in excluded if truth.label_of([name])[0] < 0]
        raise ConfigError(f"excluded classes {', '.join(unknown)} are not in the truth: {', '.join(truth.class_ids)}")
    left_out = [label for label in left_out if label > 0]

    scene = Scene.of(truth, picks)
    check_frame(scene)
    itself = truth.particles.take(~np.isin(scene.label, left_out))
    unknown_classes = Counter(map(str, picks.class_id[truth.label_of(picks.class_id) < 0]))
    judged = scorer(scene, picks, left_out)
    return EvaluationCounts(
        mode=mode,
        labels=truth.labels,
        excluded=tuple(truth.labels[label] for label in left_out),
        picks=judged.counts,
        ceiling=scorer(scene, itself, left_out).counts,
        details=details_of(truth, scene.label, picks, judged),
        duplicates=_duplicates(picks),
        weight_kda=tuple(sorted(truth.molecular_weight_kda.items())),
        unknown_classes=tuple(sorted(unknown_classes.items())),
    )


def _duplicates(picks: Particles) -> int:
    names = (str(name).casefold() for name in picks.class_id)
    return len(picks) - len(set(zip(names, map(tuple, picks.position_angstrom.tolist()), strict=True)))


def evaluate_counts(
    pairs: Sequence[tuple[TruthSource, Particles]], *, mode: str = "strict", excluded: Sequence[str] | None = None
) -> Any:  # noqa: ANN401  (dask's Delayed has no static type)
    """Delayed ``EvaluationCounts`` over all (truth, picks of its tomogram) pairs: one task each, merged in a tree."""
    if not pairs:
        raise ConfigError("nothing to evaluate: give at least one truth")
    update, merge = delayed(count_tomogram, pure=False), delayed(merge_all, pure=False)
    level = [update(truth, picks, mode=mode, excluded=excluded) for truth, picks in pairs]
    while len(level) > 1:
        level = [merge(level[start : start + MERGE_FAN_IN]) for start in range(0, len(level), MERGE_FAN_IN)]
    return level[0]


def merge_all(parts: Sequence[EvaluationCounts]) -> EvaluationCounts:
    """All counts merged into one; at least one part."""
    return reduce(EvaluationCounts.merge, parts)


def picks_by_tomogram(picks: Particles, names: Sequence[str]) -> tuple[list[Particles], list[str]]:
    """The picks of each named tomogram, order kept, and a note for whatever did not go by name.

    Picks for a single truth need not name it. Raises DataError if no pick belongs to any of several tomograms.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(picks.tomogram.tolist()):
        rows.setdefault(str(name), []).append(row)
    given = sorted(rows)
    known = set(names)
    strangers = [name for name in given if name not in known]
    if len(names) == 1 and len(given) == 1 and strangers:
        note = [f"the picks name the tomogram {given[0]!r}, the truth {names[0]!r}: taken as the same"] * bool(given[0])
        return [picks], note
    if given and len(strangers) == len(given):
        raise DataError(
            f"no pick belongs to an evaluated tomogram: the picks name {_some(given)}, "
            f"the truth {_some(names)}; rename the tomograms in the picks"
        )
    notes = [f"{len(rows[name])} picks of tomogram {name!r} left out: it has no truth here" for name in strangers]
    return [picks.take(np.array(rows.get(name, []), dtype=np.int64)) for name in names], notes


def _some(names: Sequence[str], most: int = 8) -> str:
    """The first of many names."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + rest
