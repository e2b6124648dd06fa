"""What the details of an evaluation come to: the part of its result that figures are drawn from, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cryodask.kernels.association import pearson, spearman
from cryodask.kernels.scoring import DISTANCE_UNITS_PER_VOXEL, Row
from cryodask.kernels.scoring_ratios import f1_scores, localization_ratios, mean, ratio
from cryodask.ops.evaluation import EvaluationCounts
from cryodask.ops.evaluation_details import ANGLE_BIN_DEG, DISTANCE_BIN_VOXEL, NO_SCORE, Example, TomogramRow, score_of

CURVE_POINTS = 200
"""Most points of a precision-recall curve that the result holds."""


def distances(counts: EvaluationCounts) -> dict[str, Any]:
    """Mean distance of the found particles of each class to their picks, and its histogram, in voxels."""
    own = counts.details
    found = [sum(row) for row in own.distances]
    return {
        "AD": {
            name: ratio(own.distance_sums[label] / DISTANCE_UNITS_PER_VOXEL, found[label])
            for label, name in _evaluated(counts)
        },
        "bin_voxels": DISTANCE_BIN_VOXEL,
        "histogram": {name: list(own.distances[label]) for label, name in _evaluated(counts)},
    }


def orientation(counts: EvaluationCounts) -> dict[str, Any] | None:
    """Misorientation of what was found with the right class, up to symmetry; None if no pick has angles.

    The median, not the mean, because a structure that almost has a symmetry is often found turned by it.
    """
    tables = {name: counts.details.angles[label] for label, name in _evaluated(counts)}
    if not any(map(sum, tables.values())):
        return None
    return {
        "median_deg": {name: _median(row, ANGLE_BIN_DEG) for name, row in tables.items()},
        "compared": {name: sum(row) for name, row in tables.items()},
        "bin_deg": ANGLE_BIN_DEG,
        "histogram": {name: list(row) for name, row in tables.items()},
    }


def curve(counts: EvaluationCounts) -> dict[str, Any] | None:
    """Precision and recall of the picks down to each score, best first; None if no pick has a score.

    Scores that agree to a thousandth share a point. ``average_precision`` is the sum of precision times gain of recall.
    """
    steps = counts.details.steps
    if not any(step != NO_SCORE for step, _, _ in steps):
        return None
    found = np.cumsum([own for _, own, _ in steps])
    counted = np.cumsum([own for _, _, own in steps])
    base = counts.picks.recall_base
    precision = found / np.maximum(counted, 1)
    gain = np.diff(found, prepend=0)
    kept = _spread(len(steps))
    return {
        "score": [score_of(steps[k][0]) for k in kept],
        "precision": [float(precision[k]) for k in kept],
        "recall": [ratio(int(found[k]), base) for k in kept],
        "average_precision": ratio(float((gain * precision).sum()), base),
    }


def weight_correlation(f1: Mapping[str, float | None], weight_kda: Mapping[str, float]) -> dict[str, Any]:
    """How the F1 of classes goes with their molecular weight, with 95 % intervals; None for fewer than four classes.

    ``pearson_log`` takes the logarithm of the weight, which spans two decades in the benchmark.
    """
    known = [(weight_kda[name], value) for name, value in f1.items() if name in weight_kda and value is not None]
    weights, values = [weight for weight, _ in known], [value for _, value in known]
    found = {
        "pearson": pearson(weights, values),
        "pearson_log": pearson([math.log10(weight) for weight in weights], values),
        "spearman": spearman(weights, values),
    }
    return {"weight_kda": dict(weight_kda), **{k: None if own is None else asdict(own) for k, own in found.items()}}


def tomograms(counts: EvaluationCounts, proteins: Sequence[int]) -> list[dict[str, Any]]:
    """The numbers of each tomogram, by name."""
    return [_tomogram(row, proteins) for row in counts.details.tomograms]


def examples(counts: EvaluationCounts) -> dict[str, Any]:
    """The false positives with the best scores, and the heaviest particles that were missed."""
    return {
        "false_positives": [_example(own, "score") for own in counts.details.false_positives],
        "misses": [_example(own, "molecular_weight_kda") for own in counts.details.misses],
    }


# -- parts ---------------------------------------------------------------------------------------------------------


def _evaluated(counts: EvaluationCounts) -> list[tuple[int, str]]:
    return [(label, name) for label, name in enumerate(counts.labels) if label and name not in counts.excluded]


def _median(histogram: Row, width: float) -> float | None:
    """Within its bin the median is where it would be if the bin's values were spread evenly."""
    total = sum(histogram)
    if not total:
        return None
    below = 0
    for index, number in enumerate(histogram):
        if 2 * (below + number) >= total:
            return width * (index + (total / 2 - below) / number)
        below += number
    return None


def _spread(n: int) -> list[int]:
    """At most ``CURVE_POINTS`` of ``n`` indices, first and last among them."""
    return sorted({round(k) for k in np.linspace(0, n - 1, min(n, CURVE_POINTS))})


def _tomogram(row: TomogramRow, proteins: Sequence[int]) -> dict[str, Any]:
    ratios = localization_ratios(row.found, row.recall_base, row.precision_base)
    f1 = f1_scores(row.class_found, row.class_false_positive, row.class_missed)
    present = [label for label in proteins if row.class_found[label] + row.class_missed[label]]
    return {
        "name": row.name,
        "RR": row.submitted,
        "TP": row.found,
        "FP": row.false_positive,
        "FN": row.missed,
        "recall": ratios.recall,
        "precision": ratios.precision,
        "F1": ratios.f1,
        "macro_f1": mean(f1[label] for label in present),
    }


def _example(own: Example, ranked_by: str) -> dict[str, Any]:
    z, y, x = own.voxel
    return {
        "tomogram": own.tomogram,
        "line": own.index + 1,
        "class": own.class_id,
        ranked_by: -own.rank if math.isfinite(own.rank) and own.rank else None,
        "x": x,
        "y": y,
        "z": z,
        "centred_angstrom": list(reversed(own.centred_angstrom)),
    }
