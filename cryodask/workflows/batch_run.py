"""``batch``: many tomograms through their stages; what fails is recorded and the rest goes on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Client

from cryodask.errors import StoreError
from cryodask.model.progress import Progress, Stage
from cryodask.workflows.batch_journal import Journal
from cryodask.workflows.batch_lanes import HereLane, Lane, SpreadLane, WholeLane, threads_of
from cryodask.workflows.batch_manifest import Entry
from cryodask.workflows.batch_stages import BatchSettings, Outcome, fingerprints
from cryodask.workflows.batch_status import summarise

Observer = Callable[[Callable[[], dict[str, Any]], bool], None]
"""Is handed a function that makes the summary of ``batch_status``, and whether it is the last time."""

POLL_SECONDS = 0.5
"""How long to wait for an outcome before looking after everything else."""


class Arrivals:
    """Where more tomograms come from while the batch runs. This one: nowhere."""

    def look(self) -> Sequence[Entry]:
        """Entries that have arrived since the last look."""
        return ()

    def waiting(self, idle_seconds: float) -> bool:
        """Whether more may come, after ``idle_seconds`` without anything to do."""
        del idle_seconds
        return False


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """How a batch ended."""

    tomograms: int
    done: int
    failed: int
    seconds: float


def run_batch(
    journal: Journal,
    entries: Iterable[Entry],
    settings: BatchSettings,
    *,
    client: Client | None,
    progress: Progress,
    arrivals: Arrivals | None = None,
    lane: Lane | None = None,
    observe: Observer | None = None,
) -> BatchResult:
    """Send ``entries`` through their stages; what the journal has as done, or as failed, is left as it is.

    ``observe`` is told after each change, and once at the end, how the batch stands.

    Raises:
        StoreError: Nothing can be written any more; the tomograms under way are not counted as failed.
        ClusterError: The scheduler was lost.
    """
    batch = _Batch(journal, settings, arrivals or Arrivals(), observe)
    batch.take(entries)
    chosen = lane or _choose_lane(client, settings, len(batch.queue), open_ended=arrivals is not None)
    total = None if arrivals is not None else len(batch.queue)
    try:
        with progress.stage("tomograms", total) as bar:
            batch.run(chosen, bar)
    finally:
        chosen.close()
    batch.tell(last=True)
    return batch.result()


def _choose_lane(client: Client | None, settings: BatchSettings, waiting: int, *, open_ended: bool) -> Lane:
    if client is None:
        return HereLane(settings)
    if not open_ended and 0 < waiting < threads_of(client):
        return SpreadLane(client, settings)
    return WholeLane(client, settings)


class _Batch:
    def __init__(self, journal: Journal, settings: BatchSettings, arrivals: Arrivals, observe: Observer | None) -> None:
        self.journal, self.settings, self.arrivals, self._observe = journal, settings, arrivals, observe
        self.queue: deque[tuple[Entry, list[tuple[str, str]]]] = deque()
        self.names: set[str] = set()
        self._left: dict[str, int] = {}
        self._started = time.monotonic()

    def take(self, entries: Iterable[Entry]) -> None:
        """Queue what is left to do of ``entries``, and put the new ones on record."""
        state = self.journal.state
        for entry in entries:
            self.names.add(entry.name)
            if state.entries.get(entry.name) != entry:
                self.journal.write("entry", name=entry.name, entry=entry.to_dict())
            if entry.name in state.failed:
                continue
            tokens = fingerprints(entry, self.settings)
            steps = [(stage, tokens[stage]) for stage in state.pending(entry, tokens)]
            if steps:
                self.queue.append((entry, steps))

    def run(self, lane: Lane, bar: Stage) -> None:
        idle_since = time.monotonic()
        while True:
            self.take(self.arrivals.look())
            while self.queue and lane.room() > 0:
                entry, steps = self.queue.popleft()
                self._left[entry.name] = len(steps)
                lane.start(entry, steps)
            if self._left:
                idle_since = time.monotonic()
            elif not self.arrivals.waiting(time.monotonic() - idle_since):
                return
            for outcome in lane.collect(POLL_SECONDS):
                self._record(outcome, bar)
            self.tell(last=False)

    def tell(self, *, last: bool) -> None:
        """Let the observer know, which decides whether it wants to hear the summary."""
        if self._observe is not None:
            self._observe(lambda: summarise(self.journal.state), last)

    def _record(self, outcome: Outcome, bar: Stage) -> None:
        if outcome.disk_full:
            raise StoreError(
                f"{outcome.name}, {outcome.stage}: {outcome.reason}. The batch stops here, nothing is lost: free some "
                "space, then run the same command again to resume"
            )
        self.journal.outcome(outcome)
        self._left[outcome.name] -= 1
        if outcome.reason is not None or not self._left[outcome.name]:
            del self._left[outcome.name]
            bar.advance()

    def result(self) -> BatchResult:
        state = self.journal.state
        failed = self.names & state.failed.keys()
        done = sum(name not in failed and state.is_done(state.entries[name]) for name in self.names)
        return BatchResult(
            tomograms=len(self.names), done=done, failed=len(failed), seconds=time.monotonic() - self._started
        )


def forget_failures(
    journal: Journal, names: Sequence[str], *, fresh: bool, remove: Callable[[Entry], None]
) -> list[Entry]:
    """Let failed tomograms run again: all of them, or those named. ``fresh`` removes what they have made so far."""
    state = journal.state
    chosen = [state.entries[name] for name in names or list(state.failed) if name in state.entries]
    for entry in chosen:
        journal.write("retry", name=entry.name, fresh=fresh)
        if fresh:
            remove(entry)
    return chosen
