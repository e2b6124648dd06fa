"""Second half of ``tm-c``: tiles are peeled colour by colour until no candidate waits for another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.delayed import delayed

from cryodask.errors import TaskError
from cryodask.model.source import BlockSource
from cryodask.ops.candidates import Candidates, empty_candidates, joined_candidates
from cryodask.ops.matching import Tile
from cryodask.ops.peeling import Peeled, Reaches, coloured_tiles, in_tile, peel_tile
from cryodask.pickers.likelihood_maps import Prepared
from cryodask.pickers.protocol import Workbench
from cryodask.pickers.stored_models import StoredModel

BETA = 1.0
"""Two particles lie farther apart than this times the sum of the radii of balls of their volumes."""

MOST_ROUNDS = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """What was accepted, in the order of the colours and tiles."""

    accepted: Candidates
    rival_model: npt.NDArray[np.int64]
    rival_score: npt.NDArray[np.float64]
    record: dict[str, Any] = field(default_factory=dict)


class _Table:
    """All candidates that are still to be decided, and all that were accepted."""

    def __init__(self, candidates: Candidates, reaches: Reaches, threshold: float) -> None:
        self.open, self.reaches, self.threshold = candidates, reaches, threshold
        self.accepted = empty_candidates()
        self.rival_model, self.rival_score = np.zeros(0, np.int64), np.zeros(0)
        self.evaluations = 0

    def due(self, tile: Tile) -> bool:
        """Whether a tile has a candidate that could be accepted."""
        return bool((in_tile(tile, self.open.place) & (self.open.score >= self.threshold)).any())

    def parts(self, tile: Tile) -> tuple[Candidates, Candidates, Candidates]:
        """Of a tile: candidates in the core, those beyond that matter, and what was accepted that matters."""
        inside = in_tile(tile, self.open.place)
        near = in_tile(tile, self.open.place, 2 * self.reaches.halo) & ~inside
        near &= self.open.score >= self.threshold
        reaching = in_tile(tile, self.accepted.place, 2 * self.reaches.halo)
        return self.open.take(inside), self.open.take(near), self.accepted.take(reaching)

    def update(self, done: Sequence[tuple[Tile, Peeled]]) -> None:
        """Take over what the tiles of one colour did, in their order."""
        decided = np.zeros(len(self.open), dtype=bool)
        for tile, _ in done:
            decided |= in_tile(tile, self.open.place)
        others = self.open.take(~decided).copy()
        alive = np.ones(len(others), dtype=bool)
        for _, peeled in done:
            new = peeled.accepted
            for row in range(len(new)):
                alive &= ~self.reaches.excluded(others, new, row)
                near = self.reaches.touches(others, new, row)
                others.stale[near] = others.touched[near] = True
            self.accepted = joined_candidates([self.accepted, new])
            self.rival_model = np.concatenate([self.rival_model, peeled.rival_model])
            self.rival_score = np.concatenate([self.rival_score, peeled.rival_score])
            self.evaluations += peeled.evaluations
        self.open = joined_candidates([others.take(alive), *(peeled.remaining for _, peeled in done)])


def peel(prepared: Prepared, bench: Workbench, candidates: Candidates, *, threshold: float) -> Decision:
    """Accept greedily with explaining away; the same picks for any number of workers."""
    models = [handle.load() for handle in prepared.models]
    reaches = Reaches.of(models, BETA)
    colours = coloured_tiles(prepared.target.shape, reaches.tile)
    table = _Table(candidates, reaches, threshold)
    rounds = 0
    while any(table.due(tile) for colour in colours for tile in colour):
        before = len(table.accepted), table.evaluations
        for colour in colours:
            due = [tile for tile in colour if table.due(tile)]
            tasks = [
                delayed(_peel_tile, pure=False)(
                    prepared.whitened, tile, *table.parts(tile), prepared.models, reaches, threshold
                )
                for tile in due
            ]
            results = bench.run(tasks, f"{prepared.target.name} decision")
            table.update(list(zip(due, results, strict=True)))
        rounds += 1
        if rounds > MOST_ROUNDS or (len(table.accepted), table.evaluations) == before:
            raise TaskError(f"{prepared.target.name}: the decision does not come to an end; report this as a fault")
    return Decision(
        accepted=table.accepted,
        rival_model=table.rival_model,
        rival_score=table.rival_score,
        record={"rounds": rounds, "evaluations": table.evaluations, "accepted": len(table.accepted)},
    )


def _peel_tile(
    whitened: BlockSource,
    tile: Tile,
    own: Candidates,
    others: Candidates,
    accepted: Candidates,
    handles: Sequence[StoredModel],
    reaches: Reaches,
    threshold: float,
) -> Peeled:
    return peel_tile(
        whitened,
        tile,
        own,
        others,
        accepted,
        models=[handle.load() for handle in handles],
        reaches=reaches,
        threshold=threshold,
    )
