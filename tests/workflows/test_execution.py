"""Running tasks here or on workers: results in order, shared work once, and failures by their proper names."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import dask
import numpy as np
import pytest
from dask.delayed import delayed
from distributed import Client

from cryodask.cluster import ClusterSpec, connect
from cryodask.errors import CryodaskError, DataError, NotInStoreError, TaskError
from cryodask.model.progress import NullProgress
from cryodask.workflows.execution import execute
from tests.tiny import RecordedProgress


@pytest.fixture(params=["here", "workers"])
def client(request: pytest.FixtureRequest) -> Client | None:
    return None if request.param == "here" else request.getfixturevalue("two_workers")


def fail(error: BaseException) -> None:
    raise error


def note(folder: Path, name: str | None, seconds: float = 0.0) -> str:
    if name is None:
        raise DataError("broken")
    time.sleep(seconds)
    (folder / f"{name}-{time.monotonic_ns()}").touch()
    return name


def test_results_come_in_the_order_of_the_tasks(client: Client | None) -> None:
    tasks = [delayed(pow, pure=False)(2, index) for index in range(12)]
    progress = RecordedProgress()
    results = execute(tasks, client=client, progress=progress, stage="powers")
    assert results == [2**index for index in range(12)]
    assert progress.totals == {"powers": 12}
    assert progress.done == {"powers": 12}


def test_no_tasks_are_no_work(client: Client | None) -> None:
    assert execute([], client=client, progress=NullProgress(), stage="nothing") == []


def test_arrays_arrive_as_they_left(client: Client | None) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    (result,) = execute([delayed(np.negative)(array)], client=client, progress=NullProgress(), stage="arrays")
    assert result.dtype == np.float32
    assert np.array_equal(result, -array)


def test_workers_share_what_tasks_have_in_common(two_workers: Client, tmp_path: Path) -> None:
    shared = delayed(note, pure=False)(tmp_path, "shared")
    tasks = [delayed(note, pure=False)(tmp_path, shared + str(index)) for index in range(4)]
    execute(tasks, client=two_workers, progress=NullProgress(), stage="shared")
    assert len(list(tmp_path.glob("shared-*"))) == 1
    assert len(list(tmp_path.glob("shared*"))) == 5


@pytest.mark.parametrize(
    "error", [DataError("tilt 3: the image's mean is 0"), NotInStoreError("there is no data set at /a")]
)
def test_an_own_error_arrives_as_it_was_raised(client: Client | None, error: CryodaskError) -> None:
    with pytest.raises(type(error)) as caught:
        execute([delayed(fail, pure=False)(error)], client=client, progress=NullProgress(), stage="tilts")
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), OSError(28, "No space left on device")])
def test_a_foreign_error_becomes_a_task_error_naming_the_stage(client: Client | None, error: Exception) -> None:
    with pytest.raises(
        TaskError, match=f"tilts: a task failed with {type(error).__name__}: .*{error.args[-1]}"
    ) as caught:
        execute([delayed(fail, pure=False)(error)], client=client, progress=NullProgress(), stage="tilts")
    assert type(caught.value.__cause__) is type(error)


def test_an_interruption_is_no_failure() -> None:
    with pytest.raises(KeyboardInterrupt):
        execute([delayed(fail, pure=False)(KeyboardInterrupt())], client=None, progress=NullProgress(), stage="tilts")


def test_what_cannot_travel_fails_here_too() -> None:
    class Stays:
        def __reduce__(self) -> str:
            raise TypeError("cannot pickle this")

    with pytest.raises((TypeError, TaskError), match="pickle"):
        execute([delayed(id, pure=False)(Stays())], client=None, progress=NullProgress(), stage="x")


def test_a_failure_stops_the_other_tasks(client: Client | None, tmp_path: Path) -> None:
    # Whichever end the workers begin at, a failure comes early.
    tasks = [
        delayed(note, pure=False)(tmp_path, None if i in (0, 31) else str(i), 0.2, dask_key_name=f"note-{i:02}")
        for i in range(32)
    ]
    progress = RecordedProgress()
    with pytest.raises(DataError, match="broken"):
        execute(tasks, client=client, progress=progress, stage="tilts")
    time.sleep(0.8)
    # What ran already may end; nothing of the rest begins.
    assert len(list(tmp_path.iterdir())) < 10
    assert progress.done["tilts"] < 10


def test_the_workers_serve_the_next_stage_after_a_failure(two_workers: Client) -> None:
    with pytest.raises(DataError):
        execute([delayed(fail)(DataError("x"))], client=two_workers, progress=NullProgress(), stage="a")
    assert execute([delayed(pow)(3, 2)], client=two_workers, progress=NullProgress(), stage="b") == [9]


@pytest.mark.slow
def test_a_task_that_kills_its_worker_says_what_to_do() -> None:
    deadly = delayed(os.kill, pure=False)(delayed(os.getpid, pure=False)(), signal.SIGKILL)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        connect(ClusterSpec(workers=1, memory_limit_bytes=2**29)) as session,
        pytest.raises(TaskError, match=r"search: workers died repeatedly at the same task.*--memory-limit"),
    ):
        execute([deadly], client=session.client, progress=NullProgress(), stage="search")
