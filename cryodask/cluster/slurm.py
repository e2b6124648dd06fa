"""Workers as SLURM jobs, one each; the scheduler runs in this process."""

from __future__ import annotations

import logging
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask

from cryodask.cluster.environment import worker_variables
from cryodask.cluster.session import Session, loopback_link
from cryodask.cluster.site import SlurmSite
from cryodask.cluster.sizes import parse_size
from cryodask.cluster.spec import ClusterSpec
from cryodask.cluster.tls import TlsFiles, make_certificates, remove_certificates
from cryodask.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from dask_jobqueue.slurm import SLURMCluster

LEAST_WALLTIME_SECONDS = 120
MARGIN_FRACTION, LEAST_MARGIN_SECONDS = 0.1, 60
"""A worker ends itself this long before SLURM would: time to hand over what it holds."""
STAGGER_FRACTION = 0.05
"""Workers that began together do not end together."""
LIFETIME = "DASK_DISTRIBUTED__WORKER__LIFETIME__"
"""Of Dask's settings in the environment: the workers of dask-cuda have no such option."""
LOGS = "~/.cryodask/logs"
"""Where jobs write what they have to say if the site names no place: without one, SLURM litters the current folder."""

logger = logging.getLogger(__name__)


@contextmanager
def open_slurm(spec: ClusterSpec) -> Iterator[Session]:
    """``spec.workers`` jobs, kept at that number: SLURM may cancel one, or end it at its walltime.

    They start when SLURM starts them; work that is handed over waits. Scheduler and workers speak TLS with certificates
    of their own, removed at the end with the jobs. ConfigError for missing settings, ClusterError without SLURM.
    """
    from distributed import Client

    site = _site(spec)
    jobs = _jobs(spec)
    _require_commands()
    _job_class()  # loads dask-jobqueue's configuration
    with ExitStack() as stack:
        tls, name = None, uuid.uuid4().hex
        if site.tls:
            tls = make_certificates(Path(site.tls_folder).expanduser() / name)
            stack.callback(remove_certificates, tls)
        logs = stack.enter_context(_log_folder(site, name))
        cluster = stack.enter_context(_start(spec, replace(site, log_folder=logs), tls))
        cluster.adapt(minimum=jobs, maximum=jobs)
        client = stack.enter_context(Client(cluster))
        yield Session(client=client, workers=jobs, dashboard_link=loopback_link(client), tls=tls)


def job_script(spec: ClusterSpec) -> str:
    """What ``sbatch`` would be given for each worker; nothing is started. ConfigError for missing settings."""
    site = _site(spec)
    cls = _job_class()
    if _own_logs(site):
        site = replace(site, log_folder=str(Path(LOGS, "CLUSTER").expanduser()))
    shown = {**_job_options(spec, site), "worker_extra_args": _worker_arguments(site)}
    if site.tls:
        folder = TlsFiles(f"{site.tls_folder}/CLUSTER")
        shown |= {"security": folder.security(), "protocol": "tls://"}
    address = "tls://SCHEDULER:PORT" if site.tls else "tcp://SCHEDULER:PORT"
    return str(cls(address, name="WORKER", **shown).job_script())


def _site(spec: ClusterSpec) -> SlurmSite:
    site = spec.site or SlurmSite()
    assert isinstance(site, SlurmSite)
    if site.walltime_seconds < LEAST_WALLTIME_SECONDS:
        raise ConfigError(f"slurm: walltime {site.walltime}: at least {LEAST_WALLTIME_SECONDS} seconds")
    return site


def _jobs(spec: ClusterSpec) -> int:
    if spec.workers is None:
        raise ConfigError("--cluster slurm needs to know how many jobs to keep: give --workers N")
    return spec.workers


def _require_commands() -> None:
    missing = [command for command in ("sbatch", "scancel") if shutil.which(command) is None]
    if missing:
        raise ClusterError(
            f"there is no {missing[0]} on this machine: run on a login node of SLURM, or use another --cluster"
        )


