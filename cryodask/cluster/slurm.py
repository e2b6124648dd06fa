"""Workers as SLURM jobs, one each; the scheduler runs in this process."""

from __future__ import annotations

import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodask.cluster.environment import WORKERS
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
    with ExitStack() as stack:
        tls = None
        if site.tls:
            tls = make_certificates(Path(site.tls_folder).expanduser() / uuid.uuid4().hex)
            stack.callback(remove_certificates, tls)
        cluster = stack.enter_context(_start(spec, site, tls))
        cluster.adapt(minimum=jobs, maximum=jobs)
        client = stack.enter_context(Client(cluster))
        yield Session(client=client, workers=jobs, dashboard_link=loopback_link(client), tls=tls)


def job_script(spec: ClusterSpec) -> str:
    """What ``sbatch`` would be given for each worker; nothing is started. ConfigError for missing settings."""
    site = _site(spec)
    cls = _job_class()
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
    directives = list(site.directives)
    if site.gpus:
        kind = f":{site.gpu_type}" if site.gpu_type else ""
        directives.append(f"--gres=gpu{kind}:{site.gpus}")
    exports = [f"export {name}={value}" for name, value in WORKERS.items()]
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
        "log_directory": site.log_folder,
        "job_name": "cryodask",
        "job_extra_directives": directives or None,
        "job_directives_skip": list(site.skip_directives) or None,
        "job_script_prologue": [*site.prologue, *exports],
        "worker_command": "dask_cuda.cli" if site.gpus else None,
        "python": sys.executable,
    }


def _worker_arguments(site: SlurmSite) -> list[str]:
    walltime = site.walltime_seconds
    margin = max(LEAST_MARGIN_SECONDS, round(MARGIN_FRACTION * walltime))
    arguments = ["--lifetime", f"{walltime - margin}s", "--lifetime-stagger", f"{round(STAGGER_FRACTION * walltime)}s"]
    if site.gpus:
        return [*arguments, "--resources", "GPU=1"]
    return [*arguments, "--no-dashboard"]


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
