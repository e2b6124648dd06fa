"""The ways in which tomograms go through their stages: one after the other here, side by side, or spread out.

With at least as many tomograms as workers each worker has one for itself, and no worker waits for another. With fewer,
the work of each stage is spread over all workers. Results do not depend on the way.
"""

from __future__ import annotations

import concurrent.futures
import pickle
import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from cryodask.errors import ClusterError, CryodaskError
from cryodask.model.progress import NullProgress
from cryodask.workflows.batch_calls import call, pack
from cryodask.workflows.batch_manifest import Entry
from cryodask.workflows.batch_stages import BatchSettings, Outcome, run_stage, run_step

AHEAD = 2
"""Tomograms that are handed over for each thread of the workers, so that none waits for the next one to come."""
LEAST_AHEAD = 64
"""The same for a small cluster, or one whose workers are still to come. With two workers, empty stages went through at
250 a second with 16 and at 420 with 64: the leader handles what has come back in one go and sends nothing meanwhile."""
TOGETHER_SECONDS = 0.05
"""For so long after the first outcome more are waited for, since fetching many takes no longer than fetching one."""
LOOK_SECONDS = 1.0
"""How often the number of workers is asked for: they come and go."""

Step = tuple[str, str]
"""A stage and the token of everything that is known to decide its result."""


class Lane(Protocol):
    """Where tomograms are handed to, and where outcomes come back."""

    def room(self) -> int:
        """How many more tomograms may be handed over now."""
        ...

    def start(self, entry: Entry, steps: Sequence[Step]) -> None:
        """Send one tomogram through these stages."""
        ...

    def collect(self, seconds: float) -> list[Outcome]:
        """The outcomes that have come in, waiting for the first ``seconds`` at most. ClusterError without cluster."""
        ...

    def close(self) -> None:
        """Give up what has not begun."""
        ...


def workers_died(name: str, stage: str) -> str:
    """Why a tomogram is given up that took several workers with it."""
    return (
        f"{name}, {stage}: workers died repeatedly at this tomogram, most often for lack of memory; raise "
        "--memory-limit (with fewer --workers), then use `cryodask batch retry`"
    )


class HereLane:
    """One tomogram after the other, in this process."""

    def __init__(self, settings: BatchSettings) -> None:
        self._settings = settings
        self._steps: deque[tuple[Entry, Step]] = deque()
        self._last: Outcome | None = None

    def room(self) -> int:
        return 0 if self._steps else 1

    def start(self, entry: Entry, steps: Sequence[Step]) -> None:
        self._last = None
        self._steps.extend((entry, step) for step in steps)

    def collect(self, seconds: float) -> list[Outcome]:
        if not self._steps:
            time.sleep(seconds)
            return []
        entry, (stage, token) = self._steps.popleft()
        self._last = run_step(entry, stage, token, self._settings)
        if self._last.reason is not None:
            self._steps.clear()
        return [self._last]

    def close(self) -> None:
        self._steps.clear()


