"""``match``: score maps of every template over every tomogram, and the picks that come of them."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed, delayed
from distributed import Client

from cryodask.errors import ConfigError
from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.io.store_spec import SCHEMA_VERSION
from cryodask.kernels.low_rank_basis import HELD_OUT, TRAINING
from cryodask.kernels.rotations import coverage, rotation_set, without_symmetry_mates
from cryodask.model.particles import Particles
from cryodask.model.progress import Progress
from cryodask.model.source import BlockSource
from cryodask.ops import matching as ops
from cryodask.ops import picking
from cryodask.ops.engines import EngineChoice, choose_engine
from cryodask.ops.low_rank import (
    COARSE_TOLERANCE,
    LARGEST_BASIS,
    LowRankSettings,
    fine_rotations,
    rescored_peaks,
    rotations_of,
    search_low_rank,
    tile_edge,
)
from cryodask.ops.templates import SearchFilter, fine_template, template_settings
from cryodask.params.loader import to_dict
from cryodask.params.schema import MatchingParameters
from cryodask.params.tokens import token
from cryodask.workflows import layout
from cryodask.workflows.banks import bank_group, read_bank, write_bank
from cryodask.workflows.execution import execute
from cryodask.workflows.search_inputs import NamedTemplate, SearchInput

Matrices = npt.NDArray[np.float64]

LOW_RANK_BUDGET_BYTES = 2**30
"""Of the coarse correlations that a low-rank tile holds."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MatchJob:
    """What is searched for, where, and how."""

    tomograms: tuple[SearchInput, ...]
    templates: tuple[NamedTemplate, ...]
    parameters: MatchingParameters
    dark: bool = True
    matrices: Matrices | None = None
    """(n, 3, 3) a user's own rotations, in place of those of the angular step; only the exact engine takes them."""


@dataclass(frozen=True, kw_only=True)
class MatchResult:
    """Picks of all tomograms, best first within each, and the record of the search (job.json)."""

    picks: Particles
    record: dict[str, Any]
    rotations: Mapping[tuple[str, str], Matrices] = field(default_factory=dict)
    """What the ids of an angle map count, by tomogram and template."""


def match(
    maps: Store, job: MatchJob, *, client: Client | None, progress: Progress, overwrite: bool = False
) -> MatchResult:
    """Search every tomogram; maps are kept in ``maps``, so that an interrupted search goes on where it stopped."""
    maps.create()
    started = time.perf_counter()
    matrices = rotation_set(job.parameters.angular_step_deg) if job.matrices is None else job.matrices
    search = _Search(maps, job, matrices, overwrite)
    parts, thresholds = [], {}
    for tomogram in job.tomograms:
        search.make_maps(tomogram, client, progress)
        picks, statistics = search.pick(tomogram, client, progress)
        parts.append(picks)
        thresholds[tomogram.name] = statistics
    covering = coverage(search.widest_list())
    record = {
        "engine": "+".join(sorted({choice.engine for choice in search.engines.values()})),
        "engines": search.engine_records(),
        "K": {name: record["components"] for name, record in search.engine_records().items() if "components" in record},
        "tolerance": job.parameters.tolerance,
        "templates": [t.source.template_id for t in job.templates],
        "tomograms": [t.name for t in job.tomograms],
        "rotations": len(search.widest_list()),
        "rotations_by_template": {name: search.count(name) for name in search.rotations},
        "angular_step_deg": job.parameters.angular_step_deg,
        "covering_radius_deg": covering.largest_deg,
        "mean_misorientation_deg": covering.mean_deg,
        "parameters": to_dict(job.parameters),
        "score_maps": thresholds,
        "picks": sum(len(part) for part in parts),
        "seconds": time.perf_counter() - started,
        "seconds_by_stage": search.seconds,
    }
    rotations = {
        (tomogram.name, name): search.rotations_in(tomogram, name)
        for tomogram in job.tomograms
        for name in search.rotations
    }
    return MatchResult(picks=picking.joined(parts), record=record, rotations=rotations)


