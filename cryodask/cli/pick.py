"""``cryodask pick``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryodask.cli._leftovers import removed_if_useless
from cryodask.cli._running import classes_option, notices, output_folder
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
    from cryodask.workflows.search_inputs import SearchInput, TemplateRequest


def _list_pickers(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the table of pickers and end."""
    if not wanted or context.resilient_parsing:
        return
    from cryodask.pickers.registry import listed_pickers

    found = listed_pickers()
    width = max(len(entry.name) for entry in found)
    for entry in found:
        text = entry.picker.summary if entry.picker is not None else f"cannot be used: {entry.problem}"
        origin = "" if entry.source == "cryodask" else f"  [{entry.source}]"
        click.echo(f"{entry.name:<{width}}  {text}{origin}")
    context.exit()


@click.command(short_help="Find particles by any picker.")
@click.argument("tomogram", type=InputPath(), metavar="DATA.zarr|TOMOGRAM.mrc")
@click.option("--picker", required=True, metavar="NAME", help="How; `cryodask pick --list` shows what there is.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_pickers,
    help="List the pickers that are installed, those of other packages too, and end.",
)
@click.option(
    "--structures",
    metavar="DIR|FILE|builtin",
    help="Structures to look for: a folder (with an assemblies.tsv or not), a PDB or mmCIF file, or the built-in set.",
)
@click.option(
    "--templates",
    multiple=True,
    metavar="DIR|FILE|builtin",
    help="Templates as `cryodask match` takes them; repeatable.  [default: the structures that DATA.zarr holds]",
)
@classes_option
@click.option("--tilt-angles", type=InputPath(), help="Tilts of an MRC tomogram, one a line (.tlt): sets the wedge.")
@click.option(
    "--defocus-um", type=float, metavar="UM", help="Underfocus of an MRC tomogram, or in place of the data's."
)
@click.option("--voxel-size", type=float, metavar="ANGSTROM", help="Of an MRC tomogram; wins over its header.")
@click.option(
    "--template-voxel-size", type=float, metavar="ANGSTROM", help="Of MRC templates; wins over their headers."
)
@click.option(
    "--contrast",
    type=click.Choice(["dark", "bright"]),
    default="dark",
    show_default=True,
    help="Of particles, where the data do not tell.",
)
@click.option("--angular-step", type=float, metavar="DEG", help="Spacing of the rotations that tm and tm-f try.")
@click.option("--expected-count", type=float, metavar="N", help="Particles of each class that tm-c is to expect.")
@click.option("--report", type=OutputFile(), metavar="FILE", help="Write a page with scores, amplitudes and pictures.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for picks.star, job.json.")
@parameter_options()
@cluster_options
@overwrite_option
@performance_report_option
@verbose_option
def pick(
    tomogram: Path,
    picker: str,
    structures: str | None,
    templates: tuple[str, ...],
    classes: tuple[str, ...] | None,
    tilt_angles: Path | None,
    defocus_um: float | None,
    voxel_size: float | None,
    template_voxel_size: float | None,
    contrast: str,
    angular_step: float | None,
    expected_count: float | None,
    report: Path | None,
    output: Path,
    parameters: RunParameters,
    cluster: ClusterSpec,
    overwrite: bool,
    performance_report: Path | None,
) -> None:
    """Find particles in tomograms by any picker.

    Writes OUTPUT/picks.star and the record of the run as OUTPUT/job.json; what an interrupted run can go on from stays
    in OUTPUT/maps.zarr. With the data set itself as OUTPUT, the picks are added to it.
    """
    from cryodask.cli.progress import make_progress
    from cryodask.cli.session import open_session
    from cryodask.io.store import Store
    from cryodask.params import changed
    from cryodask.pickers.registry import get_picker
    from cryodask.workflows import pick as work
    from cryodask.workflows.picks_folder import common_frame, make_folder
    from cryodask.workflows.report_picks import write_pick_report
    from cryodask.workflows.search_inputs import is_store, open_templates, open_tomograms, require_room

    chosen = get_picker(picker)
    matching = changed(parameters.matching, "--angular-step", angular_step_deg=angular_step)
    picking = changed(parameters.picking, "--expected-count", expected_count=expected_count)
    in_place = is_store(tomogram) and output.resolve() == tomogram.resolve()
    maps = Store(output if in_place else output_folder(output) / "maps.zarr")
    opened = open_tomograms(tomogram, voxel_size_angstrom=voxel_size, tilt_angles=tilt_angles)
    tomograms = opened if defocus_um is None else tuple(_with_defocus(each, defocus_um) for each in opened)
    common_frame(tomograms)
    request = _request(chosen.needs_templates, structures, templates, classes, tomogram, template_voxel_size)
    notices(request.notices)
    require_room(tomograms, request.densities)
    progress = make_progress()
    with removed_if_useless(output, maps):
        if not in_place:
            make_folder(output)
        with open_session(cluster, performance_report) as session:
            found = open_templates(request, maps, client=session.client, progress=progress)
            require_room(tomograms, found)
            job = work.PickJob(
                picker=chosen,
                tomograms=tomograms,
                templates=found,
                picking=picking,
                matching=matching,
                dark=contrast == "dark",
            )
            result = work.pick(maps, job, client=session.client, progress=progress, overwrite=overwrite)
            if report is not None:
                write_pick_report(report, job, result, client=session.client, progress=progress)
        if in_place:
            work.store_result(maps, job, result)
        else:
            work.write_result(output, job, result)
    notices(result.notices)
    click.echo(f"{output}: {len(result.picks)} picks by {chosen.name} in {len(tomograms)} tomograms")


def _with_defocus(tomogram: SearchInput, defocus_um: float) -> SearchInput:
    """The tomogram with this defocus, and the usual optics where it knows none."""
    from cryodask.ops.default_optics import optics_at

    return replace(tomogram, optics=optics_at(defocus_um, tomogram.optics))


def _request(
    needed: bool,
    structures: str | None,
    templates: tuple[str, ...],
    classes: tuple[str, ...] | None,
    data: Path,
    voxel_size_angstrom: float | None,
) -> TemplateRequest:
    """What is looked for; nothing for a picker that needs no templates."""
    from cryodask.workflows.search_inputs import TemplateRequest

    sources = templates if structures is None else (structures, *templates)
    if not needed:
        ignored: Any = [name for name, value in (("--structures", structures), ("--templates", templates)) if value]
        if ignored or classes:
            text = " and ".join(ignored) or "--classes"
            return TemplateRequest(notices=(f"{text} not used: this picker looks for no templates",))
        return TemplateRequest()
    return TemplateRequest.parse(sources, classes, data, voxel_size_angstrom=voxel_size_angstrom)
