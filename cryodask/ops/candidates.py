"""Places that may hold a particle of a class, with what is known of each: columns of one table, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from cryodask.kernels.likelihood import amplitude_gain
from cryodask.model.source import BlockSource
from cryodask.ops.local_posterior import LocalPosterior, on_grid, patch_of, refined
from cryodask.ops.matching import one_thread
from cryodask.ops.particle_models import ParticleModel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

USUAL_GAIN, GAIN_SHARE, LOST_SHARE = 5.0, 0.1, 0.5
"""What refinement adds to a score stays below so many nats and the second, and the third times the energy that the
template's images lack, as shares of ``alpha sigma X``."""


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
    level: Floats
    """Strength of particles at this place, relative to the tomogram's."""
    alpha: Floats
    """Their amplitude here: the tomogram's times the level."""
    prior: Floats
    """Logarithm of the expected density of the class, particles per voxel and template."""
    score: Floats
    """Log posterior odds against background."""
    stale: npt.NDArray[np.bool_]
    """Place and rotation are not refined, or the volume nearby has changed since."""
    touched: npt.NDArray[np.bool_]
    """The volume nearby has changed since the score was computed."""

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
        """Each one's own, as the tomogram's: X / sigma over the level."""
        return self.x / (self.length * self.level)

    def best_first(self) -> Ints:
        """Rows by falling score, equal ones by key."""
        return np.lexsort((self.key, -self.score)).astype(np.int64)

    def with_prior(self, prior: Floats) -> Candidates:
        """The same under other densities (one a template)."""
        own = prior[self.model]
        return replace(self, prior=own, score=self.score - self.prior + own)

    def refresh(self, row: int, model: ParticleModel, volume: npt.NDArray[np.float32], at: Ints) -> None:
        """Evaluate a row anew, place and rotation included; ``at`` is its place within ``volume``."""
        found = refined(model, patch_of(volume, at, model.half + 1), float(self.alpha[row]))
        self.place[row] += np.array(found.shift)
        self.matrix[row] = found.matrix
        self.length[row], self.gain[row] = found.length, found.gain
        self._set(row, found)
        self.stale[row] = False

    def rescore(self, row: int, model: ParticleModel, volume: npt.NDArray[np.float32], at: Ints) -> None:
        """Evaluate a row on the grid only; what refinement once gained is taken to be gained again."""
        self._set(row, on_grid(model, patch_of(volume, at, model.half + 1), float(self.alpha[row])))
        self.stale[row] = True

    def _set(self, row: int, found: LocalPosterior) -> None:
        self.x[row], self.log_mean[row], self.touched[row] = found.x, found.log_mean, False
        free = float(amplitude_gain(found.x, self.length[row], float(self.alpha[row])))
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
        level=none,
        alpha=none,
        prior=none,
        score=none,
        stale=np.zeros(0, bool),
        touched=np.zeros(0, bool),
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
    levels: Floats,
    *,
    number: int,
    model: ParticleModel,
    alpha: float,
    prior: float,
    least_score: float,
) -> Candidates:
    """Candidates (n,) of one template at ``places`` (n, 3), on the grid of its rotations.

    ``levels`` (n,) are the strengths of particles at the places, relative to the tomogram's amplitude ``alpha``.

    Those that could not come to ``least_score`` by refinement either are left out.
    """
    rows = []
    with one_thread():
        for place, key, level in zip(places, keys, levels, strict=True):
            found = on_grid(model, _read_patch(whitened, place, model.half + 1), float(alpha * level))
            row = _row(found, place, int(key), number, float(level), float(alpha * level), prior)
            if row.score[0] >= least_score - float(_possible_gain(row, model.kept_energy)[0]):
                rows.append(row)
    return joined_candidates(rows)


def refine(whitened: BlockSource, some: Candidates, *, model: ParticleModel) -> Candidates:
    """Candidates of one template with place and rotation refined by exact templates."""
    rows = []
    with one_thread():
        for row in range(len(some)):
            level, alpha, prior = float(some.level[row]), float(some.alpha[row]), float(some.prior[row])
            found = refined(model, _read_patch(whitened, some.place[row], model.half + 1), alpha)
            new = _row(found, some.place[row], int(some.key[row]), int(some.model[row]), level, alpha, prior)
            new.stale[0] = False
            rows.append(new)
    return joined_candidates(rows)


def worth_refining(candidates: Candidates, radii: Floats, kept: Floats) -> npt.NDArray[np.bool_]:
    """(n,) which candidates refinement could make the best of their place.

    ``radii`` (templates,) are those of exclusion, ``kept`` the energies of the templates' images. The others are
    refined when, after all, their turn comes.
    """
    gain = _possible_gain(candidates, kept[candidates.model])
    worth = candidates.score + gain > 0
    tree = cKDTree(candidates.place) if len(candidates) else None
    own = radii[candidates.model]
    for row in np.flatnonzero(worth):
        assert tree is not None
        near = np.asarray(tree.query_ball_point(candidates.place[row], own[row] + radii.max()), dtype=np.int64)
        apart = np.linalg.norm(candidates.place[near] - candidates.place[row], axis=1)
        rivals = near[apart < own[near] + own[row]]
        worth[row] = candidates.score[row] + gain[row] >= candidates.score[rivals].max()
    return np.asarray(worth, dtype=bool)


def _possible_gain(candidates: Candidates, kept: npt.ArrayLike) -> Floats:
    """More than refinement usually adds to a score: some nats, and a share of its first term.

    The less of a template's energy its images keep, the larger is that share.
    """
    share = GAIN_SHARE + LOST_SHARE * (1 - np.asarray(kept, dtype=np.float64))
    gain: Floats = USUAL_GAIN + share * np.maximum(candidates.alpha * candidates.length * candidates.x, 0.0)
    return gain


def _row(
    found: LocalPosterior, place: Ints, key: int, number: int, level: float, alpha: float, prior: float
) -> Candidates:
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
        level=np.array([level]),
        alpha=np.array([alpha]),
        prior=np.array([prior]),
        score=np.array([found.log_mean + found.gain + free + prior]),
        stale=np.ones(1, bool),
        touched=np.zeros(1, bool),
    )


def _read_patch(source: BlockSource, place: Ints, half: int) -> npt.NDArray[np.float32]:
    low = np.maximum(place - half, 0)
    high = np.minimum(place + half + 1, source.shape)
    block = source.read(tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)))
    if block.shape == (2 * half + 1,) * 3:
        return np.asarray(block, dtype=np.float32)
    return patch_of(np.asarray(block, dtype=np.float32), place - low, half)
