"""The Python API: the stages of the command line on xarray objects.

Each function runs where dask runs: on the active ``distributed.Client`` if there is one, else in this process.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from distributed import Client, default_client

from cryodask.errors import DataError
from cryodask.io.store import Store
from cryodask.io.structures import load_structure_set
from cryodask.model.evaluation import Truth
from cryodask.model.images import TiltSeries, Tomogram, image_to_use
from cryodask.model.particles import Particles
from cryodask.model.progress import NullProgress
from cryodask.model.source import ArraySource
from cryodask.ops import reconstruction as reconstruction_ops
from cryodask.ops.templates import TemplateSource
from cryodask.params import load_parameters, token
from cryodask.params.schema import MatchingParameters, ReconstructionParameters, SimulationParameters
from cryodask.workflows import evaluate as evaluate_workflow
from cryodask.workflows.aligned_images import aligned_images
from cryodask.workflows.execution import execute
from cryodask.workflows.match import MatchJob
from cryodask.workflows.match import match as match_workflow
from cryodask.workflows.reconstruct import tomogram_attrs
from cryodask.workflows.search_inputs import NamedTemplate, tomogram_in_memory
from cryodask.workflows.series import series_of_dataset
from cryodask.workflows.simulate import SimulateJob
from cryodask.workflows.simulate import simulate as simulate_workflow

PathText = str | PathLike[str]


def open(path: PathText) -> xr.DataTree:
    """A data set as a tree of lazy xarray datasets: one node a complete group, such as ``model_000/tilt_series``.

    Raises NotInStoreError or StoreError if ``path`` is not a data set of this version.
    """
    store = Store(path)
    groups = {entry.path: store.open(entry.path) for entry in store.groups() if entry.complete}
    return xr.DataTree.from_dict(groups)


def simulate(
    output: PathText,
    *,
    structures: PathText = "builtin",
    parameters: SimulationParameters | None = None,
    models: int = 1,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> xr.DataTree:
    """Simulate tilt series with full truth into the data set ``output``, and open it.

    Args:
        output: Data set to make; what it holds of this very simulation already is kept.
        structures: Folder or file of structures, or ``builtin``.
        parameters: Sample, microscope, acquisition and detector; the preset ``quick`` by default.
        models: Number of tomograms.
        seed: Of all random numbers.
        classes: Identifiers of the set to use, whatever they weigh; by default all that the parameters' range of
            molecular weights admits.
    """
    chosen = parameters or load_parameters(SimulationParameters, preset="quick")
    limits = chosen.sample.molecular_weight_kda if classes is None else None
    restricted = load_structure_set(os.fspath(structures), classes, limits)
    job = SimulateJob(structures=restricted.structures, parameters=chosen, models=models, seed=seed)
    simulate_workflow(Store(output), job, client=_client(), progress=NullProgress())
    return open(output)


def reconstruct(
    tilt_series: xr.Dataset, *, parameters: ReconstructionParameters | None = None, image: str = "counts"
) -> xr.Dataset:
    """Weighted back-projection of one tilt series (see ``TiltSeries`` for what it must hold).

    Returns a dataset with ``image`` (z, y, x) float32, proteins dark, and what ``match`` needs to know as attributes.
    Raises DataError for a dataset that is no tilt series.
    """
    chosen = parameters or ReconstructionParameters()
    image = image_to_use(tilt_series, image)
    checked = TiltSeries.parse(tilt_series, image).dataset
    images = ArraySource(checked[image].to_numpy())
    series = series_of_dataset(checked, image, images, name="tilt series", source={})
    geometry = series.geometry(chosen)
    with tempfile.TemporaryDirectory(prefix="cryodask-") as folder:
        aligned = aligned_images(series, geometry, chosen, Path(folder), client=_client(), progress=NullProgress())
        tasks = reconstruction_ops.slab_tasks(aligned, geometry, chosen)
        slabs = execute(tasks, client=_client(), progress=NullProgress(), stage="reconstruct")
    return xr.Dataset(
        {"image": (("z", "y", "x"), np.concatenate(slabs, axis=1).astype(chosen.output_dtype, copy=False))},
        attrs=tomogram_attrs(series, geometry, chosen),
    )


def match(
    tomogram: xr.Dataset,
    templates: Mapping[str, xr.DataArray],
    *,
    parameters: MatchingParameters | None = None,
    contrast: str = "dark",
    name: str = "tomogram",
) -> xr.Dataset:
    """Search one tomogram for templates.

    Args:
        tomogram: As ``reconstruct`` returns it: ``image`` (z, y, x) and the attribute ``voxel_size_angstrom``; with
            ``tilt_deg`` the missing wedge, with the optics the CTF is taken into account.
        templates: Density (z, y, x) of each class, positive where there is protein, with the attributes
            ``voxel_size_angstrom`` and ``radius_angstrom`` (of the spherical mask), optionally ``symmetry`` (C4, D2
            ..., main axis z).
        parameters: Of the search; defaults as the schema has them.
        contrast: ``dark`` or ``bright`` particles, for tomograms without optics.
        name: Given to the tomogram in the picks.

    Returns:
        Table of picks (dimension ``particle``), best first, score = robust z; the record of the search as ``attrs``.
    """
    if contrast not in ("dark", "bright"):
        raise DataError(f"contrast is {contrast!r}, must be dark or bright")
    job = MatchJob(
        tomograms=(tomogram_in_memory(Tomogram.parse(tomogram), name),),
        templates=tuple(_template(key, density) for key, density in templates.items()),
        parameters=parameters or MatchingParameters(),
        dark=contrast == "dark",
    )
    with tempfile.TemporaryDirectory(prefix="cryodask-") as folder:
        result = match_workflow(Store(Path(folder, "maps.zarr")), job, client=_client(), progress=NullProgress())
    return result.picks.to_dataset().assign_attrs(result.record)


def evaluate(picks: xr.Dataset, truth: xr.DataTree, *, mode: str = "strict", name: str = "tomogram") -> dict[str, Any]:
    """Score a table of picks against the truth of one tomogram (a node such as ``model_000/truth``).

    Returns the evaluation as a dictionary: localization, classification, ceiling, notes.
    """
    masks = truth.to_dataset()
    if "occupancy_mask" not in masks or "particles" not in truth.children:
        raise DataError(
            "the truth has no occupancy_mask or no particles: give the node 'truth' of a simulated tomogram"
        )
    occupancy = masks["occupancy_mask"].to_numpy()
    nz, ny, nx = occupancy.shape
    known = masks.attrs
    scene = Truth(
        name=name,
        particles=Particles.from_dataset(truth["particles"].to_dataset()),
        occupancy=occupancy,
        shape=(nz, ny, nx),
        voxel_size_angstrom=float(known["voxel_size_angstrom"]),
        class_ids=tuple(known["classes"]),
        radius_angstrom=evaluate_workflow.known_values(known["mask_radius_angstrom"]),
        molecular_weight_kda=evaluate_workflow.known_values(known["molecular_weight_kda"]),
    )
    table = Particles.from_dataset(picks)
    return evaluate_workflow.evaluate([scene], table, mode, client=_client(), progress=NullProgress())


def _template(name: str, density: xr.DataArray) -> NamedTemplate:
    missing = [key for key in ("voxel_size_angstrom", "radius_angstrom") if key not in density.attrs]
    if missing or density.ndim != 3:
        raise DataError(
            f"template {name}: needs a density (z, y, x) with the attributes voxel_size_angstrom and radius_angstrom; "
            f"it has {density.ndim} dimensions and lacks {', '.join(missing) or 'nothing'}"
        )
    values = density.to_numpy().astype(np.float32)
    voxel, radius = (float(density.attrs[key]) for key in ("voxel_size_angstrom", "radius_angstrom"))
    source = TemplateSource(
        template_id=name,
        density=ArraySource(values),
        voxel_size_angstrom=voxel,
        radius_angstrom=radius,
        symmetry=str(density.attrs.get("symmetry", "C1")),
    )
    content = hashlib.sha256(values.tobytes()).hexdigest()
    return NamedTemplate(source=source, token=token({"density": content, "voxel": voxel, "radius": radius}))


def _client() -> Client | None:
    try:
        client: Client = default_client()
    except ValueError:
        return None
    return client
