"""``cryodask import``."""

from __future__ import annotations

from pathlib import Path

import click

from cryodask.cli._leftovers import removed_if_useless
from cryodask.cli._running import notices, output_store
from cryodask.cli.options import InputPath, overwrite_option, verbose_option
from cryodask.errors import DataError


@click.command("import", short_help="Make a data set of the files of other programs.")
@click.argument("inputs", type=InputPath(), nargs=-1, required=True, metavar="FOLDER...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Data set to make, NAME.zarr.")
@click.option(
    "--voxel-size",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="ANGSTROM",
    help="Of volumes in the SHREC layout, whose headers do not say it.",
)
@click.option(
    "--pixel-size",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="ANGSTROM",
    help="Of its images that are not binned.",
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
    voxel_size: float,
    pixel_size: float,
    depth: int | None,
    overwrite: bool,
) -> None:
    """Make a data set of folders in the SHREC 2021 layout.

    Each FOLDER is a model_N folder or holds some. Tomograms, masks, particles and tilt series become groups that the
    other commands take; the sizes of an exported model come from its cryodask.json and not from the options.
    """
    from cryodask.cli.progress import make_progress
    from cryodask.io.store import Store
    from cryodask.workflows.import_shrec import ShrecImport, import_shrec, shrec_folders

    folders = []
    for path in inputs:
        found = shrec_folders(path)
        if not found:
            raise DataError(f"{path} is no model folder of the SHREC layout and holds none (model_0, model_1, ...)")
        folders += found
    store = Store(output_store(output))
    how = ShrecImport(voxel_size_angstrom=voxel_size, pixel_size_angstrom=pixel_size, depth_voxels=depth)
    with removed_if_useless(output, store):
        names, said = import_shrec(folders, store, how, progress=make_progress(), overwrite=overwrite)
    notices(said)
    click.echo(f"{output}: {', '.join(names)}")
