"""Environment variables of worker processes, wherever they are started."""

from __future__ import annotations

from cryodask.backend import DEVICE_VARIABLE

SINGLE_THREADED = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""Parallelism is the workers': libraries that start a thread a processor in each of them would only fight."""

KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}
"""glibc gives freed arrays back to the system at once (and Dask asks it to); the next array of that size then costs a
page fault every 4 KiB. Keeping them cut the system time of the quick benchmark from 52 to 10 s, of 190 s in all."""

MEMORY_LIMITS = {"target": False, "spill": False, "pause": False, "terminate": 0.95}
"""Shares of its memory at which a worker takes measures (Dask's ``distributed.worker.memory``).

Tasks read and write Zarr and leave next to nothing to spill. A worker that keeps freed memory looks full after a large
task and, once paused, would never start another: a whole batch stood still that way. What remains is to end a worker
before the system does."""

_DASK = {f"DASK_DISTRIBUTED__WORKER__MEMORY__{name.upper()}": str(value) for name, value in MEMORY_LIMITS.items()}

WORKERS = SINGLE_THREADED | KEEP_FREED_MEMORY | _DASK
"""All of them, for workers that are started by a command line."""


def worker_variables(gpus: int) -> dict[str, str]:
    """``WORKERS``, and for those with a GPU the word that their tasks compute on it."""
    return {**WORKERS, **({DEVICE_VARIABLE: "cuda"} if gpus else {})}
