"""``match``: score maps of every template over every tomogram, and the picks that come of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from dask.delayed import Delayed, delayed
from distributed import Client

from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.io.store_spec import SCHEMA_VERSION
from cryodask.kernels.rotations import coverage
from cryodask.model.particles import Particles
from cryodask.model.progress import Progress
from cryodask.ops import matching as ops
from cryodask.ops import picking
from cryodask.ops.low_rank import rescored_peaks, search_low_rank
from cryodask.ops.search_region import no_scores, searched_tiles
from cryodask.ops.templates import SearchFilter, fine_template, template_settings
from cryodask.params.loader import to_dict
from cryodask.params.schema import MatchingParameters
from cryodask.params.tokens import token
from cryodask.workflows import layout
from cryodask.workflows.banks import read_bank
from cryodask.workflows.engines import Engines, Matrices
from cryodask.workflows.execution import execute
from cryodask.workflows.search_inputs import NamedTemplate, SearchInput


@dataclass(frozen=True, kw_only=True)
class MatchJob:
    """What is searched for, where, and how."""

    tomograms: tuple[SearchInput, ...]
    templates: tuple[NamedTemplate, ...]
    parameters: MatchingParameters
    dark: bool = True
    matrices: Matrices | None = None
    """(n, 3, 3) a user's own rotations, in place of those of the angular step."""


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
    search = _Search(maps, job, overwrite)
    parts, thresholds = [], {}
    for tomogram in job.tomograms:
        search.make_maps(tomogram, client, progress)
        picks, statistics = search.pick(tomogram, client, progress)
        parts.append(picks)
        thresholds[tomogram.name] = statistics
    engines = search.engines
    names = [template.source.template_id for template in job.templates]
    listed, made = engines.widest_list(), engines.records(maps)
    covering = coverage(listed)
    record = {
        "engine": "+".join(sorted({each["engine"] for each in made.values()})),
        "engines": made,
        "K": {name: each["components"] for name, each in made.items() if "components" in each},
        "tolerance": job.parameters.tolerance,
        "templates": names,
        "tomograms": [t.name for t in job.tomograms],
        "rotations": len(listed),
        "rotations_by_template": {name: engines.count(name) for name in names},
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
        (tomogram.name, name): engines.rotations_in(tomogram, name) for tomogram in job.tomograms for name in names
    }
    return MatchResult(picks=picking.joined(parts), record=record, rotations=rotations)


class _Search:
    """One search: the same rotations, templates and parameters on every tomogram."""

    def __init__(self, maps: Store, job: MatchJob, overwrite: bool) -> None:
        self.maps, self.job, self.overwrite = maps, job, overwrite
        self.engines = Engines(job.templates, job.tomograms[0], job.parameters, job.matrices)
        self.filters: dict[str, SearchFilter] = {}
        self.seconds: dict[str, float] = {}

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def make_maps(self, tomogram: SearchInput, client: Client | None, progress: Progress) -> None:
        """Filtered tomogram, then the score and rotation map of every template."""
        with self._timed("filter"):
            search = self.filters[tomogram.name] = self._filtered(tomogram, client, progress)
        with self._timed("low-rank bases"):
            self.engines.make_banks(self.maps, search, f"{tomogram.name} low-rank bases", client, progress)
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
                    chunks=tuple(min(n, ops.CHUNK_VOXELS) for n in tomogram.shape),
                ),
            ),
        )
        search = SearchFilter(
            voxel_size_angstrom=tomogram.voxel_size_angstrom,
            low_pass_angstrom=self.job.parameters.low_pass_angstrom,
            tilt_deg=tomogram.tilt_deg,
            dark=self.job.dark,
            optics=tomogram.optics,
            phase_flipped=tomogram.phase_flipped,
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
            **self.engines.record(template, tomogram),
        }
        if template.mask_token:
            record["mask"] = template.mask_token
        if tomogram.searched is not None:
            record["searched"] = tomogram.searched_token
        shape = tomogram.shape
        parts = ops.tiles(shape, record["tile_voxels"])
        chunks = tuple(min(n, ops.CHUNK_VOXELS) for n in shape)
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
        if self.engines.is_low_rank(template.source.template_id):
            banks = delayed(read_bank, pure=False)(self.maps, self.engines.bank_token(template, search))
            find = partial(self._low_rank_result, banks=banks)
        else:
            find = partial(
                self._exact_result, matrices=self.engines.rotations_in(tomogram, template.source.template_id)
            )
        inside = searched_tiles(tomogram.searched, parts)
        tasks = []
        for block in pending:
            tile = parts[block]
            if inside[block]:
                prepared = delayed(ops.prepare_tile, pure=False)(filtered, tile, fine, tomogram.searched)
                core = delayed(ops.core_of, pure=False)(find(prepared, fine=fine), tile, filtered.shape, fine)
            else:
                core = delayed(no_scores, pure=False)(tile)
            tasks.append(delayed(_write_scores, pure=False)(self.maps, group, block, tile, core))
        return tasks

    def _low_rank_result(self, prepared: Delayed, *, fine: Delayed, banks: Delayed) -> Delayed:
        del fine
        found: Delayed = delayed(search_low_rank, pure=False)(prepared, banks)
        return found

    def _exact_result(self, prepared: Delayed, *, fine: Delayed, matrices: Matrices) -> Delayed:
        """A tree of batches of rotations."""
        ranges = ops.batches(len(matrices), self.job.parameters.rotations_per_task)
        results = [
            delayed(ops.search_batch, pure=False)(prepared, fine, matrices[first:last], first) for first, last in ranges
        ]
        while len(results) > 1:
            pairs = [results[i : i + 2] for i in range(0, len(results), 2)]
            results = [delayed(ops.merge, pure=False)(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
        merged: Delayed = results[0]
        return merged

    def pick(
        self, tomogram: SearchInput, client: Client | None, progress: Progress
    ) -> tuple[Particles, dict[str, dict[str, float]]]:
        """Peaks of every template, decided between by z-score; and each map's median and deviation."""
        tasks = [self._peaks_task(tomogram, template) for template in self.job.templates]
        with self._timed("peaks"):
            peaks = execute(tasks, client=client, progress=progress, stage=f"{tomogram.name} peaks")
        candidates = [
            picking.Candidates(
                class_id=template.source.template_id,
                radius_angstrom=template.source.radius_angstrom,
                peaks=found,
                matrices=self.engines.rotations_in(tomogram, template.source.template_id),
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

    def _peaks_task(self, tomogram: SearchInput, template: NamedTemplate) -> Delayed:
        name, parameters = template.source.template_id, self.job.parameters
        group = layout.scores_group(tomogram.name, name)
        maps = self.maps.source(group, "score"), self.maps.source(group, "rotation_id")
        limits = (
            template.source.radius_angstrom / tomogram.voxel_size_angstrom,
            parameters.max_picks,
            parameters.threshold_z,
            parameters.false_positives,
            parameters.refine,
        )
        task: Delayed
        if not self.engines.is_low_rank(name):
            task = delayed(ops.peaks_of, pure=False)(*maps, *limits)
            return task
        filtered = self.maps.source(layout.search_group(tomogram.name), "image")
        fine = delayed(fine_template, pure=False)(template.source, self.filters[tomogram.name])
        matrices = self.engines.rotations_in(tomogram, name)
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
