"""What a run says of itself: how long its stages took, on what versions, with how much memory."""

from __future__ import annotations

import json
import platform
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from distributed import Client

from cryodask._version import __version__
from cryodask.model.progress import Progress, Stage

_PACKAGES = ("dask", "distributed", "zarr", "xarray", "numpy", "scipy", "numba", "gemmi")


def versions() -> dict[str, str]:
    """Versions of everything that can change a result or its speed."""
    found = {"cryodask": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class TimedProgress:
    """Passes progress on, and keeps how long each stage took that had anything to do."""

    def __init__(self, inner: Progress, seconds: dict[str, float] | None = None) -> None:
        self._inner = inner
        self.seconds: dict[str, float] = dict(seconds or {})
        """Stage to seconds; a stage that a resumed run skips keeps the time it once took."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        started = time.perf_counter()
        with self._inner.stage(name, total) as stage:
            yield stage
        self.seconds[name] = time.perf_counter() - started


def read_record(path: Path) -> dict[str, Any]:
    """The record of an earlier run of the same folder, or an empty one."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def peak_memory_bytes(client: Client | None) -> int:
    """Largest resident memory that any worker (or this process, without workers) has had so far."""
    if client is None:
        return _own_peak_bytes()
    return max(client.run(_own_peak_bytes).values(), default=0)


def _own_peak_bytes() -> int:
    # Linux hands ru_maxrss on through exec: a worker would report what the process held that started it.
    try:
        own = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        own = None
    if own is not None:
        return int(own[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
