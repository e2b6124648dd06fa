"""Log-likelihood ratios of a particle against background in white noise, with an amplitude that is known.

In a whitened tomogram (``whitening``) the volume near a particle is ``alpha T(R) + n``, T its filtered template in
volts and n noise of unit variance. With ``sigma = |sqrt(m) (T - mu)|`` and X the volume's scalar product with the
template of unit length, the log-likelihood ratio against noise alone is ``L = alpha sigma X - alpha^2 sigma^2 / 2``
(Gaussian noise). The amplitude alpha is the same for all particles of a tomogram.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, namespace
from cryodask.errors import ConfigError

Floats = npt.NDArray[np.float64]

AMPLITUDE_FREEDOM = (0.8, 1.15)
"""Range about alpha, relative to it, in which a single particle's own amplitude may lie without a penalty."""

TEMPER_SLOPE, TEMPER_OFFSET = 0.5, 0.6
"""``p = sigmoid(slope S - offset)``: how often a pick of score S is right. On a simulation with templates as exact as
can be a slope of 1 fits best, as it should; real templates are less so."""

GATE_DEVIATIONS = 2.0
GATE_SPREAD = 0.1
"""Spread of amplitudes within a class, relative to its median, besides that of the noise."""

CONFIDENT, FAIRLY_CONFIDENT = 15.0, 8.0
_LEAST_CONFIDENT, _LEAST_FAIRLY_CONFIDENT = 5, 4


def log_ratio(x: Array, length: Array, alpha: float, kept: float = 1.0) -> Array:
    """``alpha sigma X - (alpha sigma)^2 / 2`` elementwise; ``length`` is sigma and broadcasts.

    ``kept`` is the share of the template's energy in the images that X was computed with: what a truncated template
    lacks must not count against the particle.
    """
    strength = alpha * length
    return strength * (x - (0.5 * kept) * strength)


def log_mean(log_values: Array, count: int) -> float:
    """Logarithm of the sum of ``exp(log_values)`` over ``count``, without overflow."""
    if count < 1:
        raise ConfigError(f"a mean over {count} hypotheses does not exist")
    xp = namespace(log_values)
    highest = float(xp.max(log_values))
    return highest + math.log(float(xp.sum(xp.exp(log_values - highest)))) - math.log(count)


def amplitude_gain(x: npt.ArrayLike, length: npt.ArrayLike, alpha: float) -> Floats:
    """What L gains when the amplitude may follow the particle's own X / sigma within ``AMPLITUDE_FREEDOM`` of alpha."""
    at, sigma = np.asarray(x, dtype=np.float64), np.asarray(length, dtype=np.float64)
    low, high = AMPLITUDE_FREEDOM
    own = np.clip(at / sigma, low * alpha, high * alpha)
    gained: Floats = (own - alpha) * sigma * at - 0.5 * (own**2 - alpha**2) * sigma**2
    return gained


def tempered_posterior(score: npt.ArrayLike, rival: npt.ArrayLike | None = None) -> Floats:
    """Probability that picks of these scores are right.

    Scores are log posterior odds of a model that is over-confident, because noise and neighbours are not what it takes
    them for: they are tempered. ``rival`` is the best other class's score at the same place, -inf for none.
    """
    s = TEMPER_SLOPE * np.asarray(score, dtype=np.float64)
    other = np.full(s.shape, -np.inf) if rival is None else TEMPER_SLOPE * np.asarray(rival, dtype=np.float64)
    against = np.logaddexp(TEMPER_OFFSET, other)
    probability: Floats = 1 / (1 + np.exp(against - s))
    return probability


def usual_amplitude(amplitude: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Median amplitude X / sigma of the confident picks (n,) of one class; None if there are too few of them."""
    values, s = np.asarray(amplitude, dtype=np.float64), np.asarray(score, dtype=np.float64)
    for least, count in ((CONFIDENT, _LEAST_CONFIDENT), (FAIRLY_CONFIDENT, _LEAST_FAIRLY_CONFIDENT)):
        sure = s > least
        if np.count_nonzero(sure) >= count:
            return float(np.median(values[sure]))
    return None


def passes_gate(amplitude: npt.ArrayLike, length: npt.ArrayLike, usual: float | None) -> npt.NDArray[np.bool_]:
    """(n,) which picks of one class have an amplitude that is not too low beside the class's usual one.

    The limit lies two standard deviations below, of noise (1 / sigma) and of a tenth of the usual amplitude together.
    Without a usual amplitude all pass.
    """
    values, sigma = np.asarray(amplitude, dtype=np.float64), np.asarray(length, dtype=np.float64)
    if usual is None:
        return np.ones(values.shape, dtype=bool)
    limit = usual - GATE_DEVIATIONS * np.sqrt((GATE_SPREAD * usual) ** 2 + 1 / sigma**2)
    return np.asarray(values >= limit, dtype=bool)


def false_discovery_rate(score: npt.ArrayLike, decoys: npt.ArrayLike) -> Floats:
    """(n,) for each pick the share of false ones among all picks at least as good, from as many looks at decoys (m,).

    Decoys of a score stand for as many false picks. Not above 1, and never lower for a worse pick than for a better.
    """
    s, false = np.asarray(score, dtype=np.float64), np.sort(np.asarray(decoys, dtype=np.float64))
    order = np.argsort(-s, kind="stable")
    above = len(false) - np.searchsorted(false, s[order], side="left")
    # Of equal scores all are at least as good as each.
    count = len(s) - np.searchsorted(np.sort(s), s[order], side="left")
    rate = np.minimum(above / np.maximum(count, 1), 1.0)
    found = np.empty(len(s))
    found[order] = np.maximum.accumulate(rate)
    return found
