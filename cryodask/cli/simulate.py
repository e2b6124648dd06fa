"""``cryodask simulate``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryodask.cli._leftovers import removed_if_useless
from cryodask.cli._running import (
    checked_memory,
    chosen_structures,
    classes_option,
    output_store,
    structures_option,
)
from cryodask.cli.options import (
    InputPath,
    cluster_options,
    overwrite_option,
    parameter_options,
    performance_report_option,
    verbose_option,
)

if TYPE_CHECKING:
    from cryodask.cluster import ClusterSpec
    from cryodask.params import RunParameters


@click.command(short_help="Simulate tilt series with full truth.")
@structures_option
@classes_option
@click.option("--models", type=click.IntRange(min=1), help="Number of tomograms.  [default: the preset's]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all random numbers.")
@click.option(
    "--tilt-angles",
    type=InputPath(),
    metavar="FILE",
    help="Tilts in the order of acquisition, one a line; or a SerialEM .mdoc, which tells their order.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Data set to make, NAME.zarr.")
@parameter_options("quick")
@cluster_options
@overwrite_option
@performance_report_option
@verbose_option
def simulate(
    structures: str,
    classes: tuple[str, ...] | None,
    models: int | None,
    seed: int,
    tilt_angles: Path | None,
    output: Path,
    parameters: RunParameters,
    cluster: ClusterSpec,
    overwrite: bool,
    performance_report: Path | None,
) -> None:
    """Simulate tilt series with full truth.

    Places copies of the structures at random in a slab of ice, projects it through an electron microscope at every
    tilt, and records the images: grand model, truth masks, particle table and tilt series go into one data set.
    """
    from cryodask.cli.progress import make_progress
    from cryodask.cli.session import open_session
    from cryodask.io.store import Store
    from cryodask.params import changed
    from cryodask.workflows.mrc_inputs import read_acquired_tilts
    from cryodask.workflows.plan import plan_simulation
    from cryodask.workflows.simulate import SimulateJob
    from cryodask.workflows.simulate import simulate as run

    if tilt_angles is not None:
        simulation = parameters.simulation
        listed = changed(simulation.acquisition, "--tilt-angles", tilt_deg=list(read_acquired_tilts(tilt_angles)))
        parameters = replace(parameters, simulation=replace(simulation, acquisition=listed))
    store = Store(output_store(output))
    job = SimulateJob(
        structures=chosen_structures(structures, classes, parameters),
        parameters=parameters.simulation,
        models=models or parameters.models,
        seed=seed,
    )
    checked_memory(plan_simulation(parameters, job.structures), cluster)
    with removed_if_useless(output, store), open_session(cluster, performance_report) as session:
        names = run(store, job, client=session.client, progress=make_progress(), overwrite=overwrite)
    click.echo(f"{output}: {len(names)} tilt series of {len(job.structures)} classes")
