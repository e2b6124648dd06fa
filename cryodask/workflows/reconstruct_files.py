"""``reconstruct`` for the files of a microscope: which kind of input a path is, and where its tomograms go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from distributed import Client

from cryodask.errors import ConfigError, DataError
from cryodask.io.store import Store
from cryodask.kernels.spectrum import RadialProfile
from cryodask.model.progress import Progress
from cryodask.workflows import layout
from cryodask.workflows.half_sets import HalfSetCorrelation
from cryodask.workflows.project_inputs import relion_series, warp_stack
from cryodask.workflows.reconstruct import ReconstructJob, reconstruct_into_mrc, reconstruct_into_store
from cryodask.workflows.reconstruction_report import MadeTomogram
from cryodask.workflows.series import Series
from cryodask.workflows.stack_inputs import StackOptions, stack_series
from cryodask.workflows.tomogram_targets import mrc_in_the_way, mrc_volume

MRC_SUFFIXES = (".mrc", ".rec", ".map")


def open_series(
    path: Path, options: StackOptions, names: Sequence[str], scratch: Path
) -> list[tuple[Series, list[str]]]:
    """The tilt series that ``path`` is or lists, with what a user should know of each."""
    if path.is_dir():
        raise DataError(f"{path} is a folder and no data set: give the stack in it, with --tilt-com, --aln or others")
    suffix = path.suffix.lower()
    if suffix == ".star":
        return relion_series(path, options, scratch, names)
    if names:
        raise ConfigError(f"--tomogram {names[0]}: only a tomograms.star has several, {path} is one")
    if suffix == ".xml":
        stack = warp_stack(path)
        return [stack_series(stack, replace(options, warp=options.warp or path), scratch)]
    return [stack_series(path, options, scratch)]


def checked_output(output: Path, overwrite: bool) -> None:
    """ConfigError for a name that says neither MRC nor data set, DataError for a file in the way."""
    if output.suffix == ".zarr":
        return
    if output.suffix.lower() not in MRC_SUFFIXES:
        raise ConfigError(f"--output {output}: give NAME.mrc for one tomogram or NAME.zarr for a data set")
    mrc_in_the_way(output, overwrite)


def reconstruct_files(
    series: Sequence[Series],
    output: Path,
    job: ReconstructJob,
    *,
    client: Client | None,
    progress: Progress,
    overwrite: bool = False,
) -> list[MadeTomogram]:
    """Reconstruct each series into the data set or the one MRC file ``output``; returns what was made.

    ConfigError for several series and an MRC file.
    """
    if output.suffix != ".zarr":
        if len(series) > 1:
            raise ConfigError(
                f"{len(series)} tomograms do not fit into {output}: choose one by --tomogram, or write NAME.zarr"
            )
        paths, half_sets = reconstruct_into_mrc(series[0], output, job, client=client, progress=progress)
        geometry = series[0].geometry(job.parameters)
        made = MadeTomogram(
            name=str(output),
            volume=mrc_volume(paths[0], geometry, job.parameters.output_dtype),
            voxel_size_angstrom=geometry.voxel_size_angstrom,
            facts={"tilts": str(len(geometry.tilt_deg))},
            half_sets=half_sets,
        )
        return [made]
    store = Store(output).create()
    for each in series:
        reconstruct_into_store(each, store, job, client=client, progress=progress, overwrite=overwrite)
    return [made_in_store(store, each.name, job.variant) for each in series]


def made_in_store(store: Store, model: str, variant: str) -> MadeTomogram:
    """A tomogram of a data set, as reports and messages show it."""
    group = layout.tomogram_group(model, variant)
    attrs = store.info(group)
    stored = store.info(f"{model}/{variant}").get("half_sets")
    half_sets = None
    if stored is not None:
        curve = RadialProfile(np.array(stored["k_per_angstrom"]), np.array(stored["correlation"]))
        half_sets = HalfSetCorrelation(curve, stored["resolution_angstrom"])
    return MadeTomogram(
        name=f"{store.path}/{model}",
        volume=store.source(group, "image"),
        voxel_size_angstrom=float(attrs["voxel_size_angstrom"]),
        facts={"tilts": str(len(attrs["tilt_deg"]))},
        half_sets=half_sets,
    )


def described(made: MadeTomogram) -> list[str]:
    """Lines that say what was made."""
    size = " x ".join(str(n) for n in reversed(made.volume.shape))
    tilts = made.facts["tilts"]
    lines = [f"{made.name}: {size} voxels of {made.voxel_size_angstrom:.4g} angstrom, {tilts} tilts"]
    return lines if made.half_sets is None else [*lines, f"{made.name}: {made.half_sets}"]
