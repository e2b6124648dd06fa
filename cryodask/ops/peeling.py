"""Greedy acceptance with explaining away, tile by tile, so that neither workers nor their order decide anything.

The candidate of the highest score is accepted, its template at the particle's own amplitude is subtracted from the
volume, candidates too near to it are dropped and those within reach scored again; then the next. A tile does so for the
candidates in its core. One that lies within reach of a better candidate outside the core waits, because that one comes
first: so the order is that of one list for the whole volume. Tiles of one colour lie so far apart that they cannot
touch the same voxel, and run at the same time; the colours follow each other in a fixed order, until nobody waits.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryodask.model.source import BlockSource
from cryodask.ops.candidates import Candidates, joined_candidates
from cryodask.ops.matching import Tile, one_thread, tiles
from cryodask.ops.particle_models import ParticleModel, whole_image

Volume = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

SUBTRACTED = (0.6, 1.3)
"""Range about alpha, relative to it, of the amplitude at which an accepted particle is subtracted."""

RESCORED_DOWN_TO = -5.0
"""Candidates below the threshold by more are not looked at again: explaining away seldom raises a score."""

LEAST_TILE_VOXELS = 64

_SAME_SCORE = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class Reaches:
    """Distances at which particles of the templates matter to each other, (templates,) each, in voxels."""

    mask: Ints
    """Half width of the mask's box."""
    image: Ints
    """Half width of what is subtracted."""
    exclusion: npt.NDArray[np.float64]
    """Radius of the ball with the particle's volume: two particles are farther apart than the sum."""

    @classmethod
    def of(cls, models: Sequence[ParticleModel], beta: float) -> Reaches:
        """``beta`` scales the radii of exclusion."""
        return cls(
            mask=np.array([m.half for m in models], dtype=np.int64),
            image=np.array([m.image_half for m in models], dtype=np.int64),
            exclusion=np.array([beta * m.equivalent_radius_voxels for m in models]),
        )

    @property
    def halo(self) -> int:
        """Voxels about a core that hold everything that a candidate in it sees or changes, moves included."""
        return int(max(self.mask.max() + 2, self.image.max() + 1)) + 1

    @property
    def tile(self) -> int:
        """Edge of a tile: tiles of one colour then lie at least two halos apart."""
        return max(LEAST_TILE_VOXELS, 2 * self.halo)

    def touches(self, one: Candidates, other: Candidates, row: int) -> npt.NDArray[np.bool_]:
        """(n,) whether the score of any of ``one`` depends on whether row ``row`` of ``other`` is there."""
        apart = np.linalg.norm(one.place - other.place[row], axis=1)
        reach = self.mask[one.model] + self.mask[other.model[row]]
        return np.asarray(apart < reach, dtype=bool)

    def excluded(self, one: Candidates, other: Candidates, row: int) -> npt.NDArray[np.bool_]:
        """(n,) whether ``one`` lies too near to row ``row`` of ``other`` to be another particle."""
        apart = np.linalg.norm(one.place - other.place[row], axis=1)
        return np.asarray(apart < self.exclusion[one.model] + self.exclusion[other.model[row]], dtype=bool)


@dataclass(frozen=True, kw_only=True, eq=False)
class Peeled:
    """What one tile did."""

    accepted: Candidates
    """In their order."""
    rival_model: Ints
    """Of each accepted one, the template of the best other class at its place; -1 for none."""
    rival_score: npt.NDArray[np.float64]
    remaining: Candidates
    """Of the core, those that are still to be decided."""
    evaluations: int


