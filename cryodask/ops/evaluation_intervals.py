"""How far the numbers of an evaluation would scatter: bootstrap intervals over particles and over tomograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cryodask.kernels.scoring import Counts
from cryodask.ops.evaluation_details import TomogramRow

LEVEL = 0.95
RESAMPLES = 2000
SEED = 0
"""The intervals of the same counts are always the same."""

Floats: TypeAlias = npt.NDArray[np.float64]
Interval: TypeAlias = "list[float] | None"


def particle_intervals(counts: Counts, proteins: Sequence[int]) -> dict[str, Any]:
    """Percentile intervals of recall, precision, F1 and macro F1, were the particles and picks drawn again.

    Found particles, missed ones and picks that found nothing are drawn together, as often as there are of them; for
    the macro F1 those of each class (``proteins`` are labels) for themselves.
    """
    generator = np.random.default_rng(SEED)
    missed, wrong = counts.recall_base - counts.found, counts.precision_base - counts.found
    drawn = _drawn(generator, [counts.found, missed, wrong])
    found = drawn[:, 0]
    recall_base, precision_base = found + drawn[:, 1], found + drawn[:, 2]
    macro = []
    for label in proteins:
        own = counts.class_found[label], counts.class_false_positive[label], counts.class_missed[label]
        tp, fp, fn = _drawn(generator, own).T
        macro.append(_share(2 * tp, 2 * tp + fp + fn))
    return _named(found, recall_base, precision_base, macro)


def tomogram_intervals(rows: Sequence[TomogramRow], proteins: Sequence[int]) -> dict[str, Any] | None:
    """The same, were whole tomograms drawn again; None for fewer than two, which cannot tell how they differ."""
    if len(rows) < 2:
        return None
    generator = np.random.default_rng(SEED)
    times = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=RESAMPLES).astype(np.float64)

    def total(name: str) -> Floats:
        return np.asarray(times @ np.array([getattr(row, name) for row in rows], dtype=np.float64))

    class_found, class_false, class_missed = map(total, ("class_found", "class_false_positive", "class_missed"))
    macro = [
        _share(2 * class_found[:, k], 2 * class_found[:, k] + class_false[:, k] + class_missed[:, k]) for k in proteins
    ]
    return _named(total("found"), total("recall_base"), total("precision_base"), macro)


def _drawn(generator: np.random.Generator, counts: Sequence[int]) -> Floats:
    total = sum(counts)
    if not total:
        return np.zeros((RESAMPLES, len(counts)))
    return generator.multinomial(total, np.asarray(counts) / total, size=RESAMPLES).astype(np.float64)


def _share(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return share


def _named(found: Floats, recall_base: Floats, precision_base: Floats, class_f1: Sequence[Floats]) -> dict[str, Any]:
    table = np.array(class_f1).reshape(len(class_f1), RESAMPLES)
    known = np.isfinite(table)
    macro = _share(np.where(known, table, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))
    return {
        "recall": _interval(_share(found, recall_base)),
        "precision": _interval(_share(found, precision_base)),
        "F1": _interval(_share(2 * found, recall_base + precision_base)),
        "macro_f1": _interval(macro),
    }


def _interval(values: Floats) -> Interval:
    known: Floats = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]
