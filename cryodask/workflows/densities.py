"""Densities of the classes: computed once a data set, read by the simulation and by the template search."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr
from dask.delayed import delayed
from distributed import Client

from cryodask.io.store import Store
from cryodask.io.store_spec import SCHEMA_VERSION
from cryodask.model.progress import Progress
from cryodask.model.structure import Structure
from cryodask.ops.densities import (
    ATOMIC_BLUR_ANGSTROM,
    CLOSING_RADIUS_ANGSTROM,
    DENSITY_VOXEL_ANGSTROM,
    DensitySource,
    particle_density,
)
from cryodask.params.loader import to_dict
from cryodask.params.schema import SampleParameters
from cryodask.params.tokens import token
from cryodask.workflows import layout
from cryodask.workflows.execution import execute


def density_token(structure: Structure, sample: SampleParameters) -> str:
    """Token of everything that decides a class's density."""
    return token(
        {
            "structure": structure.info.content_sha256,
            "class_id": structure.info.class_id,
            "voxel_size_angstrom": DENSITY_VOXEL_ANGSTROM,
            "atomic_blur_angstrom": ATOMIC_BLUR_ANGSTROM,
            "closing_radius_angstrom": CLOSING_RADIUS_ANGSTROM,
            "solvent_potential_v": sample.solvent_potential_v,
            "motion_blur_sigma_angstrom": sample.motion_blur_sigma_angstrom,
            "schema_version": SCHEMA_VERSION,
        }
    )


def make_densities(
    store: Store,
    structures: Sequence[Structure],
    sample: SampleParameters,
    *,
    client: Client | None,
    progress: Progress,
    overwrite: bool = False,
) -> dict[str, DensitySource]:
    """Sources of all densities by class, made first where the store does not hold them."""
    store.annotate("structures", {"description": "densities of the classes on a fine grid, unrotated"})
    tasks = []
    for structure in structures:
        made_of = density_token(structure, sample)
        if overwrite or not store.is_complete(layout.structure_group(structure.info.class_id), made_of):
            tasks.append(delayed(_write_density, pure=False)(store, made_of, structure, sample, overwrite))
    execute(tasks, client=client, progress=progress, stage="structures")
    return {s.info.class_id: density_source(store, s.info.class_id) for s in structures}


def density_source(store: Store, class_id: str) -> DensitySource:
    """Where a task reads the density of ``class_id``."""
    group = layout.structure_group(class_id)
    attrs = store.info(group)
    return DensitySource(
        store.source(group, "electrostatic_v"),
        store.source(group, "displaced_fraction"),
        store.source(group, "solid"),
        float(attrs["voxel_size_angstrom"]),
        float(attrs["radius_angstrom"]),
    )


def _write_density(store: Store, made_of: str, structure: Structure, sample: SampleParameters, overwrite: bool) -> None:
    density = particle_density(structure, sample)
    info = structure.info
    dims = ("z", "y", "x")
    dataset = xr.Dataset(
        {
            "electrostatic_v": (dims, density.electrostatic_v, {"units": "V"}),
            "displaced_fraction": (dims, density.displaced_fraction, {"units": "1"}),
            "solid": (dims, density.solid, {}),
        },
        attrs={
            "voxel_size_angstrom": density.voxel_size_angstrom,
            "radius_angstrom": density.radius_angstrom,
            "mask_radius_angstrom": info.mask_radius_angstrom,
            "molecular_weight_kda": info.molecular_weight_kda,
            "name": info.name,
            "source": info.source,
            "assembly": info.assembly,
            "symmetry": info.symmetry,
        },
    )
    store.write_table(
        layout.structure_group(info.class_id),
        dataset,
        kind="particle-density",
        token=made_of,
        parameters={"structure": info.class_id, "content_sha256": info.content_sha256, "sample": to_dict(sample)},
        overwrite=overwrite,
    )
