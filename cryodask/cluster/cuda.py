"""One worker process a GPU of this machine, each with one thread: a GPU is never asked for two blocks at once."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import dask

from cryodask.backend import DEVICE_VARIABLE
from cryodask.cluster.local import size_up
from cryodask.cluster.session import Session
from cryodask.cluster.site import CudaSite
from cryodask.cluster.spec import ClusterSpec
from cryodask.errors import ClusterError

if TYPE_CHECKING:
    from distributed import LocalCluster

RESOURCE = "GPU"
"""What tasks for GPUs ask for: one of it, which each worker has."""


@contextmanager
def open_cuda(spec: ClusterSpec) -> Iterator[Session]:
    """A worker for each GPU, or for the first ``spec.workers``; everything on loopback. ClusterError without GPUs."""
    import dask
    from distributed import Client

    site = spec.site or CudaSite()
    assert isinstance(site, CudaSite)
    scratch = dask.config.get("temporary-directory", None)
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="cryodask-", dir=scratch, ignore_cleanup_errors=True)
        )
        cluster = stack.enter_context(_start(spec, site, folder))
        client = stack.enter_context(Client(cluster))
        yield Session(client=client, workers=len(cluster.workers), dashboard_link=client.dashboard_link)


def visible_gpus(site: CudaSite) -> list[str]:
    """Devices that workers would get; ClusterError, with the reason, where there are none."""
    try:
        import pynvml
    except ImportError as error:
        raise ClusterError("GPU workers need more packages: pip install 'cryodask[cuda]'") from error
    try:
        pynvml.nvmlInit()
        count = int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as error:
        raise ClusterError(
            f"no NVIDIA GPU can be reached ({error}): is the driver installed, and is the GPU visible here? "
            "Use --cluster local to work without"
        ) from error
    devices = site.devices.split(",") if site.devices else [str(index) for index in range(count)]
    if not devices:
        raise ClusterError("this machine has no NVIDIA GPU: use --cluster local")
    return devices


def device_memory_bytes(spec: ClusterSpec) -> int | None:
    """Memory of the smallest GPU that workers would get; None where there is none to be asked."""
    site = spec.site or CudaSite()
    assert isinstance(site, CudaSite)
    try:
        devices = visible_gpus(site)
    except ClusterError:
        return None
    import pynvml

    handles = [
        pynvml.nvmlDeviceGetHandleByIndex(int(device))
        if device.isdigit()
        else pynvml.nvmlDeviceGetHandleByUUID(device.encode())
        for device in devices
    ]
    return min(int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) for handle in handles)


def options_of(spec: ClusterSpec, site: CudaSite, devices: list[str], folder: str) -> dict[str, Any]:
    """Keywords of dask-cuda's LocalCUDACluster."""
    workers = min(spec.workers or len(devices), len(devices))
    _, memory_bytes = size_up(ClusterSpec(workers=workers, memory_limit_bytes=spec.memory_limit_bytes))
    options: dict[str, Any] = {
        "CUDA_VISIBLE_DEVICES": ",".join(devices[:workers]),
        "n_workers": workers,
        "threads_per_worker": 1,
        "memory_limit": memory_bytes,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "local_directory": folder,
        "resources": {RESOURCE: 1},
        "silence_logs": logging.CRITICAL,
    }
    if site.device_memory_limit is not None:
        options["device_memory_limit"] = site.device_memory_limit
    if site.rmm_pool_size is not None:
        options["rmm_pool_size"] = site.rmm_pool_size
    return options


def _start(spec: ClusterSpec, site: CudaSite, folder: str) -> LocalCluster:
    devices = visible_gpus(site)
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise ClusterError("GPU workers need dask-cuda: pip install 'cryodask[cuda]'") from error
    try:
        # A worker's nanny keeps the environment it was made with, for workers that it starts later too.
        environment = {**dask.config.get("distributed.nanny.environ", {}), DEVICE_VARIABLE: "cuda"}
        with dask.config.set({"distributed.nanny.environ": environment}):
            cluster: LocalCluster = LocalCUDACluster(**options_of(spec, site, devices, folder))
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"could not start GPU workers ({error}); use --cluster local to work without") from error
    return cluster
