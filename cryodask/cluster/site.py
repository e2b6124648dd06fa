"""What a site asks of its clusters: partitions, walltimes, images. One small file, each key checked.

The loader is that of parameters in spirit: an unknown key is an error with a suggestion, nothing changes its type.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from cryodask.cluster.sizes import LEAST_MEMORY_BYTES, parse_size, too_little_memory
from cryodask.errors import ConfigError
from cryodask.params.text import read_mapping

_WORD = re.compile(r"[A-Za-z0-9_@%:.,+=/-]+")
_WALLTIME = re.compile(r"(?:(\d+)-)?(\d{1,3}):(\d\d):(\d\d)")
_KUBERNETES_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class SlurmSite:
    """One worker a job. Whatever is None is left to SLURM, or to dask-jobqueue's own configuration file."""

    partition: str | None = None
    account: str | None = None
    walltime: str = "04:00:00"
    """D-HH:MM:SS or HH:MM:SS; a worker ends itself before, and its job is replaced."""
    processors: int = 1
    """Of each job. A worker computes in one thread; more keep memory bandwidth, or are a site's least."""
    memory: str | None = None
    """Of each job, such as 8GiB; --memory-limit wins."""
    gpus: int = 0
    """Of each job: 1 makes GPU jobs with a CUDA worker each."""
    gpu_type: str | None = None
    interface: str | None = None
    """Network interface of scheduler and workers, such as ib0."""
    scratch: str | None = None
    """Fast local folder of the nodes, for what workers spill."""
    log_folder: str | None = None
    """Where jobs write their output; None takes a folder in the home that goes with the cluster, unless it failed."""
    tls_folder: str = "~/.cryodask/tls"
    """On a file system that all nodes see; a folder of its own for each cluster."""
    tls: bool = True
    directives: tuple[str, ...] = ()
    """More lines for the job's head, such as --constraint=skylake."""
    skip_directives: tuple[str, ...] = ()
    """Directives that the site forbids, such as --mem."""
    prologue: tuple[str, ...] = ()
    """Shell lines that run before the worker, such as module load cuda."""

    def __post_init__(self) -> None:
        for name in ("partition", "account", "gpu_type", "interface", "scratch", "log_folder"):
            _check_word(name, getattr(self, name))
        if any("\n" in line for line in (*self.directives, *self.skip_directives, *self.prologue)):
            raise ConfigError("slurm: directives and prologue hold one line each")
        if _WALLTIME.fullmatch(self.walltime) is None:
            raise ConfigError(f"slurm: walltime {self.walltime!r}: expected D-HH:MM:SS or HH:MM:SS (in quotes)")
        _check_least("slurm", processors=(self.processors, 1), gpus=(self.gpus, 0))
        _check_memory(self.memory)

    @property
    def walltime_seconds(self) -> int:
        match = _WALLTIME.fullmatch(self.walltime)
        assert match is not None
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@dataclass(frozen=True, kw_only=True)
class CudaSite:
    """One worker and one thread a GPU of this machine."""

    devices: str | None = None
    """Which GPUs, as in CUDA_VISIBLE_DEVICES; None takes all."""
    device_memory_limit: str | None = None
    """Of each GPU, from which on arrays move to the host, such as 14GiB."""
    rmm_pool_size: str | None = None
    """Of RAPIDS' memory pool on each GPU, if the package rmm is there."""

    def __post_init__(self) -> None:
        _check_word("devices", self.devices)
        for size in (self.device_memory_limit, self.rmm_pool_size):
            if size is not None:
                parse_size(size)


@dataclass(frozen=True, kw_only=True)
class KubernetesSite:
    """Pods of the Dask operator."""

    name: str = "cryodask"
    namespace: str = "default"
    image: str = "ghcr.io/cryodask/cryodask:latest"
    processors: int = 1
    memory: str | None = None
    gpus: int = 0
    """Of each worker; the scheduler gets none."""
    volume_claim: str | None = None
    """PersistentVolumeClaim with the data, the same for all pods and for the client."""
    mount_path: str = "/data"
    service_account: str | None = None
    idle_timeout_seconds: int = 0
    """After so long without work Kubernetes removes the cluster, also when its client has died; 0 never."""
    start_timeout_seconds: int = 120

    def __post_init__(self) -> None:
        for name in (self.name, self.namespace, self.volume_claim, self.service_account):
            if name is not None and _KUBERNETES_NAME.fullmatch(name) is None:
                raise ConfigError(f"kubernetes: {name!r}: expected lower-case letters, digits and dashes")
        for name in ("image", "mount_path"):
            _check_word(name, getattr(self, name))
        _check_least("kubernetes", processors=(self.processors, 1), gpus=(self.gpus, 0))
        _check_memory(self.memory)


Site = SlurmSite | CudaSite | KubernetesSite
SITES: dict[str, type[Any]] = {"slurm": SlurmSite, "cuda": CudaSite, "kubernetes": KubernetesSite}


def read_site(path: Path, kind: str) -> Site:
    """The section for clusters of ``kind`` in a YAML or TOML file; ConfigError naming file, key and remedy."""
    if kind not in SITES:
        raise ConfigError(f"--cluster-config {path}: a {kind} cluster has no settings; use --cluster slurm, say")
    sections = read_mapping(path)
    unknown = [key for key in sections if key not in SITES]
    if unknown:
        raise ConfigError(f"{path}: unknown section {unknown[0]!r} (there are: {', '.join(SITES)})")
    section = sections.get(kind) or {}
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: {kind}: expected keys and values")
    return make_site(kind, section, str(path))


def make_site(kind: str, values: Mapping[str, object], source: str) -> Site:
    """A site's settings from plain values."""
    cls = SITES[kind]
    hints = get_type_hints(cls)
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"did you mean {near[0]}?" if near else "known are " + ", ".join(hints)
            raise ConfigError(f"{source}: {kind}: unknown key {key!r}; {hint}")
        checked[key] = _checked(value, hints[key], f"{source}: {kind}: {key}")
    try:
        site: Site = cls(**checked)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    return site


def default_site(kind: str) -> Site:
    """What holds where nothing is given."""
    assert all(item.default is not MISSING for item in fields(SITES[kind]))
    site: Site = SITES[kind]()
    return site


def _checked(value: object, hint: Any, where: str) -> object:  # noqa: ANN401  (a type expression)
    if hint == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{where} = {value!r}: expected a list of texts")
        return tuple(value)
    wanted = (str, type(None)) if hint == str | None else (hint,)
    if not isinstance(value, wanted) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where} = {value!r}: expected {getattr(hint, '__name__', 'text')}")
    return value


def _check_word(name: str, value: str | None) -> None:
    """These end in command lines and job scripts: nothing that a shell would take as more than a word."""
    if value is not None and _WORD.fullmatch(value) is None:
        raise ConfigError(f"{name} = {value!r}: expected letters, digits and any of _@%:.,+=/-")


def _check_memory(text: str | None) -> None:
    if text is not None and (memory_bytes := parse_size(text)) < LEAST_MEMORY_BYTES:
        raise ConfigError(f"memory = {text}: {too_little_memory(memory_bytes)}")


def _check_least(kind: str, **values: tuple[int, int]) -> None:
    for name, (value, least) in values.items():
        if value < least:
            raise ConfigError(f"{kind}: {name} = {value}: at least {least}")
