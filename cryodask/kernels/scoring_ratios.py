"""From counts to the numbers people compare. A ratio of nothing is None, never a division by zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

GROUPS = ("small", "medium", "large")
MEDIUM_KDA = (200.0, 600.0)
"""The benchmark's groups of proteins by molecular weight: small below the first limit, large above the second."""


@dataclass(frozen=True, kw_only=True)
class LocalizationRatios:
    """Each between 0 and 1, or None where it is the ratio of nothing."""

    recall: float | None
    precision: float | None
    miss_rate: float | None
    f1: float | None


def ratio(part: float, whole: float) -> float | None:
    """``part / whole``, None if ``whole`` is 0."""
    return part / whole if whole else None


def localization_ratios(found: int, recall_base: int, precision_base: int) -> LocalizationRatios:
    """Recall, precision, miss rate and their harmonic mean F1 = 2 found / (recall_base + precision_base)."""
    recall = ratio(found, recall_base)
    return LocalizationRatios(
        recall=recall,
        precision=ratio(found, precision_base),
        miss_rate=None if recall is None else 1 - recall,
        f1=ratio(2 * found, recall_base + precision_base),
    )


def f1_scores(found: Sequence[int], false_positive: Sequence[int], missed: Sequence[int]) -> list[float | None]:
    """F1 = 2 TP / (2 TP + FP + FN) of each class; None for a class that is neither in the truth nor picked."""
    return [ratio(2 * tp, 2 * tp + fp + fn) for tp, fp, fn in zip(found, false_positive, missed, strict=True)]


def f1_from_confusion(confusion: Sequence[Sequence[int]]) -> list[float | None]:
    """F1 of every label of a square confusion matrix (rows true, columns picked)."""
    diagonal = [row[i] for i, row in enumerate(confusion)]
    columns = [sum(column) for column in zip(*confusion, strict=True)]
    return f1_scores(
        diagonal,
        [total - own for total, own in zip(columns, diagonal, strict=True)],
        [sum(row) - own for row, own in zip(confusion, diagonal, strict=True)],
    )


def mean(values: Iterable[float | None]) -> float | None:
    """Unweighted mean of the values that are not None; None if there is none."""
    known = [value for value in values if value is not None]
    return ratio(sum(known), len(known))


def group_means(f1: Mapping[str, float | None], weight_kda: Mapping[str, float]) -> dict[str, float | None]:
    """Mean F1 of the small, medium and large classes; a class without a known weight is in no group."""
    members: dict[str, list[float | None]] = {name: [] for name in GROUPS}
    for class_id, value in f1.items():
        if class_id in weight_kda:
            members[weight_group(weight_kda[class_id])].append(value)
    return {name: mean(values) for name, values in members.items()}


def weight_group(weight_kda: float) -> str:
    """``small``, ``medium`` or ``large``; the limits themselves are medium."""
    if weight_kda < MEDIUM_KDA[0]:
        return "small"
    return "medium" if weight_kda <= MEDIUM_KDA[1] else "large"
