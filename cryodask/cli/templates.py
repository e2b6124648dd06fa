"""``cryodask templates``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryodask.cli._running import classes_option, notices, output_folder
from cryodask.cli.options import cluster_options, overwrite_option, verbose_option

if TYPE_CHECKING:
    from cryodask.cluster import ClusterSpec


@click.group(short_help="Make templates of structures or maps.")
def templates() -> None:
    """Make templates, as files that this and other programs match."""


@templates.command(short_help="Write templates and their masks as MRC files.")
@click.argument("source", nargs=-1, required=True, metavar="DIR|FILE|builtin...")
@classes_option
@click.option("--voxel-size", type=float, default=10.0, show_default=True, metavar="ANGSTROM", help="Of the tomograms.")
@click.option(
    "--low-pass",
    type=float,
    default=40.0,
    show_default=True,
    metavar="ANGSTROM",
    help="Gaussian, half at this spacing.",
)
@click.option("--defocus-um", type=float, metavar="UM", help="Apply the CTF of this underfocus.  [default: none]")
@click.option("--voltage-kv", type=float, default=300.0, show_default=True, help="Of the CTF.")
@click.option("--spherical-aberration-mm", type=float, default=2.7, show_default=True, help="Of the CTF.")
@click.option(
    "--box", type=click.IntRange(min=1), metavar="VOXELS", help="Edge of the cube.  [default: what is needed]"
)
@click.option("--mask-radius", type=float, metavar="ANGSTROM", help="Of the sphere.  [default: what holds the density]")
@click.option("--source-voxel-size", type=float, metavar="ANGSTROM", help="Of MRC maps; wins over their headers.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for NAME.mrc, NAME_mask.mrc."
)
@cluster_options
@overwrite_option
@verbose_option
def build(
    source: tuple[str, ...],
    classes: tuple[str, ...] | None,
    voxel_size: float,
    low_pass: float,
    defocus_um: float | None,
    voltage_kv: float,
    spherical_aberration_mm: float,
    box: int | None,
    mask_radius: float | None,
    source_voxel_size: float | None,
    output: Path,
    cluster: ClusterSpec,
    overwrite: bool,
) -> None:
    """Make templates of structures (their potential less that of the ice they displace) or of MRC maps.

    Proteins are positive, the centre is the middle of the box, (N - 1) / 2. Prints the box and the mask radius of each.
    """
    from cryodask.cli.progress import make_progress
    from cryodask.cli.session import open_session
    from cryodask.errors import ConfigError, DataError
    from cryodask.ops.template_building import TemplateSettings, first_zero_angstrom
    from cryodask.workflows.build_templates import build_templates, output_files
    from cryodask.workflows.search_inputs import TemplateRequest

    for name, value in (("--voxel-size", voxel_size), ("--low-pass", low_pass), ("--mask-radius", mask_radius)):
        if value is not None and not 0 < value < 1e5:
            raise ConfigError(f"{name} {value:g}: expected a positive number of angstrom")
    if low_pass < 2 * voxel_size:
        raise ConfigError(f"--low-pass {low_pass:g}: voxels of {voxel_size:g} angstrom hold {2 * voxel_size:g} at best")
    optics = {}
    if defocus_um is not None:
        optics = {
            "voltage_kv": voltage_kv,
            "defocus_um": defocus_um,
            "spherical_aberration_mm": spherical_aberration_mm,
        }
    settings = TemplateSettings(
        voxel_size_angstrom=voxel_size,
        low_pass_angstrom=low_pass,
        optics=optics,
        box_voxels=box,
        mask_radius_angstrom=mask_radius,
    )
    output = output_folder(output)
    request = TemplateRequest.parse(source, classes, output, voxel_size_angstrom=source_voxel_size)
    notices(request.notices)
    names = [s.info.class_id for s in request.structures] + [d.source.template_id for d in request.densities]
    there = [path for path in output_files(names, output) if path.exists()]
    if there and not overwrite:
        raise DataError(f"{there[0]} exists: give --overwrite, or another folder")
    with open_session(cluster) as session:
        rows = build_templates(
            request, settings, output, client=session.client, progress=make_progress(), overwrite=overwrite
        )
    for row in rows:
        click.echo(
            f"{row['template']}: box {row['box_voxels']} voxels, mask radius {row['mask_radius_angstrom']:.1f} "
            f"angstrom ({row['mask_radius_chosen']}), symmetry {row['symmetry']}"
        )
    zero = first_zero_angstrom(optics)
    if zero is not None and low_pass < zero:
        notices([f"the CTF reverses contrast at {zero:.1f} angstrom, which --low-pass {low_pass:g} lets pass"])
    click.echo(f"{output}: {len(rows)} templates in voxels of {voxel_size:g} angstrom")
