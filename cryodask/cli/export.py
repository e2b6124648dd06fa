"""``cryodask export``."""

from __future__ import annotations

from pathlib import Path

import click

from cryodask.cli._running import output_folder
from cryodask.cli.options import InputPath, overwrite_option, verbose_option


@click.command(short_help="Write a data set in the formats of other programs.")
@click.argument("data", type=InputPath(), metavar="DATA.zarr")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["shrec"]),
    default="shrec",
    show_default=True,
    help="shrec: model_N folders as the SHREC 2021 benchmark has them.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Slices of the frame that volumes lie in the middle of; 180 is the benchmark's own content.",
)
@click.option(
    "--withhold-truth",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="N",
    help="Keep the truth of model N from participants: it goes into the folder withheld_truth. Repeatable.",
)
@overwrite_option
@verbose_option
def export(data: Path, layout: str, output: Path, depth: int, withhold_truth: tuple[int, ...], overwrite: bool) -> None:
    """Write a data set in the formats of other programs.

    One folder model_N for each tomogram, with MRC files and text lists. A file cryodask.json beside them keeps what the
    layout has no place for; `cryodask import` makes the same data set of it again.
    """
    from cryodask.cli.progress import make_progress
    from cryodask.io.store import Store
    from cryodask.workflows.export_shrec import ShrecExport, export_shrec

    del layout  # the only one so far
    how = ShrecExport(depth_voxels=depth, withhold_truth=withhold_truth)
    folders = export_shrec(Store(data), output_folder(output), how, progress=make_progress(), overwrite=overwrite)
    click.echo(f"{output}: {', '.join(folders)}")
