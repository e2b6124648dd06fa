"""Where a list of scores stops to be worth keeping: a Gaussian fitted to the upper part of their histogram.

The scores of the best places of a map are those of particles and of background. Two Gaussians are fitted to them by
expectation-maximisation; what lies within two deviations of the upper one's mean, or above, is kept (the rule of the
SHREC 2021 paper's template matching, section 3 there).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_ROUNDS = 200
_LEAST_SCORES = 8
_LEAST_DEVIATION = 1e-4
"""Share of the scores' range below which a Gaussian does not shrink: it would settle on a single score."""


def upper_gaussian(scores: npt.ArrayLike) -> tuple[float, float]:
    """Mean and standard deviation of the upper of two Gaussians that make up ``scores`` (n,).

    With fewer than eight scores, or equal ones, those of all of them.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))
    n = values.size
    if n == 0:
        return 0.0, 0.0
    spread = float(values[-1] - values[0])
    if n < _LEAST_SCORES or not spread > 0:
        return float(values.mean()), float(values.std())
    mean = np.array([values[: int(0.7 * n)].mean(), values[int(0.85 * n) :].mean()])
    deviation, weight = np.full(2, 0.7 * values.std()), np.array([0.8, 0.2])
    for _ in range(_ROUNDS):
        share = weight / deviation * np.exp(-0.5 * ((values[:, None] - mean) / deviation) ** 2) + 1e-300
        share /= share.sum(axis=1, keepdims=True)
        total = share.sum(axis=0)
        weight = total / n
        mean = (share * values[:, None]).sum(axis=0) / total
        variance = (share * (values[:, None] - mean) ** 2).sum(axis=0) / total
        deviation = np.maximum(np.sqrt(variance), _LEAST_DEVIATION * spread)
    upper = int(np.argmax(mean))
    return float(mean[upper]), float(deviation[upper])


def kept_scores(scores: npt.ArrayLike, deviations: float = 2.0) -> npt.NDArray[np.bool_]:
    """(n,) which scores exceed the upper Gaussian's mean less so many of its deviations."""
    values = np.asarray(scores, dtype=np.float64)
    mean, deviation = upper_gaussian(values)
    return np.asarray(values >= mean - deviations * deviation, dtype=bool)
