"""What a lane makes of tasks that end without a result, with a client that only pretends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cryodask.errors import ClusterError
from cryodask.workflows.batch_lanes import WholeLane
from cryodask.workflows.batch_manifest import Entry
from cryodask.workflows.batch_stages import BatchSettings, Outcome
from tests.tiny import PARAMETERS


class FakeFuture:
    """A task whose end the test decides."""

    def __init__(self, key: tuple[str, ...], status: str) -> None:
        self.key, self.status = key, status

    def add_done_callback(self, call: Callable[[FakeFuture], None]) -> None:
        call(self)


class FakeClient:
    """Every task has ended already, in the state that comes next."""

    def __init__(self, *states: str, status: str = "running") -> None:
        self.states, self.status = list(states), status

    def get(self, graph: dict[Any, Any], keys: list[Any], **_: object) -> list[FakeFuture]:
        assert len(graph) == len(keys)
        return [FakeFuture(key, self.states.pop(0)) for key in keys]

    def gather(self, futures: list[FakeFuture]) -> list[Outcome]:
        return [Outcome(name="t", stage=future.key[0].removeprefix("batch-"), token="x") for future in futures]

    def cancel(self, futures: list[FakeFuture]) -> None:
        pass


def lane_with(tmp_path: Path, client: FakeClient) -> WholeLane:
    lane = WholeLane(client, BatchSettings(folder=str(tmp_path), parameters=PARAMETERS))  # type: ignore[arg-type]
    lane.start(Entry(name="t", stages=("match", "evaluate"), tomogram="x.mrc"), [("match", "x"), ("evaluate", "x")])
    return lane


@pytest.mark.parametrize("state", ["lost", "pending", "cancelled"])
def test_a_result_lost_with_its_worker_is_made_again(tmp_path: Path, state: str) -> None:
    """The last of two steps ended on a worker that died before its result was fetched; it alone is done again."""
    client = FakeClient("finished", state, "finished")
    lane = lane_with(tmp_path, client)
    assert [outcome.stage for outcome in lane.collect(0.1)] == ["match"]
    assert [(outcome.stage, outcome.reason) for outcome in lane.collect(0.1)] == [("evaluate", None)]
    assert client.states == []


def test_a_result_lost_again_while_nothing_else_runs_is_blamed_on_its_tomogram(tmp_path: Path) -> None:
    lane = lane_with(tmp_path, FakeClient("finished", "cancelled", "cancelled"))
    assert [outcome.stage for outcome in lane.collect(0.1)] == ["match"]
    (outcome,) = lane.collect(0.1)
    assert (outcome.stage, outcome.exit_code) == ("evaluate", 1)
    assert outcome.reason is not None
    assert "workers died repeatedly" in outcome.reason


@pytest.mark.parametrize(("state", "status"), [("lost", "closed"), ("cancelled", "connecting")])
def test_a_lost_scheduler_is_no_lost_result(tmp_path: Path, state: str, status: str) -> None:
    lane = lane_with(tmp_path, FakeClient(state, state, status=status))
    with pytest.raises(ClusterError, match="the scheduler was lost"):
        lane.collect(0.1)
