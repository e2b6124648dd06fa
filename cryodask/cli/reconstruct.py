"""``cryodask reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryodask.cli._leftovers import removed_if_useless
from cryodask.cli._running import checked_memory, output_store
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


@click.command(short_help="Reconstruct tomograms from tilt series.")
@click.argument("data", type=InputPath(), metavar="DATA.zarr")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="DATA.zarr itself or another.")
@click.option(
    "--image",
    type=click.Choice(["counts", "noise_free"]),
    default="counts",
    show_default=True,
    help="Images to use, ring-scaled where the series is; noise_free makes what signal-to-noise ratios compare with.",
)
@click.option("--bin", "binning", type=click.IntRange(min=1), help="Pixels of an image in one voxel, along each axis.")
@click.option("--filter", "window", metavar="NAME", help="ram-lak, shepp-logan, hamming or hann.")
@click.option("--thickness", type=click.IntRange(min=1), help="Depth in voxels.  [default: the sample's]")
@parameter_options()
@cluster_options
@overwrite_option
@performance_report_option
@verbose_option
def reconstruct(
    data: Path,
    output: Path,
    image: str,
    binning: int | None,
    window: str | None,
    thickness: int | None,
    parameters: RunParameters,
    cluster: ClusterSpec,
    overwrite: bool,
    performance_report: Path | None,
) -> None:
    """Reconstruct tomograms from the tilt series of a data set, by weighted back-projection.

    With the data set itself as output the tomograms are added to it.
    """
    from cryodask.cli.progress import make_progress
    from cryodask.cli.session import open_session
    from cryodask.io.store import Store
    from cryodask.params import changed
    from cryodask.workflows.plan import plan_stored_reconstruction
    from cryodask.workflows.reconstruct import ReconstructJob
    from cryodask.workflows.reconstruct import reconstruct as run

    chosen = changed(parameters.reconstruction, "--bin", binning=binning)
    chosen = changed(chosen, "--filter", window=window)
    chosen = changed(chosen, "--thickness", thickness_voxels=thickness)
    store, made = Store(data), Store(output_store(output))
    job = ReconstructJob(parameters=chosen, image=image)
    checked_memory(plan_stored_reconstruction(store, job), cluster)
    with removed_if_useless(output, made), open_session(cluster, performance_report) as session:
        names = run(
            store,
            made,
            job,
            client=session.client,
            progress=make_progress(),
            overwrite=overwrite,
        )
    click.echo(f"{output}: {len(names)} tomograms")
