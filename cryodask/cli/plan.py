"""``cryodask plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cryodask.cli._running import chosen_structures, classes_option, structures_option
from cryodask.cli.options import cluster_options, parameter_options, verbose_option

if TYPE_CHECKING:
    from cryodask.cluster import ClusterSpec
    from cryodask.params import RunParameters


@click.command(short_help="Show what a benchmark takes: tasks, bytes and memory.")
@structures_option
@classes_option
@click.option("--models", type=click.IntRange(min=1), help="Number of tomograms.  [default: the preset's]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead of a table.")
@parameter_options("quick")
@cluster_options
@verbose_option
def plan(
    structures: str,
    classes: tuple[str, ...] | None,
    models: int | None,
    as_json: bool,
    parameters: RunParameters,
    cluster: ClusterSpec,
) -> None:
    """Show what a benchmark would take: tasks, bytes written and peak memory per worker, stage by stage.

    Computes nothing. Ends with exit code 2 if the workers' memory would not do.
    """
    import json
    from dataclasses import asdict, replace

    from cryodask.cli._running import checked_memory
    from cryodask.workflows.plan import plan_run

    chosen = parameters if models is None else replace(parameters, models=models)
    stages = plan_run(chosen, chosen_structures(structures, classes, chosen))
    if as_json:
        click.echo(json.dumps([{**asdict(stage), "worker_bytes": stage.worker_bytes} for stage in stages]))
    else:
        click.echo(f"{'stage':<40} {'tasks':>8} {'written':>10} {'peak per worker':>16} {'per GPU':>10}")
        for stage in stages:
            device = _size(stage.device_bytes) if stage.device_bytes else "-"
            click.echo(
                f"{stage.stage:<40} {stage.tasks:>8} {_size(stage.bytes_written):>10} "
                f"{_size(stage.worker_bytes):>16} {device:>10}"
            )
    checked_memory(stages, cluster)


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
