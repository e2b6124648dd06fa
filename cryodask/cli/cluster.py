"""``cryodask cluster``."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from cryodask.cli.options import InputPath, cluster_options, verbose_option
from cryodask.errors import ConfigError

if TYPE_CHECKING:
    from cryodask.cluster import ClusterSpec, Session

STOP = "cryodask-stop"
"""The event by which one client of the scheduler asks the process that keeps it to end."""
POLL_SECONDS = 0.2
STOP_SECONDS = 30.0


@click.group(short_help="Start, describe or stop a cluster.")
def cluster() -> None:
    """Start a cluster that several commands share, show what would be started, or stop it.

    Every command starts a cluster of its own unless --scheduler says otherwise.
    """


@cluster.command(short_help="Start a cluster and keep it until it is stopped.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for its address.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the scheduler of a local cluster listens.")
@cluster_options
@verbose_option
def start(output: Path, host: str, cluster: ClusterSpec) -> None:
    """Start a cluster and keep it until `cryodask cluster stop OUTPUT`, Ctrl-C or a SIGTERM.

    Other commands join it with `--scheduler OUTPUT`. A scheduler that listens beyond this machine speaks TLS only; its
    certificates are as secret as a password.
    """
    from cryodask.cli.session import open_session
    from cryodask.cluster.folder import is_cluster_folder, remove_cluster_folder, write_cluster_folder

    if cluster.kind in ("sync", "existing"):
        raise ConfigError(f"a {cluster.kind} cluster cannot be kept: use --cluster local, cuda, slurm or kubernetes")
    if is_cluster_folder(output):
        raise ConfigError(f"{output} belongs to a cluster already: `cryodask cluster stop {output}` first")
    signal.signal(signal.SIGTERM, _interrupt)
    with open_session(replace(cluster, host=host)) as session:
        write_cluster_folder(output, session)
        try:
            click.echo(f"{session.scheduler_address}: join with --scheduler {output}")
            _wait(session)
        finally:
            remove_cluster_folder(output)
    click.echo("stopped")


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _wait(session: Session) -> None:
    """Until somebody asks for the end by an event, or the scheduler closes."""
    asked = threading.Event()
    client: Any = session.client
    client.subscribe_topic(STOP, lambda _: asked.set())
    while client.status == "running" and not asked.wait(POLL_SECONDS):
        pass


@cluster.command(short_help="Show what would be started.")
@cluster_options
@verbose_option
def describe(cluster: ClusterSpec) -> None:
    """Show what would be started or submitted: nothing is."""
    click.echo(description(cluster))


def description(spec: ClusterSpec) -> str:
    """Sizes of local workers, the job script of SLURM, the manifest of Kubernetes."""
    if spec.kind == "slurm":
        from cryodask.cluster.slurm import job_script

        return job_script(spec).rstrip()
    if spec.kind == "kubernetes":
        import yaml

        from cryodask.cluster.kubernetes import dask_cluster

        return str(yaml.safe_dump(dask_cluster(spec), sort_keys=False)).rstrip()
    if spec.kind == "cuda":
        from cryodask.cluster.cuda import options_of, visible_gpus
        from cryodask.cluster.site import CudaSite

        site = spec.site if isinstance(spec.site, CudaSite) else CudaSite()
        options = options_of(spec, site, visible_gpus(site), "SCRATCH")
        return "\n".join(f"{name}: {value}" for name, value in options.items())
    if spec.kind == "local":
        from cryodask.cluster.local import size_up

        workers, memory = size_up(spec)
        return f"{workers} worker processes on this machine, one thread and {memory / 2**30:.2f} GiB each"
    if spec.kind == "existing":
        return f"the workers of the scheduler at {spec.scheduler}"
    return "this process, without workers"


@cluster.command(short_help="Stop a cluster that `cluster start` keeps.")
@click.argument("folder", type=InputPath(), metavar="FOLDER")
@verbose_option
def stop(folder: Path) -> None:
    """Stop the cluster of FOLDER: its workers end, also in the middle of a task."""
    from cryodask.cluster import ClusterSpec, connect
    from cryodask.cluster.folder import is_cluster_folder, read_cluster_folder, remove_cluster_folder
    from cryodask.errors import ClusterError

    running = read_cluster_folder(folder)
    try:
        with connect(ClusterSpec(kind="existing", scheduler=running.address, tls=running.tls)) as session:
            assert session.client is not None
            session.client.log_event(STOP, "stop")
    except ClusterError:
        remove_cluster_folder(folder)
        raise
    end = time.monotonic() + STOP_SECONDS
    while is_cluster_folder(folder):
        if time.monotonic() > end:
            raise ClusterError(f"{running.address} was asked to stop but did not within {STOP_SECONDS:g} s")
        time.sleep(POLL_SECONDS)
    click.echo(f"{running.address}: stopped")
