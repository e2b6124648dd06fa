"""The simulation of a large cluster against what queueing theory says of it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.simulated_cluster import simulate


def bounds(workers: int, stage: float, service: float) -> tuple[float, float]:
    """Steps a second of a closed system of one server and many thinkers: asymptotic bounds of operational analysis."""
    most = min(1 / service, workers / (stage + service))
    return workers / (stage + workers * service), most


@pytest.mark.parametrize("stage", [0.2, 0.7, 1.0, 1.5, 10.0])
def test_throughput_lies_between_the_bounds(stage: float) -> None:
    found = simulate(1000, stage, 0.001, steps=60_000)
    least, most = bounds(1000, stage, 0.001)
    assert 0.98 * least <= found.steps_per_second <= 1.02 * most
    assert found.busy == pytest.approx(found.steps_per_second * stage / 1000, rel=0.02)  # Little's law


def test_a_machine_repairman() -> None:
    """Four machines and a repairman with constant service: mean value by a long run of an independent recursion."""
    workers, stage, service = 4, 1.0, 0.5
    random = np.random.default_rng(1)
    ready, free, count = [0.0] * workers, 0.0, 40_000
    for length in random.exponential(stage, count):
        ready.sort()
        free = max(free, ready[0]) + service
        ready[0] = free + length
    assert simulate(workers, stage, service, steps=count).steps_per_second == pytest.approx(count / free, rel=0.03)


def test_the_same_seed_gives_the_same_cluster() -> None:
    assert simulate(10, 1.0, 0.01, steps=1000, seed=3) == simulate(10, 1.0, 0.01, steps=1000, seed=3)
