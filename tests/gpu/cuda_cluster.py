"""Opens a real ``--cluster cuda`` and prints, as one line of JSON, what its workers are like. Run as a script."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from dask.delayed import delayed

from cryodask.backend import worker_array
from cryodask.cluster import ClusterSpec, connect
from cryodask.cluster.cuda import device_memory_bytes
from cryodask.cluster.site import CudaSite
from cryodask.model.progress import NullProgress
from cryodask.workflows.execution import execute

VARIABLES = ("CUDA_VISIBLE_DEVICES", "CRYODASK_DEVICE", "OMP_NUM_THREADS")


def environment() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in VARIABLES}


@delayed(pure=False)  # type: ignore[untyped-decorator]
def work(_: object) -> tuple[int, float, float]:
    """Which process worked, and when."""
    started = time.time()
    time.sleep(0.05)
    return os.getpid(), started, time.time()


@delayed(pure=False)  # type: ignore[untyped-decorator]
def shared() -> int:
    """An input of all: optimisation moves it into the tasks that use it, or leaves it."""
    return 1


def ask_for_device() -> str:
    """Where the blocks of tasks would go: without a driver cupy says so in its own words."""
    try:
        return type(worker_array()).__module__
    except Exception as error:  # noqa: BLE001  (its text is the answer)
        return f"{type(error).__module__}: {error}"


def main() -> None:
    site = CudaSite(devices=sys.argv[1] if len(sys.argv) > 1 else None)
    spec = ClusterSpec(kind="cuda", site=site, memory_limit_bytes=2**30)
    with connect(spec) as session:
        client: Any = session.client
        told = client.scheduler_info()["workers"].values()
        common = shared()
        found = {
            "workers": session.workers,
            "dashboard": session.dashboard_link,
            "environments": list(client.run(environment).values()),
            "threads": [worker["nthreads"] for worker in told],
            "resources": [worker["resources"] for worker in told],
            "memory": [worker["memory_limit"] for worker in told],
            "spans": execute([work(common) for _ in range(12)], client=client, progress=NullProgress(), stage="work"),
            "device_memory": device_memory_bytes(spec),
            "device": client.submit(ask_for_device).result(),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
