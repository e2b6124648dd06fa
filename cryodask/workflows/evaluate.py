"""``evaluate``: picks against the truth, counted tomogram by tomogram and reduced over the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from cryodask.errors import ConfigError, DataError
from cryodask.io.pick_files import read_picks
from cryodask.io.shrec import read_truth_folder
from cryodask.io.store import Store
from cryodask.model.evaluation import Truth
from cryodask.model.particles import Particles, concatenate
from cryodask.model.progress import Progress
from cryodask.ops.evaluation import evaluate_counts, picks_by_tomogram
from cryodask.ops.evaluation_result import finalise
from cryodask.workflows import layout
from cryodask.workflows.execution import execute


def truths_of_store(store: Store) -> list[Truth]:
    """The truth of every simulated tomogram of a data set."""
    return [_truth_of_model(store, name) for name in layout.models_with(store, "truth")]


def _truth_of_model(store: Store, name: str) -> Truth:
    group = layout.truth_group(name)
    attrs = store.info(group)
    occupancy = store.source(group, "occupancy_mask")
    nz, ny, nx = occupancy.shape
    classes = tuple(attrs["classes"])
    return Truth(
        name=name,
        particles=Particles.from_dataset(store.read_table(layout.truth_particles_group(name))),
        occupancy=occupancy,
        shape=(nz, ny, nx),
        voxel_size_angstrom=float(attrs["voxel_size_angstrom"]),
        class_ids=classes,
        radius_angstrom=known_values(attrs["mask_radius_angstrom"]),
        molecular_weight_kda=known_values(attrs["molecular_weight_kda"]),
    )


def known_values(values: Mapping[str, float | None]) -> dict[str, float]:
    """The entries that have a value."""
    return {name: float(value) for name, value in values.items() if value is not None}


def read_truths(path: Path) -> list[Truth]:
    """Truths of a data set, or of one folder in the SHREC layout."""
    if not path.exists():
        raise DataError(f"{path}: no such data set or folder")
    if (path / "zarr.json").exists():
        return truths_of_store(Store(path))
    return [read_truth_folder(path)]


def read_submissions(picks: Sequence[Path], truths: Sequence[Path]) -> tuple[list[Truth], Particles]:
    """Truths and picks; several of both pair up in order, several picks of one truth are taken together."""
    known = [read_truths(path) for path in truths]
    if len(truths) > 1 and len(picks) != len(truths):
        raise ConfigError(f"{len(picks)} submissions cannot pair up with {len(truths)} truths: give one for each")
    parts = []
    for index, path in enumerate(picks):
        own = known[index if len(truths) > 1 else 0]
        read = read_picks(path, shape=own[0].shape, voxel_size_angstrom=own[0].voxel_size_angstrom)
        # A submission for a single tomogram need not call it as the truth does.
        parts.append(replace(read, tomogram=np.full(len(read), own[0].name, object)) if len(own) == 1 else read)
    return [truth for group in known for truth in group], concatenate(parts)


def evaluate(
    truths: Sequence[Truth], picks: Particles, mode: str, *, client: Client | None, progress: Progress
) -> dict[str, Any]:
    """The evaluation of ``picks`` against ``truths`` (see ``ops.evaluation_result.finalise`` for its keys)."""
    names = [truth.name for truth in truths]
    if len(set(names)) != len(names):
        raise ConfigError(f"several truths have the same name: {', '.join(names)}")
    parts, notes = picks_by_tomogram(picks, names)
    task = evaluate_counts(list(zip(truths, parts, strict=True)), mode=mode)
    (counts,) = execute([task], client=client, progress=progress, stage=f"evaluate {mode}")
    weights = {name: value for truth in truths for name, value in truth.molecular_weight_kda.items()}
    return finalise(counts, molecular_weight_kda=weights, notes=notes)
