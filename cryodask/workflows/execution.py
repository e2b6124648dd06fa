"""Running a list of tasks: on a cluster when there is a client, else in this process, one after the other."""

from __future__ import annotations

import concurrent.futures
import pickle
from collections.abc import Sequence
from typing import Any

from dask.base import compute
from dask.delayed import Delayed
from distributed import Client, as_completed
from distributed.scheduler import KilledWorker

from cryodask.errors import ClusterError, CryodaskError, TaskError
from cryodask.model.progress import Progress


def execute(tasks: Sequence[Delayed], *, client: Client | None, progress: Progress, stage: str) -> list[Any]:
    """Results of ``tasks`` in their order; what they share is computed once.

    Raises:
        CryodaskError: As a task raised it; the other tasks are cancelled.
        TaskError: A worker died repeatedly under the same task, or a task failed for an unforeseen reason.
        ClusterError: The scheduler was lost.
    """
    if not tasks:
        return []
    with progress.stage(stage, len(tasks)) as bar:
        if client is None:
            return _execute_here(tasks, stage, bar.advance)
        return _execute_on(client, tasks, stage, bar.advance)


def _execute_here(tasks: Sequence[Delayed], stage: str, advance: Any) -> list[Any]:  # noqa: ANN401
    """Each task in turn, tasks and results pickled as a cluster would, so that what cannot travel shows here too."""
    results = []
    for task in tasks:
        travelled = pickle.loads(_pickled(task))  # noqa: S301  (our own bytes, made one line before)
        try:
            (result,) = compute(travelled, scheduler="synchronous")
        except Exception as error:
            if isinstance(error, CryodaskError):
                raise
            raise _as_cryodask_error(error, stage) from error
        results.append(result)
        advance(1)
    return results


def _pickled(task: Delayed) -> bytes:
    from distributed.protocol.pickle import dumps

    data: bytes = dumps(task)
    return data


def _execute_on(client: Client, tasks: Sequence[Delayed], stage: str, advance: Any) -> list[Any]:  # noqa: ANN401
    futures = client.compute(list(tasks))
    try:
        for future in as_completed(futures):
            if future.status == "error":
                raise _as_cryodask_error(future.exception(), stage)
            if future.status == "cancelled":
                raise ClusterError(f"{stage}: the cluster gave up a task; run the same command again to resume")
            advance(1)
        return list(client.gather(futures))
    except (concurrent.futures.CancelledError, OSError) as error:
        if isinstance(error, CryodaskError):
            raise
        raise ClusterError(f"{stage}: the scheduler was lost; run the same command again to resume") from error
    finally:
        unfinished = [future for future in futures if not future.done()]
        if unfinished:
            client.cancel(unfinished)


def _as_cryodask_error(error: BaseException | None, stage: str) -> BaseException:
    if isinstance(error, CryodaskError):
        return error
    if isinstance(error, KilledWorker):
        return TaskError(
            f"{stage}: workers died repeatedly at the same task, most often for lack of memory; "
            "look at `cryodask plan`, use fewer workers or raise --memory-limit, then run the command again to resume"
        )
    failure = TaskError(f"{stage}: a task failed with {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
