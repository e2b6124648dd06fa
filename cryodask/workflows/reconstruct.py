"""``reconstruct``: tilt series to tomograms."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask.delayed import delayed
from distributed import Client

from cryodask.io.atomic import replacing
from cryodask.io.scratch import scratch_folder
from cryodask.io.store import Store
from cryodask.io.store_spec import SCHEMA_VERSION
from cryodask.model.progress import Progress
from cryodask.ops import reconstruction as ops
from cryodask.params.loader import to_dict
from cryodask.params.schema import ReconstructionParameters
from cryodask.workflows import layout
from cryodask.workflows.aligned_images import aligned_images, series_normalization
from cryodask.workflows.execution import execute
from cryodask.workflows.half_sets import HalfSetCorrelation, correlate_half_sets
from cryodask.workflows.series import Series, series_of_store
from cryodask.workflows.tomogram_targets import StoredTomogram, mrc_target, mrc_volume

NOISE_FREE = "tomogram_noise_free"
"""Variant reconstructed from the expectation of the counts: what the signal-to-noise ratio is measured against."""

HALF_SETS = ("even", "odd")


@dataclass(frozen=True, kw_only=True)
class ReconstructJob:
    """What to reconstruct, and how."""

    parameters: ReconstructionParameters
    image: str = "counts"
    """Variable of the tilt series: ``counts`` or ``noise_free``, each ring-scaled where the series has it so."""
    half_sets: bool = False
    """Also reconstruct every second tilt, for a Fourier shell correlation."""

    @property
    def variant(self) -> str:
        """Group under the model: the tomogram proper, or its noise-free companion."""
        return "tomogram" if self.image == "counts" else NOISE_FREE


@dataclass(frozen=True, eq=False)
class _Part:
    """One volume to make of a series: all tilts, or a half set."""

    target: ops.SlabSink
    pending: list[int]
    tilts: tuple[int, ...] | None
    stage: str


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
        series = series_of_store(data, name, job.image)
        reconstruct_into_store(series, output, job, client=client, progress=progress, overwrite=overwrite)
    return names


def reconstruct_into_store(
    series: Series,
    output: Store,
    job: ReconstructJob,
    *,
    client: Client | None,
    progress: Progress,
    overwrite: bool = False,
) -> None:
    """One tilt series to a pyramid in a data set, and to one for each half set if the job wants them."""
    parameters = job.parameters
    geometry = series.geometry(parameters)
    normalization = series_normalization(series, parameters)
    blocks = len(ops.slabs(geometry, parameters))
    stored = [
        StoredTomogram(
            store=output,
            model=series.name,
            variant=job.variant + suffix,
            geometry=geometry,
            parameters=parameters,
            record=_record(series, parameters, normalization, suffix),
            attrs=tomogram_attrs(series, geometry, parameters, tilts),
            pyramid=job.variant == "tomogram",
        )
        for suffix, tilts in _halves(geometry, job)
    ]
    parts = [
        _Part(each.target, each.prepare(blocks, overwrite=overwrite), tilts, _stage(series, each.variant))
        for each, (_, tilts) in zip(stored, _halves(geometry, job), strict=True)
    ]
    stage = "images" if job.variant == "tomogram" else "noise_free_images"
    _run(series, geometry, parameters, normalization, parts, Path(output.path), client, progress, stage)
    for each in stored:
        each.finish()
    if job.half_sets:
        halves = [output.source(each.target.groups[0], "image") for each in stored[1:]]
        found = correlate_half_sets(
            halves, geometry.voxel_size_angstrom, client=client, progress=progress, name=series.name
        )
        output.annotate(f"{series.name}/{job.variant}", {"half_sets": found.as_json()})


def reconstruct_into_mrc(
    series: Series, output: Path, job: ReconstructJob, *, client: Client | None, progress: Progress
) -> tuple[list[Path], HalfSetCorrelation | None]:
    """One tilt series to an MRC file; for half sets also to NAME_even.mrc, NAME_odd.mrc and NAME_fsc.csv."""
    parameters = job.parameters
    geometry = series.geometry(parameters)
    normalization = series_normalization(series, parameters)
    blocks = list(range(len(ops.slabs(geometry, parameters))))
    with ExitStack() as files:
        parts, paths = [], []
        for suffix, tilts in _halves(geometry, job):
            path = output.with_name(f"{output.stem}{suffix}{output.suffix}")
            target = files.enter_context(mrc_target(path, geometry, parameters.output_dtype))
            parts.append(_Part(target, blocks, tilts, _stage(series, f"tomogram{suffix}")))
            paths.append(path)
        _run(series, geometry, parameters, normalization, parts, output, client, progress)
    if job.half_sets:
        halves = [mrc_volume(path, geometry, parameters.output_dtype) for path in paths[1:]]
        found = correlate_half_sets(
            halves, geometry.voxel_size_angstrom, client=client, progress=progress, name=series.name
        )
        with replacing(output.with_name(f"{output.stem}_fsc.csv")) as partial:
            partial.write_text(found.as_csv(), encoding="ascii")
        return paths, found
    return paths, None


def _halves(geometry: ops.ReconstructionGeometry, job: ReconstructJob) -> list[tuple[str, tuple[int, ...] | None]]:
    """Suffix and tilts of each volume that the job makes."""
    halves: list[tuple[str, tuple[int, ...] | None]] = [("", None)]
    if job.half_sets:
        halves += [(f"_{name}", geometry.half(which)) for which, name in enumerate(HALF_SETS)]
    return halves


def _stage(series: Series, variant: str) -> str:
    return f"{series.name} {variant.replace('_', ' ')}"


def _record(
    series: Series, parameters: ReconstructionParameters, normalization: str, suffix: str = ""
) -> dict[str, Any]:
    settings = to_dict(parameters) | {"normalization": normalization}
    record = {
        **series.source,
        "reconstruction": settings,
        "oversampling": ops.OVERSAMPLING,
        "schema_version": SCHEMA_VERSION,
    }
    return {**record, "half_set": suffix.lstrip("_")} if suffix else record


def tomogram_attrs(
    series: Series,
    geometry: ops.ReconstructionGeometry,
    parameters: ReconstructionParameters,
    tilts: Sequence[int] | None = None,
) -> dict[str, Any]:
    """What a search needs to know of a tomogram: sizes, tilts and, where the series tells them, the optics."""
    angles = geometry.tilt_deg if tilts is None else [geometry.tilt_deg[index] for index in tilts]
    corrected = {} if parameters.ctf_correction == "none" else {"ctf_correction": parameters.ctf_correction}
    sizes = {"voxel_size_angstrom": geometry.voxel_size_angstrom, "tilt_deg": list(angles)}
    return {**sizes, **series.optics, **corrected}


def _run(
    series: Series,
    geometry: ops.ReconstructionGeometry,
    parameters: ReconstructionParameters,
    normalization: str,
    parts: Sequence[_Part],
    output: Path,
    client: Client | None,
    progress: Progress,
    stage: str = "images",
) -> None:
    """Prepare every image once, beside the output, then make the slabs that are missing."""
    if not any(part.pending for part in parts):
        return
    with scratch_folder(output) as folder:
        aligned = aligned_images(
            series,
            geometry,
            parameters,
            folder,
            client=client,
            progress=progress,
            normalization=normalization,
            stage=stage,
        )
        for part in parts:
            tasks = [
                delayed(ops.make_slab, pure=False)(aligned, block, geometry, parameters, part.tilts, part.target)
                for block in part.pending
            ]
            execute(tasks, client=client, progress=progress, stage=part.stage)
