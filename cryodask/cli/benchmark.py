"""``cryodask benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryodask.cli._leftovers import removed_if_useless
from cryodask.cli._running import (
    checked_memory,
    chosen_structures,
    classes_option,
    command_line,
    output_folder,
    structures_option,
)
from cryodask.cli.options import (
    cluster_options,
    overwrite_option,
    parameter_options,
    performance_report_option,
    verbose_option,
)

if TYPE_CHECKING:
    from cryodask.cluster import ClusterSpec
    from cryodask.params import RunParameters


@click.command(short_help="Simulate, reconstruct, match, evaluate and report.")
@structures_option
@classes_option
@click.option("--models", type=click.IntRange(min=1), help="Number of tomograms.  [default: the preset's]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all random numbers.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@parameter_options("quick")
@cluster_options
@overwrite_option
@performance_report_option
@verbose_option
def benchmark(
    structures: str,
    classes: tuple[str, ...] | None,
    models: int | None,
    seed: int,
    output: Path,
    parameters: RunParameters,
    cluster: ClusterSpec,
    overwrite: bool,
    performance_report: Path | None,
) -> None:
    """Run the whole chain: simulate, reconstruct, match, evaluate and report.

    Leaves data.zarr, picks/, evaluation.json, run.json and report.html in OUTPUT. The same command again continues an
    interrupted run, and does nothing twice.
    """
    from dataclasses import replace

    from cryodask.cli.evaluate import echo_notes, summary
    from cryodask.cli.progress import make_progress
    from cryodask.cli.session import open_session
    from cryodask.io.store import Store
    from cryodask.workflows.benchmark import DATA, REPORT, BenchmarkJob
    from cryodask.workflows.benchmark import benchmark as run
    from cryodask.workflows.plan import plan_run

    chosen = parameters if models is None else replace(parameters, models=models)
    job = BenchmarkJob(
        structures=chosen_structures(structures, classes, chosen),
        parameters=chosen,
        seed=seed,
        command=command_line(),
    )
    job.simulation()  # its checks, before anything is made
    planned = checked_memory(plan_run(chosen, job.structures), cluster)
    store = Store(output_folder(output) / DATA)
    with removed_if_useless(output, store), open_session(cluster, performance_report) as session:
        evaluations = run(
            output,
            job,
            client=session.client,
            progress=make_progress(),
            planned_bytes=planned,
            overwrite=overwrite,
        )
    click.echo(summary(evaluations["strict"]))
    echo_notes(evaluations["strict"])
    click.echo(f"report: {output / REPORT}")
