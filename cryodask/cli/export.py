"""``cryodask export``."""

from __future__ import annotations

from pathlib import Path

import click

from cryodask.cli._running import output_folder
from cryodask.cli.options import InputPath, overwrite_option, verbose_option

SHREC = ("shrec",)
SERIES = ("imod", "aretomo", "relion5", "warp")
TOMOGRAMS = ("mrc", "ome-zarr", "copick")


@click.command(short_help="Write a data set in the formats of other programs.")
@click.argument("data", type=InputPath(), metavar="DATA.zarr")
@click.option(
    "--format",
    "layout",
    type=click.Choice([*SHREC, *SERIES, *TOMOGRAMS]),
    default="shrec",
    show_default=True,
    help="shrec: model_N folders as the SHREC 2021 benchmark has them. imod, aretomo, relion5, warp: tilt series with "
    "their alignment. mrc, ome-zarr (0.4), copick: tomograms.",
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

    For shrec one folder model_N for each tomogram, with MRC files and text lists; a file cryodask.json beside them
    keeps what the layout has no place for, and `cryodask import` makes the same data set of it again. Tilt series are
    written as folders that `cryodask reconstruct` and `cryodask import` take too.
    """
    from cryodask.cli.progress import make_progress
    from cryodask.io.store import Store

    store, folder, progress = Store(data), output_folder(output), make_progress()
    if layout in SERIES:
        from cryodask.workflows.export_series import export_series

        paths = export_series(store, folder, layout, progress=progress, overwrite=overwrite)
        click.echo("\n".join(str(path) for path in paths))
    elif layout in TOMOGRAMS:
        from cryodask.workflows.export_tomograms import export_tomograms

        paths = export_tomograms(store, folder, layout, progress=progress, overwrite=overwrite)
        click.echo("\n".join(str(path) for path in paths))
    else:
        from cryodask.workflows.export_shrec import ShrecExport, export_shrec

        how = ShrecExport(depth_voxels=depth, withhold_truth=withhold_truth)
        folders = export_shrec(store, folder, how, progress=progress, overwrite=overwrite)
        for name, written in folders.items():
            if not name.removeprefix("model_").isdigit():
                click.echo(f"note: {name} is written as {written}, as the layout numbers its folders", err=True)
        click.echo(f"{output}: {', '.join(folders.values())}")
