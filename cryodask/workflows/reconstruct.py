"""``reconstruct``: tilt series of a data set to tomograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dask.delayed import delayed
from distributed import Client

from cryodask.io.ome import ome_multiscales
from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.io.store_spec import SCHEMA_VERSION
from cryodask.model.images import OPTICS, TiltSeries, image_to_use
from cryodask.model.progress import Progress
from cryodask.ops import reconstruction as ops
from cryodask.params.loader import to_dict
from cryodask.params.schema import ReconstructionParameters
from cryodask.params.tokens import token
from cryodask.workflows import layout
from cryodask.workflows.execution import execute

NOISE_FREE = "tomogram_noise_free"
"""Variant reconstructed from the expectation of the counts: what the signal-to-noise ratio is measured against."""


@dataclass(frozen=True, kw_only=True)
class ReconstructJob:
    """What to reconstruct, and how."""

    parameters: ReconstructionParameters
    image: str = "counts"
    """Variable of the tilt series: ``counts`` or ``noise_free``, each ring-scaled where the series has it so."""

    @property
    def variant(self) -> str:
        """Group under the model: the tomogram proper, or its noise-free companion."""
        return "tomogram" if self.image == "counts" else NOISE_FREE


def reconstruct(
    data: Store,
    output: Store,
    job: ReconstructJob,
    *,
    client: Client | None,
    progress: Progress,
    overwrite: bool = False,
    names: Sequence[str] | None = None,
) -> list[str]:
    """Reconstruct tilt series of ``data`` into ``output`` (which may be the same store). Returns the models' names.

    ``names`` are the models to take, None takes all that have a complete tilt series.
    """
    data.check()
    names = layout.models_with(data, "tilt_series") if names is None else list(names)
    output.create()
    for name in names:
        _reconstruct_model(data, output, name, job, client, progress, overwrite)
    return names


def _reconstruct_model(
    data: Store,
    output: Store,
    name: str,
    job: ReconstructJob,
    client: Client | None,
    progress: Progress,
    overwrite: bool,
) -> None:
    source_group = layout.tilt_series_group(name)
    dataset = data.open(source_group)
    image = image_to_use(dataset, job.image)
    series = TiltSeries.parse(dataset, image)
    geometry = geometry_of(series, job)
    group = layout.tomogram_group(name, job.variant)
    record = {
        "tilt_series": data.token(source_group),
        "image": image,
        "reconstruction": to_dict(job.parameters),
        "oversampling": ops.OVERSAMPLING,
        "schema_version": SCHEMA_VERSION,
    }
    slabs = ops.slabs(geometry, job.parameters)
    nz, ny, nx = geometry.shape
    rows = min(job.parameters.slab_voxels, ny)
    spec = GroupSpec(
        kind=layout.TOMOGRAM_KIND,
        token=token(record),
        parameters=record,
        variables=(
            Variable(
                name="image",
                dims=("z", "y", "x"),
                shape=geometry.shape,
                dtype="float32",
                chunks=(nz, rows, nx),
                attrs={"units": "contrast per voxel", "long_name": "weighted back-projection, proteins dark"},
            ),
        ),
        attrs=tomogram_attrs(series, geometry),
        blocks=len(slabs),
    )
    pending = output.prepare(group, spec, overwrite=overwrite)
    images = data.source(source_group, image)
    made = ops.slab_tasks(series, images, geometry, job.parameters, pending)
    tasks = [
        delayed(_write_slab, pure=False)(output, group, block, slabs[block][0], slab)
        for block, slab in zip(pending, made, strict=True)
    ]
    execute(tasks, client=client, progress=progress, stage=f"{name} {job.variant.replace('_', ' ')}")
    output.finish(group)
    output.annotate(f"{name}/{job.variant}", ome_multiscales(name, [geometry.voxel_size_angstrom]))


def geometry_of(series: TiltSeries, job: ReconstructJob) -> ops.ReconstructionGeometry:
    """Shapes and sizes of the tomogram that a tilt series will give."""
    return ops.ReconstructionGeometry.plan(
        series.image_shape,
        series.pixel_size_angstrom,
        series.tilt_deg.tolist(),
        series.dataset.attrs.get("sample_thickness_angstrom"),
        job.parameters,
    )


def tomogram_attrs(series: TiltSeries, geometry: ops.ReconstructionGeometry) -> dict[str, Any]:
    """What a search needs to know of a tomogram: sizes, tilts and, where the series tells them, the optics."""
    known = {name: series.dataset.attrs[name] for name in OPTICS if name in series.dataset.attrs}
    return {"voxel_size_angstrom": geometry.voxel_size_angstrom, "tilt_deg": list(geometry.tilt_deg), **known}


def _write_slab(store: Store, group: str, block: int, row: int, slab: Any) -> None:  # noqa: ANN401
    store.write(group, "image", (0, row, 0), slab)
    store.mark_done(group, block)
