"""A large cluster by simulation: many workers, one scheduler that hands out one step after the other.

``python -m tests.benchmarks.simulated_cluster SERVICE_MS`` prints the table of docs/operations.md, given the time that
the slower of leader and scheduler takes for a step (``pytest -m benchmark -s tests/benchmarks`` measures it).
"""

from __future__ import annotations

import heapq
import sys
from collections import deque
from dataclasses import dataclass

import numpy as np

STAGE_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 60.0)


@dataclass(frozen=True)
class Outcome:
    """What a simulated batch came to, its start and end left out."""

    busy: float
    """Share of the workers' time in which they compute."""
    steps_per_second: float


def simulate(workers: int, stage_seconds: float, service_seconds: float, *, steps: int, seed: int = 0) -> Outcome:
    """``steps`` steps of exponentially distributed length (stages of large and small tomograms differ widely).

    A worker that is done waits its turn at the scheduler, which takes ``service_seconds`` for each step. Nothing is
    sent ahead, so what workers wait here is more than what Dask's would.
    """
    random = np.random.default_rng(seed)
    lengths = random.exponential(stage_seconds, steps)
    waiting: deque[float] = deque([0.0] * workers)  # since when
    computing: list[float] = []  # ends, a heap
    free_at, busy, first = 0.0, 0.0, steps // 5
    started_at = 0.0
    for step, length in enumerate(lengths):
        if not waiting:
            waiting.append(heapq.heappop(computing))
        arrived = waiting.popleft()
        while computing and computing[0] <= max(free_at, arrived):
            waiting.append(heapq.heappop(computing))
        free_at = max(free_at, arrived) + service_seconds
        heapq.heappush(computing, free_at + length)
        if step == first:
            started_at = free_at
        if step > first:
            busy += length
    seconds = free_at - started_at
    return Outcome(busy=busy / (workers * seconds), steps_per_second=(steps - first - 1) / seconds)


def main() -> None:
    service = float(sys.argv[1]) / 1000
    for stage in STAGE_SECONDS:
        found = simulate(1000, stage, service, steps=200_000)
        print(f"| {stage:g} s | {100 * found.busy:.0f} % | {found.steps_per_second:.0f} |")


if __name__ == "__main__":
    main()
