"""``evaluate``: picks against the truth, counted tomogram by tomogram and reduced over the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from cryodask.errors import ConfigError, DataError
from cryodask.io.pick_files import read_picks
from cryodask.io.shrec import LOCATIONS_FILE, OCCUPANCY_FILE, read_truth_folder
from cryodask.io.store import Store
from cryodask.model.evaluation import Truth, TruthSource
from cryodask.model.particles import Particles, concatenate
from cryodask.model.progress import NullProgress, Progress
from cryodask.ops.evaluation import evaluate_counts, merge_all, picks_by_tomogram
from cryodask.ops.evaluation_result import finalise
from cryodask.workflows import layout
from cryodask.workflows.comparison import PAPER, PAPER_NOTE, Row, paper_rows, row_of, stored_row
from cryodask.workflows.defocus import defocus_of_store
from cryodask.workflows.execution import execute
from cryodask.workflows.picks_folder import stored_picks
from cryodask.workflows.search_inputs import is_store

BATCH = 64
"""Tomograms that are counted by one graph: with 1500 picks each, it is some ten megabytes."""


def truths_of_store(store: Store) -> list[Truth]:
    """The truth of every simulated tomogram of a data set."""
    return [truth_of_model(store, name) for name in layout.models_with(store, "truth")]


@dataclass(frozen=True, kw_only=True)
class StoredTruth:
    """The truth of one model of a data set, read where it is needed."""

    name: str
    path: str
    model: str

    def load(self) -> Truth:
        return replace(truth_of_model(Store(self.path), self.model), name=self.name)


@dataclass(frozen=True, kw_only=True)
class FolderTruth:
    """The truth in a folder of the SHREC layout, read where it is needed."""

    name: str
    path: str

    def load(self) -> Truth:
        return replace(read_truth_folder(Path(self.path)), name=self.name)


def truth_of_model(store: Store, name: str) -> Truth:
    """The truth of one simulated tomogram; NotInStoreError if the data set has none of it."""
    group = layout.truth_group(name)
    occupancy = store.source(group, "occupancy_mask")
    nz, ny, nx = occupancy.shape
    return Truth(
        name=name,
        particles=Particles.from_dataset(store.read_table(layout.truth_particles_group(name))),
        occupancy=occupancy,
        shape=(nz, ny, nx),
        voxel_size_angstrom=float(layout.required(store, group, "voxel_size_angstrom")),
        class_ids=tuple(layout.required(store, group, "classes")),
        radius_angstrom=known_values(layout.required(store, group, "mask_radius_angstrom")),
        molecular_weight_kda=known_values(layout.required(store, group, "molecular_weight_kda")),
        symmetry=_symmetries(store, layout.required(store, group, "classes")),
    )


def _symmetries(store: Store, class_ids: Sequence[str]) -> dict[str, str]:
    """Point groups of the structures that the data set holds."""
    held = [name for name in class_ids if store.is_complete(layout.structure_group(name))]
    return {name: str(store.info(layout.structure_group(name)).get("symmetry", "C1")) for name in held}


def known_values(values: Mapping[str, float | None]) -> dict[str, float]:
    """The entries that have a value."""
    return {name: float(value) for name, value in values.items() if value is not None}


def find_truths(path: Path) -> list[StoredTruth] | list[FolderTruth]:
    """The truths of a data set, or of one folder in the SHREC layout, by name and place; nothing else is read."""
    if not path.exists():
        raise DataError(f"{path}: no such data set or folder")
    if is_store(path):
        names = layout.models_with(Store(path), "truth")
        return [StoredTruth(name=name, path=str(path), model=name) for name in names]
    if not (path / LOCATIONS_FILE).exists() and not (path / OCCUPANCY_FILE).exists():
        raise DataError(
            f"{path} holds no truth: give a data set (.zarr), or a folder with {LOCATIONS_FILE} and {OCCUPANCY_FILE}"
        )
    return [FolderTruth(name=path.name, path=str(path))]


def read_truths(path: Path) -> list[Truth]:
    """Truths of a data set, or of one folder in the SHREC layout."""
    return [truth.load() for truth in find_truths(path)]


def read_submissions(picks: Sequence[Path], truths: Sequence[Path]) -> tuple[list[TruthSource], Particles]:
    """Truths and picks; several of both pair up in order, several picks of one truth are taken together."""
    if len(truths) > 1 and len(picks) != len(truths):
        raise ConfigError(f"{len(picks)} submissions cannot pair up with {len(truths)} truths: give one for each")
    twice = sorted({str(path) for path in truths if truths.count(path) > 1})
    if twice:
        raise ConfigError(f"--truth {', '.join(twice)} is given twice: evaluate such submissions one by one")
    known = [find_truths(path) for path in truths]
    names = [truth.name for group in known for truth in group]
    # Every data set has a model_000.
    prefixes = [f"{path}/" if len(set(names)) < len(names) else "" for path in truths]
    parts = []
    for index, path in enumerate(picks):
        own = known[index if len(truths) > 1 else 0]
        prefix = prefixes[index if len(truths) > 1 else 0]
        if is_store(path):
            read = stored_picks(Store(path))
        else:
            first = own[0].load()
            read = read_picks(path, shape=first.shape, voxel_size_angstrom=first.voxel_size_angstrom)
        if len(own) == 1 and len(set(read.tomogram)) == 1:
            # A submission for a single tomogram need not call it as the truth does.
            read = replace(read, tomogram=np.full(len(read), own[0].name, object))
        parts.append(replace(read, tomogram=np.array([prefix + str(name) for name in read.tomogram], object)))
    found: list[TruthSource] = [
        replace(truth, name=prefix + truth.name)
        for prefix, group in zip(prefixes, known, strict=True)
        for truth in group
    ]
    return found, concatenate(parts)


def evaluate(
    truths: Sequence[TruthSource],
    picks: Particles,
    mode: str,
    *,
    client: Client | None,
    progress: Progress,
    class_weights: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The evaluation of ``picks`` against ``truths`` (see ``ops.evaluation_result.finalise`` for its keys).

    Tomograms are counted a batch after the other, each batch a tree of tasks: what travels at a time, truths that are
    read where they are needed and the picks of a batch, does not grow with their number.
    """
    names = [truth.name for truth in truths]
    if len(set(names)) != len(names):
        raise ConfigError(f"several truths have the same name: {', '.join(names)}")
    if not truths:
        raise ConfigError("nothing to evaluate: give at least one truth")
    parts, notes = picks_by_tomogram(picks, names)
    stage, counts = f"evaluate {mode}", []
    with progress.stage(stage, len(truths)) as bar:
        for start in range(0, len(truths), BATCH):
            batch = slice(start, start + BATCH)
            task = evaluate_counts(list(zip(truths[batch], parts[batch], strict=True)), mode=mode)
            counts += execute([task], client=client, progress=NullProgress(), stage=stage)
            bar.advance(len(truths[batch]))
    return finalise(merge_all(counts), class_weights=class_weights, notes=notes)


