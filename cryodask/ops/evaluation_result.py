"""The numbers of an evaluation, derived once from the merged counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cryodask.errors import ConfigError
from cryodask.kernels.scoring import DISTANCE_UNITS_PER_VOXEL, Counts
from cryodask.kernels.scoring_czii import BETA, class_scores
from cryodask.kernels.scoring_ratios import GROUPS, f1_scores, group_means, localization_ratios, mean, ratio
from cryodask.model.evaluation import NON_PROTEIN_CLASSES
from cryodask.ops import evaluation_statistics as statistics
from cryodask.ops.evaluation import EvaluationCounts
from cryodask.ops.evaluation_intervals import LEVEL, RESAMPLES, particle_intervals, tomogram_intervals


def finalise(
    counts: EvaluationCounts,
    *,
    molecular_weight_kda: Mapping[str, float] | None = None,
    class_weights: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The evaluation as a dictionary that goes to JSON as it is; counts of nothing are 0, ratios of nothing None.

    Keys: ``mode``, ``n_tomograms``; ``localization`` with RR, TP, FP, FN, MH, AD (mean distance to the centre in
    voxels), recall, precision, miss_rate, F1; ``classification`` with ``f1`` of each evaluated class, ``macro_f1``
    (mean over the proteins present in the truth), ``confusion`` (rows true, columns picked, both as ``labels``) and
    ``groups`` (mean F1 of the small, medium and large proteins by ``molecular_weight_kda``, which is that of the
    truths unless given; None where it is not known); ``ceiling``, the localization and macro_f1 of the truth
    evaluated against itself; ``picks``, how many were submitted, and of them outside the volume (``clipped``),
    ``duplicate``, ``further`` ones on a particle, of ``unknown_class`` and ``not_evaluated``; ``distances``,
    ``orientation``, ``curve``, ``weight_correlation``, ``tomograms`` and ``examples`` (see
    ``evaluation_statistics``); ``intervals`` from resampling; and ``notes``, sentences for the reader. Mode ``czii``
    adds ``f_beta``: ``beta``, the value of each ``class``, and their ``score``, the mean weighted by
    ``class_weights`` (1 where a class has none).
    """
    f1 = _class_f1(counts, counts.picks)
    proteins = _proteins(counts, f1)
    weights = {name.casefold(): value for name, value in (molecular_weight_kda or dict(counts.weight_kda)).items()}
    known = {name: weights[name.casefold()] for name in proteins if name.casefold() in weights}
    labels = [counts.labels.index(name) for name in proteins]
    return {
        "mode": counts.mode,
        "n_tomograms": counts.picks.n_tomograms,
        "localization": _localization(counts.picks),
        "classification": {
            "f1": f1,
            "macro_f1": mean(proteins.values()),
            "confusion": [list(row) for row in counts.picks.confusion],
            "labels": list(counts.labels),
            "groups": group_means(proteins, known) if known else dict.fromkeys(GROUPS),
        },
        "ceiling": {
            "localization": _localization(counts.ceiling),
            "macro_f1": mean(_proteins(counts, _class_f1(counts, counts.ceiling)).values()),
        },
        **({"f_beta": _f_beta(counts, class_weights or {})} if counts.mode == "czii" else {}),
        "picks": _picks(counts),
        "distances": statistics.distances(counts),
        "orientation": statistics.orientation(counts),
        "curve": statistics.curve(counts),
        "weight_correlation": statistics.weight_correlation(proteins, known),
        "intervals": {
            "level": LEVEL,
            "resamples": RESAMPLES,
            "particles": particle_intervals(counts.picks, labels),
            "tomograms": tomogram_intervals(counts.details.tomograms, labels),
        },
        "tomograms": statistics.tomograms(counts, labels),
        "examples": statistics.examples(counts),
        "notes": [*notes, *_notes(counts)],
    }


