"""Worker processes on this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dask
from distributed import Client, LocalCluster

from cryodask.cluster.environment import MEMORY_LIMITS, WORKERS
from cryodask.cluster.machine import available_memory_bytes, processor_count
from cryodask.cluster.session import Session, loopback_link
from cryodask.cluster.sizes import LEAST_MEMORY_BYTES, too_little_memory
from cryodask.cluster.spec import ClusterSpec
from cryodask.cluster.tls import TlsFiles, is_loopback, make_certificates
from cryodask.errors import ClusterError, ConfigError

COMFORTABLE_MEMORY_BYTES = 2**30
"""Where the number of workers is left to us, each gets at least this much if the machine has it."""

STOP_SECONDS = 1.0
"""How long a worker may take to stop by itself before its process is killed."""


@contextmanager
def open_local(spec: ClusterSpec) -> Iterator[Session]:
    """One-threaded worker processes, dashboard on a free port of 127.0.0.1. ClusterError if they do not start."""
    workers, memory_bytes = size_up(spec)
    scratch = dask.config.get("temporary-directory", None)
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="cryodask-", dir=scratch, ignore_cleanup_errors=True)
        )
        tls = None if is_loopback(spec.host) else make_certificates(Path(folder) / "tls")
        cluster = stack.enter_context(_start(workers, memory_bytes, folder, spec.host, tls))
        stack.callback(_stop_workers, cluster)
        client = stack.enter_context(Client(cluster))
        yield Session(client=client, workers=workers, dashboard_link=loopback_link(client), tls=tls)


def dask_setup(worker: object) -> None:
    """Run by Dask in each worker process: a Ctrl-C reaches these too, but this process is the one to act on it."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def size_up(spec: ClusterSpec) -> tuple[int, int]:
    """Number of workers and bytes for each, with what ``spec`` leaves open filled in from this machine.

    Raises ConfigError where an equal share of what is free would be too little for a worker to start.
    """
    available = available_memory_bytes()
    per_worker = spec.memory_limit_bytes or COMFORTABLE_MEMORY_BYTES
    workers = spec.workers or max(1, min(processor_count(), available // per_worker))
    memory_bytes = spec.memory_limit_bytes or available // workers
    if memory_bytes < LEAST_MEMORY_BYTES:
        raise ConfigError(
            f"{workers} workers share the {available / 2**20:.0f} MiB that are free on this machine: "
            f"{too_little_memory(memory_bytes)}; use fewer --workers, or --cluster sync"
        )
    return workers, memory_bytes


def _start(workers: int, memory_bytes: int, folder: str, host: str, tls: TlsFiles | None) -> LocalCluster:
    try:
        # The scheduler takes its scratch folder from the configuration only.
        limits = {f"distributed.worker.memory.{name}": value for name, value in MEMORY_LIMITS.items()}
        with _worker_environment(WORKERS), dask.config.set({"temporary-directory": folder, **limits}):
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host=host,
                protocol="tcp://" if tls is None else "tls://",
                security=None if tls is None else tls.security(),
                dashboard_address="127.0.0.1:0",
                memory_limit=memory_bytes,
                local_directory=folder,
                silence_logs=logging.CRITICAL,
                preload=__name__,
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"could not start {workers} worker processes on {host} ({error}); "
            "use fewer --workers, or --cluster sync to work without any"
        ) from error


def _stop_workers(cluster: LocalCluster) -> None:
    """End the worker processes, in the middle of a task too: an interrupted user is not to wait for it."""

    async def stop() -> None:
        nannies = list(cluster.workers.values())
        await asyncio.gather(*(nanny.close(timeout=STOP_SECONDS) for nanny in nannies), return_exceptions=True)

    cluster.sync(stop)


@contextmanager
def _worker_environment(variables: dict[str, str]) -> Iterator[None]:
    """Give worker processes these variables from their first instruction on.

    Dask sets its "pre-spawn" variables before a worker loads anything, but lets what this process has win; so they are
    set here too for as long as the workers are being made.
    """
    key = "distributed.nanny.pre-spawn-environ"
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        with dask.config.set({key: {**dask.config.get(key), **variables}}):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
