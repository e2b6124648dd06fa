"""Many workers in one process, for a scheduler that is to have a large cluster's: they register, send heartbeats, take
tasks and hand back results as real ones do, only all of them on the processors of this machine. Run as a script.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
from contextlib import AsyncExitStack

import dask

TOGETHER = 50
"""Workers that register at a time."""
QUIET = {
    # Of each worker's own, several times a second: nothing that a scheduler would notice.
    "distributed.admin.system-monitor.interval": "1h",
    "distributed.admin.system-monitor.disk": False,
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}


async def work(address: str, count: int) -> None:
    """Be ``count`` workers until the process is ended."""
    from distributed import Worker

    async with AsyncExitStack() as stack:
        for start in range(0, count, TOGETHER):
            names = range(start, min(start + TOGETHER, count))
            workers = [Worker(address, nthreads=1, name=f"w{name}", dashboard=False, memory_limit=0) for name in names]
            await asyncio.gather(*(stack.enter_async_context(worker) for worker in workers))
        print("ready", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("count", type=int)
    chosen = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with dask.config.set(QUIET):
        asyncio.run(work(chosen.address, chosen.count))


if __name__ == "__main__":
    main()