def _f_beta(counts: EvaluationCounts, class_weights: Mapping[str, float]) -> dict[str, Any]:
    values = dict(zip(counts.labels[1:], class_scores(counts.picks)[1:], strict=True))
    evaluated = {name: value for name, value in values.items() if name not in counts.excluded}
    proteins = _proteins(counts, evaluated)
    weights = _checked_weights(class_weights, evaluated)
    counting = {name: weights.get(name.casefold(), 1.0) for name in proteins}
    total = sum(weight * (proteins[name] or 0.0) for name, weight in counting.items())
    score = ratio(total, sum(counting.values()))
    return {"beta": BETA, "class": evaluated, "weights": counting, "score": score}


def _checked_weights(class_weights: Mapping[str, float], evaluated: Iterable[str]) -> dict[str, float]:
    weights = {name.casefold(): float(value) for name, value in class_weights.items()}
    known = {name.casefold() for name in evaluated}
    for name, value in class_weights.items():
        if name.casefold() not in known:
            raise ConfigError(f"weight of class {name}, which is not evaluated: {', '.join(evaluated)}")
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"weight {value} of class {name} is no number from 0 on")
    return weights


def _picks(counts: EvaluationCounts) -> dict[str, Any]:
    own = counts.picks
    return {
        "submitted": own.submitted,
        "clipped": own.picks_outside,
        "duplicate": counts.duplicates,
        "further": own.extra_picks,
        "unknown_class": dict(counts.unknown_classes),
        "not_evaluated": own.ignored_picks,
    }


def _localization(counts: Counts) -> dict[str, Any]:
    ratios = localization_ratios(counts.found, counts.recall_base, counts.precision_base)
    return {
        "RR": counts.submitted,
        "TP": counts.found,
        "FP": counts.false_positive,
        "FN": counts.missed,
        "MH": counts.multiply_found,
        "AD": ratio(counts.distance_sum / DISTANCE_UNITS_PER_VOXEL, counts.found),
        "recall": ratios.recall,
        "precision": ratios.precision,
        "miss_rate": ratios.miss_rate,
        "F1": ratios.f1,
    }


def _class_f1(counts: EvaluationCounts, own: Counts) -> dict[str, float | None]:
    values = f1_scores(own.class_found, own.class_false_positive, own.class_missed)
    named = zip(counts.labels[1:], values[1:], strict=True)
    return {name: value for name, value in named if name not in counts.excluded}


def _proteins(counts: EvaluationCounts, f1: Mapping[str, float | None]) -> dict[str, float | None]:
    """F1 of the evaluated proteins that the truth holds."""
    in_truth = {
        name: found + missed
        for name, found, missed in zip(counts.labels, counts.picks.class_found, counts.picks.class_missed, strict=True)
    }
    return {name: value for name, value in f1.items() if in_truth[name] and name.casefold() not in NON_PROTEIN_CLASSES}


def _notes(counts: EvaluationCounts) -> list[str]:
    own = counts.picks
    notes = [
        f"{number} picks of class {name!r}, which the truth does not have: they count for localisation only"
        for name, number in counts.unknown_classes
    ]
    if not own.submitted:
        notes.append("no picks were submitted")
    if own.picks_outside:
        moved = " and were moved to its nearest voxel" if counts.mode == "shrec21" else ""
        notes.append(f"{own.picks_outside} picks lie outside the volume{moved}")
    if own.submitted and (not own.found or 2 * own.picks_outside > own.submitted):
        where = "no pick finds a particle" if not own.found else "most picks lie outside the volume"
        notes.append(
            f"{where}: if that is unexpected, compare the frames of picks and truth: voxel size, axis order, and the "
            "offset in z (SHREC's lists belong to a volume 512 deep, of which 180 slices hold the sample: "
            "benchmark z 166 is slice 0 of these)"
        )
    if counts.duplicates:
        notes.append(f"{counts.duplicates} picks repeat class and position of an earlier one")
    if own.extra_picks:
        notes.append(f"{own.extra_picks} picks are second or further picks of a particle")
    if own.ignored_picks:
        notes.append(f"{own.ignored_picks} picks left out: class not evaluated ({', '.join(counts.excluded)})")
    return notes
