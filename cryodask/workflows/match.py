"""``match``: score maps of every template over every tomogram, and the picks that come of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed, delayed
from distributed import Client

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
    make_banks,
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


@dataclass(frozen=True, kw_only=True)
class MatchResult:
    """Picks of all tomograms, best first within each, and the record of the search (job.json)."""

    picks: Particles
    record: dict[str, Any]


def match(
    maps: Store, job: MatchJob, *, client: Client | None, progress: Progress, overwrite: bool = False
) -> MatchResult:
    """Search every tomogram; maps are kept in ``maps``, so that an interrupted search goes on where it stopped."""
    maps.create()
    started = time.perf_counter()
    matrices = rotation_set(job.parameters.angular_step_deg)
    search = _Search(maps, job, matrices, overwrite)
    parts, thresholds = [], {}
    for tomogram in job.tomograms:
        search.make_maps(tomogram, client, progress)
        picks, statistics = search.pick(tomogram, client, progress)
        parts.append(picks)
        thresholds[tomogram.name] = statistics
    covering = coverage(matrices)
    record = {
        "engines": {name: {"engine": c.engine, "reason": c.reason} for name, c in search.engines.items()},
        "tolerance": job.parameters.tolerance,
        "templates": [t.source.template_id for t in job.templates],
        "tomograms": [t.name for t in job.tomograms],
        "rotations": len(matrices),
        "rotations_by_template": {name: len(kept) for name, kept in search.rotations.items()},
        "angular_step_deg": job.parameters.angular_step_deg,
        "covering_radius_deg": covering.largest_deg,
        "mean_misorientation_deg": covering.mean_deg,
        "parameters": to_dict(job.parameters),
        "score_maps": thresholds,
        "picks": sum(len(part) for part in parts),
        "seconds": time.perf_counter() - started,
    }
    return MatchResult(picks=picking.joined(parts), record=record)


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
        )
        self.rotations: dict[str, Matrices] = {}
        self.engines: dict[str, EngineChoice] = {}
        first = job.tomograms[0]
        for template in job.templates:
            name, source = template.source.template_id, template.source
            kept = without_symmetry_mates(matrices, source.symmetry)
            choice = choose_engine(
                parameters.engine,
                radius_voxels=source.radius_angstrom / first.voxel_size_angstrom,
                shape=first.shape,
                tilt_deg=first.tilt_deg,
                rotations=len(kept),
                settings=self.low_rank,
            )
            _log.info("%s: engine %s, %s", name, choice.engine, choice.reason)
            self.engines[name] = choice
            self.rotations[name] = kept

    def rotations_in(self, tomogram: SearchInput, name: str) -> Matrices:
        """What the rotation ids of a template's map count."""
        if self.engines[name].engine == "fft":
            return self.rotations[name]
        return rotations_of(tomogram.tilt_deg, self.low_rank)

    def make_maps(self, tomogram: SearchInput, client: Client | None, progress: Progress) -> None:
        """Filtered tomogram, then the score and rotation map of every template."""
        search = self._filtered(tomogram, client, progress)
        tasks: list[Delayed] = []
        for template in self.job.templates:
            tasks += self._template_tasks(tomogram, search, template)
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
        if self.maps.prepare(group, spec, overwrite=self.overwrite):
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
            banks = delayed(make_banks, pure=False)(fine, self.low_rank)
            return [self._low_rank_task(group, block, parts[block], filtered, fine, banks) for block in pending]
        matrices = self.rotations[template.source.template_id]
        return [self._tile_task(group, block, parts[block], filtered, fine, matrices) for block in pending]

    def _engine_record(self, template: NamedTemplate, tomogram: SearchInput) -> dict[str, Any]:
        """What decides the maps besides template and tomogram, by engine."""
        if self.engines[template.source.template_id].engine == "fft":
            return {"rotations_per_task": self.job.parameters.rotations_per_task}
        radius_voxels = template.source.radius_angstrom / tomogram.voxel_size_angstrom
        return {
            "engine": "low-rank",
            "low_rank": asdict(self.low_rank),
            "training": [TRAINING, HELD_OUT],
            "coarse_tolerance": COARSE_TOLERANCE,
            "largest_basis": LARGEST_BASIS,
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