def conditions_of(truth_paths: Sequence[Path]) -> dict[str, Mapping[str, float]]:
    """Defocus of the tomograms of a single data set; nothing for other truths, which do not tell it."""
    if len(truth_paths) != 1 or not is_store(truth_paths[0]):
        return {}
    store = Store(truth_paths[0])
    return {"defocus_um": defocus_of_store(store, layout.models_with(store, "truth"))}


def with_conditions(result: dict[str, Any], conditions: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any]:
    """``result`` with what is known of each tomogram (``snr`` or ``defocus_um``, by its name) in ``tomograms``."""
    rows = [dict(row) for row in result["tomograms"]]
    for key, values in conditions.items():
        if any(values.get(row["name"]) is not None for row in rows):
            for row in rows:
                row[key] = values.get(row["name"])
    return {**result, "tomograms": rows}


def compare(
    others: Sequence[str],
    truth_paths: Sequence[Path],
    result: dict[str, Any],
    *,
    client: Client | None,
    progress: Progress,
) -> dict[str, Any]:
    """``result`` with ``comparison``: one row for each of ``others``, and a note where rows are not of one kind.

    ``others`` holds ``paper``, JSON files of evaluations or folders of ``benchmark``, and picks, which are evaluated
    against the same truths.
    """
    rows: list[Row] = []
    for other in others:
        if other == PAPER:
            rows += paper_rows()
            continue
        path = Path(other)
        if not path.exists():
            raise DataError(f"{path}: no such picks, evaluation or run to compare with; {PAPER!r} stands for the paper")
        row = stored_row(path, result["mode"])
        if row is None:
            truths, picks = read_submissions([path] * max(1, len(truth_paths)), truth_paths)
            own = evaluate(truths, picks, result["mode"], client=client, progress=progress)
            row = row_of(path.stem, str(path), own)
        rows.append(row)
    notes = [PAPER_NOTE] if PAPER in others and rows else []
    return {**result, "comparison": rows, "notes": [*result["notes"], *notes]}
