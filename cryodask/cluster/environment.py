"""Environment variables of worker processes, wherever they are started."""

from __future__ import annotations

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

WORKERS = SINGLE_THREADED | KEEP_FREED_MEMORY
