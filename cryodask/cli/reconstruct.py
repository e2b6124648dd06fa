"""``cryodask reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryodask.cli._leftovers import removed_if_useless
from cryodask.cli._running import checked_memory, command_line, notices, output_store
from cryodask.cli.alignment_options import alignment_options
from cryodask.cli.options import (
    InputPath,
    OutputFile,
    cluster_options,
    overwrite_option,
    parameter_options,
    performance_report_option,
    verbose_option,
)

if TYPE_CHECKING:
    from cryodask.cluster import ClusterSpec
    from cryodask.params import RunParameters
    from cryodask.params.schema import ReconstructionParameters
    from cryodask.workflows.reconstruct import ReconstructJob
    from cryodask.workflows.reconstruction_report import MadeTomogram
    from cryodask.workflows.stack_inputs import StackOptions


@click.command(short_help="Reconstruct tomograms from tilt series.")
@click.argument("data", type=InputPath(), metavar="DATA.zarr|STACK.mrc|tomograms.star|SERIES.xml")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="A data set, NAME.zarr (DATA.zarr itself or another), or for one tomogram an MRC file.",
)
@click.option(
    "--image",
    type=click.Choice(["counts", "noise_free"]),
    default="counts",
    show_default=True,
    help="Images of a data set, ring-scaled where it is; noise_free makes what signal-to-noise ratios compare with.",
)
@click.option("--tomogram", "names", multiple=True, metavar="NAME", help="Of a tomograms.star only this; repeatable.")
@alignment_options
@click.option(
    "--bin",
    "binning",
    type=click.IntRange(min=1),
    help="Pixels of an image in one voxel, along each axis.  [default: 2 for a data set, 1 for files]",
)
@click.option("--filter", "window", metavar="NAME", help="ram-lak, shepp-logan, hamming, hann, sirt-like or exact.")
@click.option("--sirt-iterations", type=click.IntRange(min=1), help="Of the filter sirt-like.  [default: 30]")
@click.option("--thickness", type=click.IntRange(min=1), help="Depth in voxels.  [default: what the input says]")
@click.option("--normalize", metavar="NAME", help="auto, contrast, standard or subtract.")
@click.option("--invert", is_flag=True, help="Change the sign: for images with bright proteins.")
@click.option("--hot-pixels", type=float, metavar="SIGMA", help="Replace lone pixels so far off; 0 keeps them.")
@click.option("--dose-weight", is_flag=True, help="Weigh fine detail by the dose before each image (needs --mdoc).")
@click.option(
    "--ctf",
    type=click.Choice(["none", "phase-flip"]),
    help="Turn back the phases that the microscope turned over, strip by strip.  [default: none]",
)
@click.option("--half-sets", is_flag=True, help="Also from every second tilt, for a Fourier shell correlation.")
@click.option("--report", type=OutputFile(), help="Write slices, settings and the correlation to this HTML file.")
@click.option("--half-precision", is_flag=True, help="Write float16: half the size, three digits.")
@parameter_options()
@cluster_options
@overwrite_option
@performance_report_option
@verbose_option
def reconstruct(
    data: Path,
    output: Path,
    image: str,
    names: tuple[str, ...],
    stack: StackOptions,
    half_sets: bool,
    report: Path | None,
    parameters: RunParameters,
    cluster: ClusterSpec,
    overwrite: bool,
    performance_report: Path | None,
    **settings: object,
) -> None:
    """Reconstruct tomograms from tilt series, by weighted back-projection.

    From a data set: with the data set itself as output the tomograms are added to it. From the files of a microscope:
    an MRC stack with angles and alignment from IMOD, AreTomo, SerialEM or Warp, or a RELION 5 project. What a file says
    is used, an explicit option wins, and a note says where they differ.
    """
    from cryodask.workflows.reconstruct import ReconstructJob

    from_files = not (data / "zarr.json").exists() and data.suffix != ".zarr"
    chosen = _chosen(parameters.reconstruction, settings, from_files)
    job = ReconstructJob(parameters=chosen, image=image, half_sets=half_sets)
    if from_files:
        made = _from_files(data, output, job, stack, names, cluster, overwrite, performance_report)
    else:
        _refuse_for_data_sets(stack, names)
        made = _from_data_set(data, output, job, cluster, overwrite, performance_report)
    if report is not None:
        from cryodask.params.loader import to_dict
        from cryodask.workflows.reconstruction_report import write_report

        write_report(report, made, {"command": command_line(), **to_dict(chosen)})


def _chosen(
    parameters: ReconstructionParameters, settings: dict[str, object], from_files: bool
) -> ReconstructionParameters:
    """The parameters with what the options say."""
    from dataclasses import replace

    from cryodask.params import changed

    given = click.get_current_context().params
    if from_files and not any(given.get(name) for name in ("preset", "config", "settings")):
        parameters = replace(parameters, binning=1)  # a microscope's images are as large as their user wants them
    sigma = settings["hot_pixels"]
    if sigma == 0:
        parameters, sigma = replace(parameters, hot_pixel_sigma=None), None
    for option, name, value in (
        ("--bin", "binning", settings["binning"]),
        ("--filter", "window", settings["window"]),
        ("--sirt-iterations", "sirt_iterations", settings["sirt_iterations"]),
        ("--thickness", "thickness_voxels", settings["thickness"]),
        ("--normalize", "normalization", settings["normalize"]),
        ("--hot-pixels", "hot_pixel_sigma", sigma),
        ("--invert", "invert", settings["invert"] or None),
        ("--dose-weight", "dose_weighting", settings["dose_weight"] or None),
        ("--ctf", "ctf_correction", settings["ctf"]),
        ("--half-precision", "half_precision", settings["half_precision"] or None),
    ):
        parameters = changed(parameters, option, **{name: value})
    return parameters


def _refuse_for_data_sets(stack: StackOptions, names: tuple[str, ...]) -> None:
    from cryodask.workflows.stack_inputs import StackOptions

    if stack != StackOptions() or names:
        raise click.UsageError("a data set has its own alignment: options for files of a microscope do not apply to it")


def _from_data_set(
    data: Path,
    output: Path,
    job: ReconstructJob,
    cluster: ClusterSpec,
    overwrite: bool,
    report: Path | None,
) -> list[MadeTomogram]:
    from cryodask.cli.progress import make_progress
    from cryodask.cli.session import open_session
    from cryodask.io.store import Store
    from cryodask.workflows.plan import plan_stored_reconstruction
    from cryodask.workflows.reconstruct import reconstruct as run
    from cryodask.workflows.reconstruct_files import made_in_store

    store, made = Store(data), Store(output_store(output))
    checked_memory(plan_stored_reconstruction(store, job), cluster)
    with removed_if_useless(output, made), open_session(cluster, report) as session:
        found = run(store, made, job, client=session.client, progress=make_progress(), overwrite=overwrite)
    click.echo(f"{output}: {len(found)} tomograms")
    return [made_in_store(made, name, job.variant) for name in found]


def _from_files(
    data: Path,
    output: Path,
    job: ReconstructJob,
    stack: StackOptions,
    names: tuple[str, ...],
    cluster: ClusterSpec,
    overwrite: bool,
    report: Path | None,
) -> list[MadeTomogram]:
    from cryodask.cli.progress import make_progress
    from cryodask.cli.session import open_session
    from cryodask.io.scratch import scratch_folder
    from cryodask.io.store import Store
    from cryodask.workflows.plan import plan_series
    from cryodask.workflows.reconstruct_files import checked_output, described, open_series, reconstruct_files

    checked_output(output, overwrite)
    with scratch_folder(output) as scratch:
        found = open_series(data, stack, names, scratch)
        for _, said in found:
            notices(said)
        series = [each for each, _ in found]
        checked_memory([stage for each in series for stage in plan_series(each, job)], cluster)
        with removed_if_useless(output, Store(output)), open_session(cluster, report) as session:
            written = reconstruct_files(
                series, output, job, client=session.client, progress=make_progress(), overwrite=overwrite
            )
    click.echo("\n".join(line for made in written for line in described(made)))
    return written