class WholeLane:
    """Each stage of each tomogram is one task; those of a tomogram form a chain, the earlier tomogram goes first.

    A tomogram at which workers die is not blamed at once, since it may only have been queued beside the culprit: it
    is tried again when nothing else is under way.
    """

    def __init__(self, client: Client, settings: BatchSettings, run: Callable[..., Outcome] = run_step) -> None:
        self._client, self._common = client, pack(run, settings)
        self._finished: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._pending: dict[Any, tuple[Entry, Step]] = {}
        """By key, in the order of the stages."""
        self._futures: dict[Any, Future[Any]] = {}
        self._in_flight: dict[str, int] = {}
        self._waiting: list[tuple[Entry, Sequence[Step]]] = []
        self._suspects: deque[tuple[Entry, Sequence[Step]]] = deque()
        self._alone: str | None = None
        self._count = 0
        self._id = uuid.uuid4().hex[:8]
        self._threads, self._looked = 0, -LOOK_SECONDS

    def room(self) -> int:
        if self._alone is not None:
            return 0
        return max(LEAST_AHEAD, AHEAD * self.threads()) - len(self._in_flight) - len(self._suspects)

    def threads(self) -> int:
        """Threads of all workers, as they were a moment ago."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._threads, self._looked = threads_of(self._client), now
        return self._threads

    def start(self, entry: Entry, steps: Sequence[Step]) -> None:
        self._in_flight[entry.name] = len(steps)
        self._waiting.append((entry, steps))

    def _hand_over(self) -> None:
        """Send all that wait in one graph: a call for each task would keep the leader busy with nothing else."""
        if not self._waiting:
            return
        graph: dict[Any, Any] = {}
        for entry, steps in self._waiting:
            self._count += 1
            before = None
            for stage, token in steps:
                key = (f"batch-{stage}", entry.name, self._id, self._count)
                graph[key] = (call, self._common, pickle.dumps((entry, stage, token)), before)
                self._pending[key] = (entry, (stage, token))
                before = key
        self._waiting.clear()
        for future in self._client.get(graph, list(graph), sync=False, priority=-self._count):
            self._futures[future.key] = future
            future.add_done_callback(self._finished.put)

    def collect(self, seconds: float) -> list[Outcome]:
        if not self._in_flight and self._suspects:
            entry, steps = self._suspects.popleft()
            self._alone = entry.name
            self.start(entry, steps)
        self._hand_over()
        done = self._take(seconds)
        if not done and self._client.status not in ("running", "newly-created"):
            raise lost()
        results = self._results([future for future in done if future.status == "finished"])
        outcomes: list[Outcome] = []
        for future in done:
            outcomes += self._close_step(future, results.get(future.key))
        return outcomes

    def _results(self, finished: Sequence[Future[Any]]) -> dict[Any, Outcome]:
        """By key; those are missing that were lost with their worker and could not be made again."""
        try:
            return dict(zip([future.key for future in finished], self._client.gather(list(finished)), strict=True))
        except (OSError, TimeoutError) as error:
            raise lost() from error
        except Exception:  # noqa: BLE001  (of a single task: the others still have their results)
            return {} if len(finished) == 1 else dict(i for f in finished for i in self._results([f]).items())

    def _take(self, seconds: float) -> list[Future[Any]]:
        found = []
        try:
            found.append(self._finished.get(timeout=seconds))
            end = time.monotonic() + TOGETHER_SECONDS
            while True:
                found.append(self._finished.get(timeout=max(0.0, end - time.monotonic())))
        except queue.Empty:
            return [future for future in found if future.key in self._pending]

    def _close_step(self, future: Future[Any], result: Outcome | None) -> list[Outcome]:
        if future.key not in self._pending:
            return []  # belongs to a tomogram that was set aside a moment ago
        entry, (stage, token) = self._pending[future.key]
        # It went with its worker before it was fetched; where the scheduler is gone, the client is not running.
        gone = result is None and future.status != "error" and self._client.status == "running"
        if future.status == "error" or gone:
            rest = [step for other, step in self._pending.values() if other.name == entry.name]
            error = None if gone else future.exception()
            self._forget(entry.name)
            alone, self._alone = self._alone, None
            died = gone or isinstance(error, KilledWorker)
            if died and alone is None:
                self._suspects.append((entry, rest))
                return []
            reason = workers_died(entry.name, stage) if died else f"{type(error).__name__}: {error}"
            return [Outcome(name=entry.name, stage=stage, token=token, reason=reason, exit_code=1)]
        if result is None:
            raise lost()
        del self._pending[future.key], self._futures[future.key]
        self._in_flight[entry.name] -= 1
        if result.reason is not None:
            self._forget(entry.name)
        elif not self._in_flight[entry.name]:
            del self._in_flight[entry.name]
        if self._alone == entry.name and entry.name not in self._in_flight:
            self._alone = None
        return [result]

    def _forget(self, name: str) -> None:
        """The rest of a tomogram's chain is of no interest any more."""
        keys = [key for key, (entry, _) in self._pending.items() if entry.name == name]
        self._client.cancel([self._futures.pop(key) for key in keys])
        for key in keys:
            del self._pending[key]
        self._in_flight.pop(name, None)

    def close(self) -> None:
        if self._futures and self._client.status == "running":
            self._client.cancel(list(self._futures.values()))
        self._futures.clear()
        self._pending.clear()


class SpreadLane:
    """A few tomograms at a time, the tasks of each spread over all workers."""

    def __init__(self, client: Client, settings: BatchSettings) -> None:
        self._client, self._settings = client, settings
        self._outcomes: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._at_once = max(1, threads_of(client))
        self._pool = concurrent.futures.ThreadPoolExecutor(self._at_once, thread_name_prefix="tomogram")
        self._running: dict[str, int] = {}
        self._stopped = False

    def room(self) -> int:
        return self._at_once - len(self._running)

    def start(self, entry: Entry, steps: Sequence[Step]) -> None:
        self._running[entry.name] = len(steps)
        self._pool.submit(self._go_through, entry, steps)

    def _go_through(self, entry: Entry, steps: Sequence[Step]) -> None:
        last: Outcome | None = None
        for stage, token in steps:
            if self._stopped or (last is not None and last.reason is not None):
                return
            try:
                last = run_stage(
                    entry, stage, token, self._settings, last, client=self._client, progress=NullProgress()
                )
            except BaseException as error:  # noqa: BLE001  (carried to the thread that collects)
                self._outcomes.put(error)
                return
            self._outcomes.put(last)

    def collect(self, seconds: float) -> list[Outcome]:
        try:
            outcome = self._outcomes.get(timeout=seconds)
        except queue.Empty:
            return []
        if isinstance(outcome, BaseException):
            raise outcome
        self._running[outcome.name] -= 1
        if outcome.reason is not None or not self._running[outcome.name]:
            del self._running[outcome.name]
        return [outcome]

    def close(self) -> None:
        self._stopped = True
        self._pool.shutdown(wait=False, cancel_futures=True)


def threads_of(client: Client) -> int:
    """Threads of all workers there are; ClusterError if the scheduler is gone."""
    try:
        return sum(client.nthreads().values())
    except (OSError, concurrent.futures.CancelledError, RuntimeError, TimeoutError) as error:
        if isinstance(error, CryodaskError):
            raise
        raise lost() from error


def lost() -> ClusterError:
    """What is raised when the scheduler does not answer any more."""
    return ClusterError("the scheduler was lost; run the same command again to resume")