def _job_class() -> Any:  # noqa: ANN401  (dask-jobqueue has no annotations)
    try:
        from dask_jobqueue.slurm import SLURMJob
    except ImportError as error:
        raise ClusterError("SLURM needs the package dask-jobqueue: pip install 'cryodask[slurm]'") from error
    return SLURMJob


def _job_options(spec: ClusterSpec, site: SlurmSite) -> dict[str, Any]:
    """Keywords of a job. None is dask-jobqueue's word for "as its configuration file says"."""
    memory = spec.memory_limit_bytes or (parse_size(site.memory) if site.memory else None)
    if memory is None:
        raise ConfigError(
            "--cluster slurm needs the memory of a job: give --memory-limit, or memory in --cluster-config"
        )
    directives = [] if site.log_folder is None else [f"--output={site.log_folder}/cryodask-%j.out"]
    directives += site.directives
    if site.gpus:
        kind = f":{site.gpu_type}" if site.gpu_type else ""
        directives.append(f"--gres=gpu{kind}:{site.gpus}")
    variables = worker_variables(site.gpus)
    if site.gpus:
        variables |= {LIFETIME + name: value for name, value in _lifetime(site).items()}
    exports = [f"export {name}={value}" for name, value in variables.items()]
    return {
        "queue": site.partition,
        "account": site.account,
        "walltime": site.walltime,
        "cores": 1,
        "processes": 1,
        "job_cpu": site.processors,
        "memory": f"{memory}B",
        "interface": site.interface,
        "local_directory": site.scratch,
        "job_name": "cryodask",
        "job_extra_directives": directives or None,
        "job_directives_skip": list(site.skip_directives) or None,
        "job_script_prologue": [*site.prologue, *exports],
        "worker_command": "dask_cuda.cli" if site.gpus else None,
        "python": sys.executable,
    }


def _lifetime(site: SlurmSite) -> dict[str, str]:
    """How long a worker lives, and by how much at most it may be less or more, as Dask writes times."""
    walltime = site.walltime_seconds
    margin = max(LEAST_MARGIN_SECONDS, round(MARGIN_FRACTION * walltime))
    return {"DURATION": f"{walltime - margin}s", "STAGGER": f"{round(STAGGER_FRACTION * walltime)}s"}


def _worker_arguments(site: SlurmSite) -> list[str]:
    if site.gpus:
        return ["--resources", "GPU=1"]
    lifetime = _lifetime(site)
    return ["--lifetime", lifetime["DURATION"], "--lifetime-stagger", lifetime["STAGGER"], "--no-dashboard"]


def _own_logs(site: SlurmSite) -> bool:
    """Whether nobody has said where jobs write: neither the site nor dask-jobqueue's own configuration."""
    return site.log_folder is None and dask.config.get("jobqueue.slurm.log-directory", None) is None


@contextmanager
def _log_folder(site: SlurmSite, name: str) -> Iterator[str | None]:
    """Where jobs write: as the site says, or a folder of this cluster's own, kept only if the run did not end."""
    own = _own_logs(site)
    folder = Path(LOGS, name).expanduser() if own else Path(site.log_folder or ".")
    _make_folder(folder)
    if not own:
        yield site.log_folder
        return
    try:
        yield str(folder)
    except BaseException:
        with suppress(OSError):
            folder.rmdir()  # no job has written anything
        if folder.exists():
            logger.warning("what the jobs wrote is in %s", folder)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(
            f"cannot make {folder} for what SLURM's jobs write ({error.strerror or error}): give log_folder in "
            "--cluster-config"
        ) from error


@contextmanager
def _start(spec: ClusterSpec, site: SlurmSite, tls: TlsFiles | None) -> Iterator[SLURMCluster]:
    options: Mapping[str, Any] = {
        **_job_options(spec, site),
        "worker_extra_args": _worker_arguments(site),
        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        "security": None if tls is None else tls.security(),
        "protocol": None if tls is None else "tls://",
        "silence_logs": "critical",
    }
    _job_class()
    from dask_jobqueue.slurm import SLURMCluster

    try:
        cluster = SLURMCluster(**options)
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"could not start a scheduler for SLURM jobs: {error}") from error
    try:
        yield cluster
    finally:
        cluster.close()