class _Search:
    """One search: the same rotations, templates and parameters on every tomogram."""

    def __init__(self, maps: Store, job: MatchJob, matrices: Matrices, overwrite: bool) -> None:
        self.maps, self.job, self.overwrite = maps, job, overwrite
        parameters = job.parameters
        self.low_rank = LowRankSettings(
            angular_step_deg=parameters.angular_step_deg,
            coarse_step_deg=max(parameters.coarse_step_deg, parameters.angular_step_deg),
            tolerance=parameters.tolerance,
            keep=parameters.keep,
            seed=parameters.seed,
        )
        self.rotations: dict[str, Matrices] = {}
        self.engines: dict[str, EngineChoice] = {}
        self.banks: dict[str, str] = {}
        self.matrices = matrices
        self.seconds: dict[str, float] = {}
        first = job.tomograms[0]
        for template in job.templates:
            name, source = template.source.template_id, template.source
            kept = without_symmetry_mates(matrices, source.symmetry)
            if job.matrices is not None and parameters.engine == "low-rank":
                raise ConfigError("a list of angles of one's own needs the engine fft: use --engine fft, or auto")
            choice = choose_engine(
                parameters.engine if job.matrices is None else "fft",
                radius_voxels=source.radius_angstrom / first.voxel_size_angstrom,
                shape=first.shape,
                tilt_deg=first.tilt_deg,
                rotations=len(kept),
                settings=self.low_rank,
            )
            _log.info("%s: engine %s, %s", name, choice.engine, choice.reason)
            self.engines[name] = choice
            self.rotations[name] = kept

    def widest_list(self) -> Matrices:
        """The rotations that most templates are searched at: the fine list of the low-rank engine, if any uses it."""
        if any(choice.engine == "low-rank" for choice in self.engines.values()):
            return fine_rotations(self.job.tomograms[0].tilt_deg, self.low_rank)
        return self.matrices

    def count(self, name: str) -> int:
        """Rotations that one template is searched at."""
        low_rank = self.engines[name].engine == "low-rank"
        return len(self.widest_list() if low_rank else self.rotations[name])

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def rotations_in(self, tomogram: SearchInput, name: str) -> Matrices:
        """What the rotation ids of a template's map count."""
        if self.engines[name].engine == "fft":
            return self.rotations[name]
        return rotations_of(tomogram.tilt_deg, self.low_rank)

    def make_maps(self, tomogram: SearchInput, client: Client | None, progress: Progress) -> None:
        """Filtered tomogram, then the score and rotation map of every template."""
        with self._timed("filter"):
            search = self._filtered(tomogram, client, progress)
        with self._timed("low-rank bases"):
            self._make_banks(tomogram, search, client, progress)
        tasks: list[Delayed] = []
        for template in self.job.templates:
            tasks += self._template_tasks(tomogram, search, template)
        with self._timed("search"):
            execute(tasks, client=client, progress=progress, stage=f"{tomogram.name} search")
        for template in self.job.templates:
            self.maps.finish(layout.scores_group(tomogram.name, template.source.template_id))

    def _search_record(self, tomogram: SearchInput) -> dict[str, Any]:
        parameters = self.job.parameters
        return {
            "tomogram": tomogram.token,
            "voxel_size_angstrom": tomogram.voxel_size_angstrom,
            "tilt_deg": tomogram.tilt_deg,
            "optics": dict(tomogram.optics),
            "dark": self.job.dark,
            "low_pass_angstrom": parameters.low_pass_angstrom,
            "whiten": parameters.whiten,
            "schema_version": SCHEMA_VERSION,
        }

    def _filtered(self, tomogram: SearchInput, client: Client | None, progress: Progress) -> SearchFilter:
        """Write the filtered tomogram if it is not there; the filter that templates have to pass too."""
        group, record = layout.search_group(tomogram.name), self._search_record(tomogram)
        spec = GroupSpec(
            kind="search-volume",
            token=token(record),
            parameters=record,
            variables=(
                Variable(
                    name="image",
                    dims=("z", "y", "x"),
                    shape=tomogram.shape,
                    dtype="float32",
                    chunks=tuple(min(n, 64) for n in tomogram.shape),
                ),
            ),
        )
        search = SearchFilter(
            voxel_size_angstrom=tomogram.voxel_size_angstrom,
            low_pass_angstrom=self.job.parameters.low_pass_angstrom,
            tilt_deg=tomogram.tilt_deg,
            dark=self.job.dark,
            optics=tomogram.optics,
        )
        # A process killed between its block and the end leaves nothing to do, and no gains either.
        if self.maps.prepare(group, spec, overwrite=self.overwrite) or not self.maps.is_complete(group):
            task = delayed(_write_filtered, pure=False)(self.maps, group, tomogram, search, self.job.parameters.whiten)
            (gains,) = execute([task], client=client, progress=progress, stage=f"{tomogram.name} filter")
            self.maps.finish(group, {"whitening": gains, "voxel_size_angstrom": tomogram.voxel_size_angstrom})
        gains = self.maps.info(group)["whitening"]
        return replace(search, whitening=None if gains is None else (tuple(gains[0]), tuple(gains[1])))

    def _template_tasks(self, tomogram: SearchInput, search: SearchFilter, template: NamedTemplate) -> list[Delayed]:
        """One task a tile of a template: a tree of batches, and the writing of its core."""
        group = layout.scores_group(tomogram.name, template.source.template_id)
        record = {
            "search": self._search_record(tomogram),
            "template": template.token,
            "radius_angstrom": template.source.radius_angstrom,
            "symmetry": template.source.symmetry,
            "angular_step_deg": self.job.parameters.angular_step_deg,
            "tile_voxels": ops.TILE_VOXELS,
            "template_sampling": template_settings(),
            **self._engine_record(template, tomogram),
        }
        shape = tomogram.shape
        parts = ops.tiles(shape, record["tile_voxels"])
        chunks = tuple(min(n, 64) for n in shape)
        spec = GroupSpec(
            kind="scores",
            token=token(record),
            parameters=record,
            variables=(
                Variable(name="score", dims=("z", "y", "x"), shape=shape, dtype="float32", chunks=chunks),
                Variable(name="rotation_id", dims=("z", "y", "x"), shape=shape, dtype="int32", chunks=chunks),
            ),
            attrs={"voxel_size_angstrom": tomogram.voxel_size_angstrom, "radius_angstrom": record["radius_angstrom"]},
            blocks=len(parts),
        )
        pending = self.maps.prepare(group, spec, overwrite=self.overwrite)
        if not pending:
            return []
        fine = delayed(fine_template, pure=False)(template.source, search)
        filtered = self.maps.source(layout.search_group(tomogram.name), "image")
        if self.engines[template.source.template_id].engine == "low-rank":
            made_of = token(self._bank_record(template, search))
            banks = delayed(read_bank, pure=False)(self.maps, made_of)
            return [self._low_rank_task(group, block, parts[block], filtered, fine, banks) for block in pending]
        matrices = self.rotations[template.source.template_id]
        return [self._tile_task(group, block, parts[block], filtered, fine, matrices) for block in pending]

    def _bank_record(self, template: NamedTemplate, search: SearchFilter) -> dict[str, Any]:
        """What decides a low-rank bank: the template, what it is filtered by, and how finely; not the tomogram."""
        return {
            "template": template.token,
            "radius_angstrom": template.source.radius_angstrom,
            "filter": {**asdict(search), "optics": dict(search.optics)},
            "template_sampling": template_settings(),
            **self._low_rank_record(),
            "schema_version": SCHEMA_VERSION,
        }

    def _low_rank_record(self) -> dict[str, Any]:
        return {
            "low_rank": asdict(self.low_rank),
            "training": [TRAINING, HELD_OUT],
            "coarse_tolerance": COARSE_TOLERANCE,
            "largest_basis": LARGEST_BASIS,
        }

    def _make_banks(
        self, tomogram: SearchInput, search: SearchFilter, client: Client | None, progress: Progress
    ) -> None:
        """Banks of the low-rank templates, those that the store does not have from another tomogram or run."""
        tasks = []
        for template in self.job.templates:
            name = template.source.template_id
            if self.engines[name].engine != "low-rank":
                continue
            record = self._bank_record(template, search)
            made_of = token(record)
            self.banks[name] = bank_group(made_of)
            if not self.maps.is_complete(bank_group(made_of), made_of):
                tasks.append(
                    delayed(write_bank, pure=False)(self.maps, made_of, record, template.source, search, self.low_rank)
                )
        if tasks:
            self.maps.annotate("banks", {"description": "low-rank bases of templates and coefficients of rotations"})
        execute(tasks, client=client, progress=progress, stage=f"{tomogram.name} low-rank bases")

    def engine_records(self) -> dict[str, dict[str, Any]]:
        """For each template: engine, why, and of a low-rank one the sizes of its bases."""
        records = {}
        for name, choice in self.engines.items():
            records[name] = {"engine": choice.engine, "reason": choice.reason}
            if name in self.banks:
                attrs = self.maps.info(self.banks[name])
                known = ("components", "coarse_components", "residual")
                records[name] |= {key: attrs[key] for key in known}
        return records

    def _engine_record(self, template: NamedTemplate, tomogram: SearchInput) -> dict[str, Any]:
        """What decides the maps besides template and tomogram, by engine."""
        if self.engines[template.source.template_id].engine == "fft":
            record: dict[str, Any] = {"rotations_per_task": self.job.parameters.rotations_per_task}
            if self.job.matrices is not None:
                record["rotations"] = hashlib.sha256(self.matrices.astype("<f8").tobytes()).hexdigest()
            return record
        radius_voxels = template.source.radius_angstrom / tomogram.voxel_size_angstrom
        return {
            "engine": "low-rank",
            **self._low_rank_record(),
            "tile_voxels": tile_edge(radius_voxels, ops.TILE_VOXELS, LOW_RANK_BUDGET_BYTES),
        }

    def _low_rank_task(
        self, group: str, block: int, tile: ops.Tile, filtered: BlockSource, fine: Delayed, banks: Delayed
    ) -> Delayed:
        prepared = delayed(ops.prepare_tile, pure=False)(filtered, tile, fine)
        found = delayed(search_low_rank, pure=False)(prepared, banks)
        core = delayed(ops.core_of, pure=False)(found, tile, filtered.shape, fine)
        task: Delayed = delayed(_write_scores, pure=False)(self.maps, group, block, tile, core)
        return task

    def _tile_task(
        self, group: str, block: int, tile: ops.Tile, filtered: BlockSource, fine: Delayed, matrices: Matrices
    ) -> Delayed:
        prepared = delayed(ops.prepare_tile, pure=False)(filtered, tile, fine)
        ranges = ops.batches(len(matrices), self.job.parameters.rotations_per_task)
        results = [
            delayed(ops.search_batch, pure=False)(prepared, fine, matrices[first:last], first) for first, last in ranges
        ]
        while len(results) > 1:
            pairs = [results[i : i + 2] for i in range(0, len(results), 2)]
            results = [delayed(ops.merge, pure=False)(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
        core = delayed(ops.core_of, pure=False)(results[0], tile, filtered.shape, fine)
        task: Delayed = delayed(_write_scores, pure=False)(self.maps, group, block, tile, core)
        return task

    def pick(
        self, tomogram: SearchInput, client: Client | None, progress: Progress
    ) -> tuple[Particles, dict[str, dict[str, float]]]:
        """Peaks of every template, decided between by z-score; and each map's median and deviation."""
        search = self._filtered(tomogram, client, progress)
        tasks = [self._peaks_task(tomogram, search, template) for template in self.job.templates]
        with self._timed("peaks"):
            peaks = execute(tasks, client=client, progress=progress, stage=f"{tomogram.name} peaks")
        candidates = [
            picking.Candidates(
                class_id=template.source.template_id,
                radius_angstrom=template.source.radius_angstrom,
                peaks=found,
                matrices=self.rotations_in(tomogram, template.source.template_id),
            )
            for template, found in zip(self.job.templates, peaks, strict=True)
        ]
        picks = picking.decide(
            candidates,
            shape=tomogram.shape,
            voxel_size_angstrom=tomogram.voxel_size_angstrom,
            tomogram=tomogram.name,
        )
        statistics = {
            t.source.template_id: {"median": p.median, "sigma": p.sigma, "candidates": len(p.score)}
            for t, p in zip(self.job.templates, peaks, strict=True)
        }
        return picks, statistics

    def _peaks_task(self, tomogram: SearchInput, search: SearchFilter, template: NamedTemplate) -> Delayed:
        name, parameters = template.source.template_id, self.job.parameters
        group = layout.scores_group(tomogram.name, name)
        maps = self.maps.source(group, "score"), self.maps.source(group, "rotation_id")
        limits = (
            template.source.radius_angstrom / tomogram.voxel_size_angstrom,
            parameters.max_picks,
            parameters.threshold_z,
        )
        task: Delayed
        if self.engines[name].engine == "fft":
            task = delayed(ops.peaks_of, pure=False)(*maps, *limits)
            return task
        filtered = self.maps.source(layout.search_group(tomogram.name), "image")
        fine = delayed(fine_template, pure=False)(template.source, search)
        matrices = self.rotations_in(tomogram, name)
        task = delayed(rescored_peaks, pure=False)(*maps, filtered, fine, matrices, *limits)
        return task


def _write_filtered(
    maps: Store, group: str, tomogram: SearchInput, search: SearchFilter, whiten: bool
) -> Sequence[Sequence[float]] | None:
    volume = np.asarray(tomogram.image.read((slice(None),) * 3), dtype=np.float32)
    gains = ops.whitening_filter(volume, tomogram.voxel_size_angstrom, tomogram.tilt_deg) if whiten else None
    maps.write(group, "image", (0, 0, 0), ops.filtered_tomogram(volume, replace(search, whitening=gains)))
    maps.mark_done(group, 0)
    return gains


def _write_scores(maps: Store, group: str, block: int, tile: ops.Tile, core: Any) -> None:  # noqa: ANN401
    maps.write(group, "score", tile.start, core[0])
    maps.write(group, "rotation_id", tile.start, core[1])
    maps.mark_done(group, block)
