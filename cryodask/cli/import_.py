"""``cryodask import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryodask.cli._leftovers import removed_if_useless
from cryodask.cli._running import notices, output_store
from cryodask.cli.alignment_options import alignment_options
from cryodask.cli.options import InputPath, overwrite_option, verbose_option
from cryodask.errors import ConfigError, DataError

if TYPE_CHECKING:
    from cryodask.io.store import Store
    from cryodask.workflows.stack_inputs import StackOptions

SHREC_VOXEL_ANGSTROM = 10.0
"""Of volumes in the SHREC layout, whose headers do not say it."""


@click.command("import", short_help="Make a data set of the files of other programs.")
@click.argument(
    "inputs", type=InputPath(), nargs=-1, required=True, metavar="FOLDER|STACK.mrc|tomograms.star|SERIES.xml..."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Data set to make, NAME.zarr.")
@alignment_options
@click.option("--tomogram", "names", multiple=True, metavar="NAME", help="Of a tomograms.star only this; repeatable.")
@click.option(
    "--pixel-size",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="ANGSTROM",
    help="Of the unbinned images in the SHREC layout, whose headers do not say it.",
)
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    help="Slices to keep in the middle of its volumes.  [default: the content of 512-deep frames, all of others]",
)
@overwrite_option
@verbose_option
def import_(
    inputs: tuple[Path, ...],
    output: Path,
    stack: StackOptions,
    names: tuple[str, ...],
    pixel_size: float,
    depth: int | None,
    overwrite: bool,
) -> None:
    """Make a data set of the files of other programs.

    A FOLDER is a model_N folder in the SHREC 2021 layout or holds some: tomograms, masks, particles and tilt series
    become groups that the other commands take; the sizes of an exported model come from its cryodask.json and not from
    the options, and --voxel-size is that of its volumes (10 angstrom if not given). Stacks, RELION's tomograms.star and
    Warp's XML are tilt series, with their alignment as `cryodask reconstruct` reads it.
    """
    from cryodask.io.store import Store

    store = Store(output_store(output))
    if all(path.is_dir() for path in inputs):
        made = _import_shrec(
            inputs, store, stack.pixel_size_angstrom or SHREC_VOXEL_ANGSTROM, pixel_size, depth, overwrite
        )
    else:
        made = _import_series(inputs, store, stack, names, overwrite)
    click.echo(f"{output}: {', '.join(made)}")


def _import_shrec(
    inputs: tuple[Path, ...], store: Store, voxel_size: float, pixel_size: float, depth: int | None, overwrite: bool
) -> list[str]:
    from cryodask.cli.progress import make_progress
    from cryodask.workflows.import_shrec import ShrecImport, import_shrec, shrec_folders

    folders = []
    for path in inputs:
        found = shrec_folders(path)
        if not found:
            raise DataError(f"{path} is no model folder of the SHREC layout and holds none (model_0, model_1, ...)")
        folders += found
    if voxel_size <= 0:
        raise ConfigError(f"--voxel-size {voxel_size:g}: expected a positive size in angstrom")
    how = ShrecImport(voxel_size_angstrom=voxel_size, pixel_size_angstrom=pixel_size, depth_voxels=depth)
    with removed_if_useless(Path(store.path), store):
        names, said = import_shrec(folders, store, how, progress=make_progress(), overwrite=overwrite)
    notices(said)
    return names


def _import_series(
    inputs: tuple[Path, ...], store: Store, stack: StackOptions, names: tuple[str, ...], overwrite: bool
) -> list[str]:
    from cryodask.cli.progress import make_progress
    from cryodask.io.scratch import scratch_folder
    from cryodask.workflows.import_series import import_series
    from cryodask.workflows.reconstruct_files import open_series
    from cryodask.workflows.stack_inputs import StackOptions

    if len(inputs) > 1 and stack != StackOptions():
        raise click.UsageError(
            "alignment files and numbers belong to one tilt series: import several one after the other"
        )
    with scratch_folder(Path(store.path)) as scratch:
        found = [each for path in inputs for each in open_series(path, stack, names, scratch)]
        for _, said in found:
            notices(said)
        with removed_if_useless(Path(store.path), store):
            series = [each for each, _ in found]
            return import_series(series, store, progress=make_progress(), overwrite=overwrite)
