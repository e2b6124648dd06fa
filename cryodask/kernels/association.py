"""How strongly two quantities go together: Pearson's and Spearman's correlation with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

LEVEL = 0.95
_FEWEST = 4
"""With fewer points the interval, whose width goes as 1 / sqrt(n - 3), is everything."""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """A coefficient between -1 and 1 and its 95 % interval."""

    coefficient: float
    low: float
    high: float


def pearson(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Linear correlation; None for fewer than four points or where one side does not vary.

    The interval is that of Fisher's z = artanh r, whose variance is 1 / (n - 3).
    """
    return _correlation(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), spearman=False)


def spearman(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Correlation of the ranks (ties share theirs); None as for ``pearson``.

    Interval: Bonett and Wright, Psychometrika 65 (2000), who give artanh r the variance (1 + r^2 / 2) / (n - 3).
    """
    return _correlation(rankdata(x), rankdata(y), spearman=True)


def _correlation(
    x: np.ndarray[tuple[int], np.dtype[np.float64]], y: np.ndarray[tuple[int], np.dtype[np.float64]], *, spearman: bool
) -> Correlation | None:
    n = len(x)
    if n < _FEWEST or not np.ptp(x) or not np.ptp(y):
        return None
    a, b = x - x.mean(), y - y.mean()
    r = float(np.clip((a @ b) / math.sqrt(float(a @ a) * float(b @ b)), -1, 1))
    if abs(r) > 1 - 1e-12:
        return Correlation(coefficient=r, low=r, high=r)
    spread = math.sqrt((1 + r**2 / 2 if spearman else 1.0) / (n - 3)) * float(ndtri((1 + LEVEL) / 2))
    z = math.atanh(r)
    return Correlation(coefficient=r, low=math.tanh(z - spread), high=math.tanh(z + spread))
