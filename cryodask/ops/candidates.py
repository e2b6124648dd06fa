"""Places that may hold a particle of a class, with what is known of each: columns of one table, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from cryodask.kernels.likelihood import amplitude_gain
from cryodask.model.source import BlockSource
from cryodask.ops.local_posterior import LocalPosterior, on_grid, patch_of, refined
from cryodask.ops.low_rank import one_thread
from cryodask.ops.particle_models import ParticleModel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WORTH_REFINING = -10.0
"""A score on the grid below which refinement could not lead to a pick; less by a share of what exact templates gain."""

_EXACT_GAIN = 0.15


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """(n,) candidates."""

    key: Ints
    """A number of their own; of equal scores the lower one comes first."""
    model: Ints
    """Which of the templates."""
    place: Ints
    """(n, 3) voxel (z, y, x)."""
    matrix: Floats
    """(n, 3, 3)."""
    x: Floats
    length: Floats
    log_mean: Floats
    gain: Floats
    """As ``LocalPosterior`` has them."""
    prior: Floats
    """Logarithm of the expected density of the class, particles per voxel and template."""
    score: Floats
    """Log posterior odds against background."""
    stale: npt.NDArray[np.bool_]
    """The volume nearby has changed since rotation and place were refined."""

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Candidates:
        """The rows, in that order."""
        return replace(self, **{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    def copy(self) -> Candidates:
        """With arrays of its own, so that they may be changed in place."""
        return replace(self, **{item.name: getattr(self, item.name).copy() for item in fields(self)})

    @property
    def amplitude(self) -> Floats:
        """Each one's own X / sigma."""
        return self.x / self.length

    def best_first(self) -> Ints:
        """Rows by falling score, equal ones by key."""
        return np.lexsort((self.key, -self.score)).astype(np.int64)

    def with_prior(self, prior: Floats) -> Candidates:
        """The same under other densities (one a template)."""
        own = prior[self.model]
        return replace(self, prior=own, score=self.score - self.prior + own)

    def refresh(self, row: int, model: ParticleModel, volume: npt.NDArray[np.float32], at: Ints, alpha: float) -> None:
        """Evaluate a row anew, place and rotation included; ``at`` is its place within ``volume``."""
        found = refined(model, patch_of(volume, at, model.half + 1), alpha)
        self.place[row] += np.array(found.shift)
        self.matrix[row] = found.matrix
        self.length[row], self.gain[row] = found.length, found.gain
        self._set(row, found, alpha)
        self.stale[row] = False

    def rescore(self, row: int, model: ParticleModel, volume: npt.NDArray[np.float32], at: Ints, alpha: float) -> None:
        """Evaluate a row on the grid only; what refinement once gained is taken to be gained again."""
        self._set(row, on_grid(model, patch_of(volume, at, model.half + 1), alpha), alpha)
        self.stale[row] = True

    def _set(self, row: int, found: LocalPosterior, alpha: float) -> None:
        self.x[row], self.log_mean[row] = found.x, found.log_mean
        free = float(amplitude_gain(found.x, self.length[row], alpha))
        self.score[row] = found.log_mean + self.gain[row] + free + self.prior[row]


def empty_candidates() -> Candidates:
    """None at all."""
    none = np.zeros(0)
    whole = np.zeros(0, np.int64)
    return Candidates(
        key=whole,
        model=whole,
        place=np.zeros((0, 3), np.int64),
        matrix=np.zeros((0, 3, 3)),
        x=none,
        length=none,
        log_mean=none,
        gain=none,
        prior=none,
        score=none,
        stale=np.zeros(0, bool),
    )


def joined_candidates(parts: Sequence[Candidates]) -> Candidates:
    """One table after the other, keys as they are."""
    if not parts:
        return empty_candidates()
    return Candidates(
        **{item.name: np.concatenate([getattr(p, item.name) for p in parts]) for item in fields(Candidates)}
    )


def evaluate(
    whitened: BlockSource,
    places: Ints,
    keys: Ints,
    *,
    number: int,
    model: ParticleModel,
    alpha: float,
    prior: float,
    least_score: float,
) -> Candidates:
    """Candidates (n,) of one template at ``places`` (n, 3); those that cannot come to ``least_score`` are left out."""
    rows = []
    with one_thread():
        for place, key in zip(places, keys, strict=True):
            patch = _read_patch(whitened, place, model.half + 1)
            found = on_grid(model, patch, alpha)
            coarse = _row(found, place, int(key), number, alpha, prior)
            hope = WORTH_REFINING - _EXACT_GAIN * max(alpha * found.length * found.x, 0.0)
            if coarse.score[0] < hope:
                continue
            rows.append(_row(refined(model, patch, alpha), place, int(key), number, alpha, prior))
    kept = [row for row in rows if row.score[0] >= least_score]
    return joined_candidates(kept)


def _row(found: LocalPosterior, place: Ints, key: int, number: int, alpha: float, prior: float) -> Candidates:
    free = float(amplitude_gain(found.x, found.length, alpha))
    return Candidates(
        key=np.array([key]),
        model=np.array([number]),
        place=(place + np.array(found.shift))[None],
        matrix=found.matrix[None],
        x=np.array([found.x]),
        length=np.array([found.length]),
        log_mean=np.array([found.log_mean]),
        gain=np.array([found.gain]),
        prior=np.array([prior]),
        score=np.array([found.log_mean + found.gain + free + prior]),
        stale=np.zeros(1, bool),
    )


def _read_patch(source: BlockSource, place: Ints, half: int) -> npt.NDArray[np.float32]:
    low = np.maximum(place - half, 0)
    high = np.minimum(place + half + 1, source.shape)
    block = source.read(tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)))
    if block.shape == (2 * half + 1,) * 3:
        return np.asarray(block, dtype=np.float32)
    return patch_of(np.asarray(block, dtype=np.float32), place - low, half)