def coloured_tiles(shape: tuple[int, int, int], edge: int) -> list[list[Tile]]:
    """Tiles of the volume in eight colours, by the parity of their numbers along each axis."""
    colours: dict[tuple[int, ...], list[Tile]] = {parity: [] for parity in itertools.product((0, 1), repeat=3)}
    for tile in tiles(shape, edge):
        colours[tuple((start // edge) % 2 for start in tile.start)].append(tile)
    return list(colours.values())


def in_tile(tile: Tile, place: Ints, margin: int = 0) -> npt.NDArray[np.bool_]:
    """(n,) which voxels (n, 3) lie in a tile, or within ``margin`` of it."""
    low = np.array(tile.start) - margin
    high = np.array(tile.start) + np.array(tile.shape) + margin
    return np.asarray(((place >= low) & (place < high)).all(axis=1), dtype=bool)


def peel_tile(
    whitened: BlockSource,
    tile: Tile,
    own: Candidates,
    others: Candidates,
    accepted: Candidates,
    *,
    models: Sequence[ParticleModel],
    reaches: Reaches,
    threshold: float,
) -> Peeled:
    """Accept what can be accepted of a tile's ``own`` candidates.

    Args:
        whitened: The whole volume, nothing subtracted.
        tile: The core.
        own: Candidates in the core.
        others: Candidates beyond, those within reach at least; they are never accepted here.
        accepted: What was accepted before, those within reach at least.
        models: Every template.
        reaches: Of the templates.
        threshold: Least score that is accepted.
    """
    work = _Tile(whitened, tile, own.copy(), others, models, reaches, threshold)
    with one_thread():
        for row in range(len(accepted)):
            work.before.append(accepted.take(np.array([row])))
            work.subtract(accepted, row)
        return work.run()


def subtract_particle(volume: Volume, origin: Ints, of: Candidates, row: int, models: Sequence[ParticleModel]) -> None:
    """Take one row's template out of ``volume``, whose first voxel is ``origin``, as far as it reaches into it."""
    model = models[int(of.model[row])]
    low, high = SUBTRACTED
    amplitude = np.float32(np.clip(of.x[row] / of.length[row], low * of.alpha[row], high * of.alpha[row]))
    half = model.image_half
    first = of.place[row] - origin - half
    begin, end = np.maximum(first, 0), np.minimum(first + 2 * half + 1, volume.shape)
    if (begin >= end).any():
        return
    image = whole_image(model.template, of.matrix[row])
    inside = tuple(slice(int(a), int(b)) for a, b in zip(begin, end, strict=True))
    part = tuple(slice(int(a - f), int(b - f)) for a, b, f in zip(begin, end, first, strict=True))
    volume[inside] -= amplitude * image[part]


def residual_volume(whitened: BlockSource, accepted: Candidates, models: Sequence[ParticleModel]) -> Volume:
    """The whole volume without the accepted particles: noise, and what no template explains."""
    volume = np.array(whitened.read((slice(None),) * 3), dtype=np.float32)
    for row in range(len(accepted)):
        subtract_particle(volume, np.zeros(3, np.int64), accepted, row, models)
    return volume


class _Tile:
    """The state of one tile while it is peeled."""

    def __init__(
        self,
        whitened: BlockSource,
        tile: Tile,
        own: Candidates,
        others: Candidates,
        models: Sequence[ParticleModel],
        reaches: Reaches,
        threshold: float,
    ) -> None:
        halo = reaches.halo
        low = [max(0, start - halo) for start in tile.start]
        high = [min(n, s + c + halo) for n, s, c in zip(whitened.shape, tile.start, tile.shape, strict=True)]
        block = whitened.read(tuple(slice(a, b) for a, b in zip(low, high, strict=True)))
        self.volume: Volume = np.array(block, dtype=np.float32)
        self.origin = np.array(low, dtype=np.int64)
        self.own, self.others = own, others
        self.alive = np.ones(len(own), dtype=bool)
        self.blocking = np.ones(len(others), dtype=bool)
        self.models, self.reaches, self.threshold = models, reaches, threshold
        self.before: list[Candidates] = []
        self.accepted: list[Candidates] = []
        self.rivals: list[tuple[int, float]] = []
        self.evaluations = 0

    def subtract(self, of: Candidates, row: int) -> None:
        """Take an accepted particle out of the volume, as far as it reaches into it."""
        subtract_particle(self.volume, self.origin, of, row, self.models)

    def run(self) -> Peeled:
        waiting = np.zeros(len(self.own), dtype=bool)
        for each in np.flatnonzero(self.own.touched & (self.own.score > self.threshold + RESCORED_DOWN_TO)):
            self._rescore(int(each))
        while (row := self._best(self.alive & ~waiting)) is not None:
            if self._blocked(row, waiting):
                waiting[row] = True
                continue
            if self.own.stale[row]:
                before = self.own.score[row]
                self.own.refresh(row, self._model(row), self.volume, self.own.place[row] - self.origin)
                self.evaluations += 1
                self.alive[row] = not self._too_near(row)
                # It has to be the best still, at the place where it now is.
                if not self.alive[row] or self.own.score[row] < before - _SAME_SCORE:
                    continue
            self._accept(row)
        remaining = self.alive & (self.own.score > self.threshold + RESCORED_DOWN_TO)
        accepted = joined_candidates(self.accepted)
        return Peeled(
            accepted=accepted,
            rival_model=np.array([model for model, _ in self.rivals], dtype=np.int64),
            rival_score=np.array([score for _, score in self.rivals], dtype=np.float64),
            remaining=self.own.take(remaining),
            evaluations=self.evaluations,
        )

    def _best(self, open_: npt.NDArray[np.bool_]) -> int | None:
        rows = np.flatnonzero(open_ & (self.own.score >= self.threshold))
        if not rows.size:
            return None
        order = np.lexsort((self.own.key[rows], -self.own.score[rows]))
        return int(rows[order[0]])

    def _blocked(self, row: int, waiting: npt.NDArray[np.bool_]) -> bool:
        """Whether a better candidate that is still undecided lies within reach: beyond the core, or itself waiting."""
        beyond = self.blocking & _better(self.others, self.own, row) & self.reaches.touches(self.others, self.own, row)
        if beyond.any():
            return True
        queued = waiting & self.alive & self.reaches.touches(self.own, self.own, row)
        return bool(queued.any())

    def _too_near(self, row: int) -> bool:
        """Whether a row that has moved now lies on a particle accepted before."""
        moved = self.own.take(np.array([row]))
        return any(self.reaches.excluded(moved, each, 0)[0] for each in (*self.before, *self.accepted))

    def _model(self, row: int) -> ParticleModel:
        return self.models[int(self.own.model[row])]

    def _rescore(self, row: int) -> None:
        self.own.rescore(row, self._model(row), self.volume, self.own.place[row] - self.origin)
        self.evaluations += 1

    def _accept(self, row: int) -> None:
        taken = self.own.take(np.array([row]))
        self.rivals.append(self._rival(row))
        self.accepted.append(taken)
        self.alive[row] = False
        self.subtract(taken, 0)
        self.alive &= ~self.reaches.excluded(self.own, taken, 0)
        self.blocking &= ~self.reaches.excluded(self.others, taken, 0)
        near = self.alive & self.reaches.touches(self.own, taken, 0)
        near &= self.own.score > self.threshold + RESCORED_DOWN_TO
        for each in np.flatnonzero(near):
            self._rescore(int(each))

    def _rival(self, row: int) -> tuple[int, float]:
        """The best candidate of another class that a row's acceptance drops."""
        best, model = -np.inf, -1
        own_class = self._model(row).class_id
        for table, live in ((self.own, self.alive), (self.others, self.blocking)):
            near = live & self.reaches.excluded(table, self.own, row)
            for each in np.flatnonzero(near):
                other = int(table.model[each])
                if self.models[other].class_id != own_class and table.score[each] > best:
                    best, model = float(table.score[each]), other
        return model, best


def _better(one: Candidates, other: Candidates, row: int) -> npt.NDArray[np.bool_]:
    """(n,) which of ``one`` come before row ``row`` of ``other``: by score, then by key."""
    level = (one.score == other.score[row]) & (one.key < other.key[row])
    return np.asarray((one.score > other.score[row]) | level, dtype=bool)
