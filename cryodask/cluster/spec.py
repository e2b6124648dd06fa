"""What cluster is wanted: plain data, checked when it is made. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryodask.cluster.sizes import LEAST_MEMORY_BYTES, parse_size, too_little_memory
from cryodask.errors import ConfigError

if TYPE_CHECKING:
    from cryodask.cluster.site import Site
    from cryodask.cluster.tls import TlsFiles

__all__ = ["START_KINDS", "ClusterSpec", "checked_address", "parse_size"]

START_KINDS = ("local", "cuda", "slurm", "kubernetes", "sync")
"""Kinds that are started on demand; a running scheduler is the kind "existing"."""

HAVE_SITES = ("cuda", "slurm", "kubernetes")

_ADDRESS = re.compile(r"(?:(?P<scheme>[a-z]+)://)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_SCHEMES = ("tcp", "tls", "ucx", "ws", "wss")


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """Where the work runs. None leaves the choice to the cluster: one worker a processor, an equal share of memory.

    "sync" runs everything in the calling process, "local" in worker processes on this machine, "cuda" in one for each
    of its GPUs, "slurm" and "kubernetes" in jobs and pods, "existing" at the scheduler at ``scheduler``
    ("tcp://host:port"), whose workers and memory are not ours to set. Raises ConfigError.
    """

    kind: str = "local"
    workers: int | None = None
    memory_limit_bytes: int | None = None
    scheduler: str | None = None
    site: Site | None = None
    """Settings of a cuda, slurm or kubernetes cluster; None takes the defaults."""
    tls: TlsFiles | None = None
    """Certificates for a scheduler at a tls:// address; None leaves them to Dask's configuration."""
    host: str = "127.0.0.1"
    """Where the scheduler of a local cluster listens; beyond loopback it gets TLS."""

    def __post_init__(self) -> None:
        if self.kind not in (*START_KINDS, "existing"):
            raise ConfigError(f"unknown cluster {self.kind!r} (there are: {', '.join(START_KINDS)}, existing)")
        if (self.kind == "existing") != (self.scheduler is not None):
            raise ConfigError(
                f"cluster {self.kind!r} with scheduler {self.scheduler!r}: only 'existing' has an address"
            )
        if self.scheduler is not None:
            object.__setattr__(self, "scheduler", checked_address(self.scheduler))
        if self.kind == "existing" and (self.workers, self.memory_limit_bytes) != (None, None):
            raise ConfigError("a running cluster brings its own workers: leave out --workers and --memory-limit")
        if self.site is not None and self.kind not in HAVE_SITES:
            raise ConfigError(f"cluster {self.kind!r} has no settings of a site")
        if self.tls is not None and (self.scheduler is None or not self.scheduler.startswith("tls://")):
            raise ConfigError("certificates (--tls) belong to a --scheduler at tls://HOST:PORT")
        if self.host != "127.0.0.1" and self.kind != "local":
            raise ConfigError(
                f"host {self.host!r}: only the scheduler of a local cluster has a choice (--cluster local)"
            )
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers = {self.workers}: at least 1 is needed")
        if self.kind == "sync" and self.workers not in (None, 1):
            raise ConfigError(
                f"workers = {self.workers}: the sync cluster is the one calling process; use --cluster local"
            )
        if self.memory_limit_bytes is not None and self.memory_limit_bytes < LEAST_MEMORY_BYTES:
            raise ConfigError(too_little_memory(self.memory_limit_bytes))


def checked_address(address: str) -> str:
    """``address`` as scheme://host:port, tcp where no scheme is given; ConfigError if it is not an address."""
    match = _ADDRESS.fullmatch(address.strip())
    if match is None or not 1 <= int(match["port"]) <= 65535 or (match["scheme"] or "tcp") not in _SCHEMES:
        raise ConfigError(
            f"scheduler address {address!r}: expected tcp://HOST:PORT, as the scheduler prints it at its start"
        )
    return f"{match['scheme'] or 'tcp'}://{match['host']}:{match['port']}"
