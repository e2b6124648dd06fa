"""``templates build``: densities of structures or maps as template and mask files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dask.delayed import delayed
from distributed import Client

from cryodask.io.mrc import write_volume
from cryodask.model.progress import Progress
from cryodask.model.source import ArraySource
from cryodask.model.structure import Structure
from cryodask.ops.densities import particle_density
from cryodask.ops.template_building import TemplateSettings, built_template, first_zero_angstrom
from cryodask.ops.templates import TemplateSource
from cryodask.params.schema import SampleParameters
from cryodask.workflows.execution import execute
from cryodask.workflows.picks_folder import make_folder, write_json
from cryodask.workflows.search_inputs import TemplateRequest

RECORD_FILE = "templates.json"


def build_templates(
    request: TemplateRequest,
    settings: TemplateSettings,
    folder: Path,
    *,
    client: Client | None,
    progress: Progress,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Write NAME.mrc and NAME_mask.mrc of every template, and ``templates.json`` with what was chosen; that record."""
    tasks = [
        delayed(_of_structure, pure=False)(structure, settings, folder, overwrite) for structure in request.structures
    ]
    tasks += [delayed(_of_source, pure=False)(found.source, settings, folder, overwrite) for found in request.densities]
    make_folder(folder)
    rows: list[dict[str, Any]] = execute(tasks, client=client, progress=progress, stage="templates")
    record = {
        "voxel_size_angstrom": settings.voxel_size_angstrom,
        "low_pass_angstrom": settings.low_pass_angstrom,
        "optics": dict(settings.optics),
        "first_ctf_zero_angstrom": first_zero_angstrom(settings.optics),
        "contrast": "protein positive",
        "templates": rows,
    }
    write_json(folder / RECORD_FILE, record)
    return rows


def output_files(names: Sequence[str], folder: Path) -> list[Path]:
    """The files that a build of these templates writes."""
    return [folder / f"{name}{part}.mrc" for name in names for part in ("", "_mask")]


def _of_structure(structure: Structure, settings: TemplateSettings, folder: Path, overwrite: bool) -> dict[str, Any]:
    density = particle_density(structure, SampleParameters())
    source = TemplateSource(
        template_id=structure.info.class_id,
        density=ArraySource(density.electrostatic_v),
        voxel_size_angstrom=density.voxel_size_angstrom,
        radius_angstrom=structure.info.mask_radius_angstrom or density.radius_angstrom,
        symmetry=structure.info.symmetry,
    )
    return _of_source(source, settings, folder, overwrite)


def _of_source(source: TemplateSource, settings: TemplateSettings, folder: Path, overwrite: bool) -> dict[str, Any]:
    built = built_template(source, settings)
    template, mask = output_files([built.template_id], folder)
    write_volume(template, built.volume, built.voxel_size_angstrom, overwrite=overwrite)
    write_volume(mask, built.mask, built.voxel_size_angstrom, overwrite=overwrite)
    return {
        "template": built.template_id,
        "file": template.name,
        "mask": mask.name,
        "box_voxels": built.volume.shape[0],
        "mask_radius_angstrom": built.mask_radius_angstrom,
        "mask_radius_chosen": "given" if settings.mask_radius_angstrom else "from the density",
        "symmetry": built.symmetry,
    }
