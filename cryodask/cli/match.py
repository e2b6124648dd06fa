"""``cryodask match``."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryodask.cli._leftovers import removed_if_useless
from cryodask.cli._running import classes_option, notices, output_folder
from cryodask.cli._several import SeveralValues
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


@click.command(cls=SeveralValues, short_help="Search tomograms for templates.")
@click.argument("tomogram", type=InputPath(), metavar="DATA.zarr|TOMOGRAM.mrc")
@click.option(
    "--templates",
    multiple=True,
    metavar="DIR|FILE|builtin",
    help="Structures (folder, PDB, mmCIF, builtin), the structures of a DATA.zarr, or densities (MRC files or a folder "
    "of them; protein positive, any voxel size, centred on the middle of the box, (N - 1) / 2); one or more.  "
    "[default: the structures that DATA.zarr was simulated from]",
)
@click.option(
    "--masks",
    multiple=True,
    type=InputPath(),
    metavar="FILE",
    help="Weights that turn with their template, in place of a sphere: an MRC file for each template, in its box; one "
    "or more.",
)
@classes_option
@click.option(
    "--hands",
    type=click.Choice(["given", "mirrored", "both"]),
    default="given",
    show_default=True,
    help="Search for the templates, their mirror images (called NAME-mirrored), or both.",
)
@click.option("--search-mask", type=InputPath(), metavar="FILE", help="MRC file: search where it is not 0.")
@click.option("--search-region", metavar="X0:X1,Y0:Y1,Z0:Z1", help="Search only in this box, in voxels from 0.")
@click.option(
    "--angular-step",
    metavar="DEG|auto",
    help="Spacing of the rotations that are tried; auto: low-pass over the largest template's diameter.",
)
@click.option(
    "--angle-set",
    type=click.Choice(["spiral", "healpix"]),
    default="spiral",
    show_default=True,
    help="How rotations are spread: evenly over all orientations, or HEALPix directions with turns about each.",
)
@click.option(
    "--angles",
    type=InputPath(),
    metavar="FILE",
    help="Rotations of your own, one a line: rot tilt psi in degrees, or the nine numbers of a matrix.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "low-rank", "fft"]),
    help="How scores are computed: fft exactly, one transform a rotation; low-rank by few correlations, with exact "
    "scores of the peaks; auto by what is estimated to be faster.  [default: auto]",
)
@click.option(
    "--contrast",
    type=click.Choice(["dark", "bright"]),
    default="dark",
    show_default=True,
    help="Of particles, where the data do not tell.",
)
@click.option("--tilt-angles", type=InputPath(), help="Tilts of an MRC tomogram, one a line (.tlt): sets the wedge.")
@click.option("--voxel-size", type=float, metavar="ANGSTROM", help="Of an MRC tomogram; wins over its header.")
@click.option(
    "--template-voxel-size", type=float, metavar="ANGSTROM", help="Of MRC templates; wins over their headers."
)
@click.option(
    "--maps",
    "kept_maps",
    type=click.Choice(["mrc", "zarr", "none"]),
    default="zarr",
    show_default=True,
    help="Score and angle maps: as MRC files too, in OUTPUT/maps.zarr only, or removed at the end.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of the random rotations that low-rank bases are made of.")
@click.option(
    "--false-positives",
    type=float,
    metavar="N",
    help="Cut off where so many false picks of each template are to be expected, in place of matching.threshold_z.",
)
@click.option("--refine", is_flag=True, help="Move picks to the top of the parabolas through neighbouring scores.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["csv", "copick", "relion4", "warp"]),
    help="Write the picks for other programs too; one or more.",
)
@click.option("--max-picks", type=click.IntRange(min=1), help="Candidates kept per template.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for picks.star, job.json.")
@parameter_options()
@cluster_options
@overwrite_option
@performance_report_option
@verbose_option
def match(
    tomogram: Path,
    templates: tuple[str, ...],
    masks: tuple[Path, ...],
    hands: str,
    search_mask: Path | None,
    search_region: str | None,
    classes: tuple[str, ...] | None,
    angular_step: str | None,
    angle_set: str,
    angles: Path | None,
    engine: str | None,
    contrast: str,
    tilt_angles: Path | None,
    voxel_size: float | None,
    template_voxel_size: float | None,
    kept_maps: str,
    seed: int | None,
    false_positives: float | None,
    refine: bool,
    formats: tuple[str, ...],
    max_picks: int | None,
    output: Path,
    parameters: RunParameters,
    cluster: ClusterSpec,
    overwrite: bool,
    performance_report: Path | None,
) -> None:
    """Search tomograms for templates at all positions and orientations.

    Writes the picks, best first, as OUTPUT/picks.star and the record of the search as OUTPUT/job.json. Score maps
    stay in OUTPUT/maps.zarr, where an interrupted search goes on. With the data set itself as OUTPUT, maps and picks
    are added to it.
    """
    from cryodask.cli.progress import make_progress
    from cryodask.cli.session import open_session
    from cryodask.errors import ConfigError
    from cryodask.io.angle_files import read_rotations
    from cryodask.io.store import Store
    from cryodask.kernels.healpix import healpix_rotations
    from cryodask.params import changed
    from cryodask.workflows.engines import automatic_step_deg
    from cryodask.workflows.match import MatchJob
    from cryodask.workflows.match import match as run
    from cryodask.workflows.picks_folder import common_frame, make_folder, store_picks, write_picks
    from cryodask.workflows.score_maps import write_maps
    from cryodask.workflows.search_inputs import TemplateRequest, is_store, open_templates, open_tomograms, require_room
    from cryodask.workflows.search_masks import searched_in, with_hands, with_masks

    if angles is not None and angle_set != "spiral":
        raise ConfigError("--angles lists the rotations: leave out --angle-set")
    automatic = angular_step == "auto"
    step = None if automatic or angular_step is None else number_of("--angular-step", angular_step)
    chosen = changed(parameters.matching, "--angular-step", angular_step_deg=step)
    chosen = changed(chosen, "--false-positives", false_positives=false_positives)
    chosen = changed(chosen, "--refine", refine=refine or None)
    chosen = changed(chosen, "--max-picks", max_picks=max_picks)
    chosen = changed(chosen, "--engine", engine=engine)
    chosen = changed(chosen, "--seed", seed=seed)
    matrices = None if angles is None else read_rotations(angles)
    in_place = is_store(tomogram) and output.resolve() == tomogram.resolve()
    maps = Store(output if in_place else output_folder(output) / "maps.zarr")
    tomograms = open_tomograms(tomogram, voxel_size_angstrom=voxel_size, tilt_angles=tilt_angles)
    common_frame(tomograms)
    tomograms = searched_in(tomograms, mask=search_mask, region=search_region)
    request = TemplateRequest.parse(templates, classes, tomogram, voxel_size_angstrom=template_voxel_size)
    if masks and request.structures:
        raise ConfigError("--masks go with templates from MRC files, in whose boxes they are; leave out the structures")
    request = replace(request, densities=with_masks(request.densities, masks))
    notices(request.notices)
    require_room(tomograms, request.densities)
    progress = make_progress()
    with removed_if_useless(output, maps):
        if not in_place:
            make_folder(output)
        with open_session(cluster, performance_report) as session:
            found = with_hands(open_templates(request, maps, client=session.client, progress=progress), hands)
            require_room(tomograms, found)
            if automatic:
                chosen = replace(chosen, angular_step_deg=automatic_step_deg(found, chosen))
                notices([f"angular step {chosen.angular_step_deg:.3g} degrees"])
            if angle_set == "healpix":
                matrices = healpix_rotations(chosen.angular_step_deg)
            job = MatchJob(
                tomograms=tomograms,
                templates=found,
                parameters=chosen,
                dark=contrast == "dark",
                matrices=matrices,
            )
            result = run(maps, job, client=session.client, progress=progress, overwrite=overwrite)
        if in_place:
            store_picks(maps, job, result)
        else:
            write_picks(output, job, result, formats)
            if kept_maps == "mrc":
                write_maps(output, maps, job, result)
            elif kept_maps == "none":
                shutil.rmtree(maps.path)
    record = result.record
    if not record["picks"]:
        notices([f"no score reaches matching.threshold_z = {chosen.threshold_z:g}: try --set matching.threshold_z=4"])
    click.echo(
        f"{output}: {record['picks']} picks of {len(found)} templates in {len(tomograms)} tomograms; "
        f"{record['rotations']} rotations, none farther than {record['covering_radius_deg']:.1f} degrees"
    )


def number_of(option: str, text: str) -> float:
    """The number that an option was given as; ConfigError naming it for anything else."""
    from cryodask.errors import ConfigError

    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{option} {text!r}: expected a number of degrees, or auto") from None
