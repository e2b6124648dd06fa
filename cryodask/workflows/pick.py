"""``pick``: any picker over the tomograms of a data set or file, its tasks on the cluster."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed
from distributed import Client

from cryodask.errors import ConfigError, PluginError
from cryodask.io.pick_files import write_star
from cryodask.io.store import Store
from cryodask.model.particles import Particles, concatenate
from cryodask.model.progress import Progress
from cryodask.ops.templates import SearchFilter
from cryodask.params.loader import to_dict
from cryodask.params.schema import MatchingParameters, PickingParameters
from cryodask.params.tokens import token
from cryodask.pickers.protocol import Picker, Picks, PickTarget, PickTemplate, ScoreMaps
from cryodask.workflows import layout
from cryodask.workflows.execution import execute
from cryodask.workflows.match import MatchJob, match
from cryodask.workflows.picks_folder import JOB_FILE, PICKS_FILE, PICKS_KIND, common_frame, make_folder, write_json
from cryodask.workflows.search_inputs import NamedTemplate, SearchInput
from cryodask.workflows.search_masks import with_hands

_NO_PICKS_Z = 1000.0


@dataclass(frozen=True, kw_only=True)
class PickJob:
    """What is picked where, and how."""

    picker: Picker
    tomograms: tuple[SearchInput, ...]
    templates: tuple[NamedTemplate, ...]
    picking: PickingParameters
    matching: MatchingParameters
    dark: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class PickResult:
    """Picks of all tomograms in the picker's order, further columns of them, and the record of the run (job.json)."""

    picks: Particles
    columns: Mapping[str, npt.NDArray[Any]]
    record: dict[str, Any]
    notices: tuple[str, ...] = ()


def pick(
    maps: Store, job: PickJob, *, client: Client | None, progress: Progress, overwrite: bool = False
) -> PickResult:
    """Run the picker on every tomogram; what it keeps in ``maps`` serves an interrupted run when it goes on."""
    maps.create()
    if job.picker.needs_templates and not job.templates:
        raise ConfigError(f"the picker {job.picker.name} needs templates: give --structures or --templates")
    started = time.perf_counter()
    bench = Bench(maps, job, client, progress, overwrite)
    parts: list[Picks] = []
    seconds: dict[str, float] = {}
    for tomogram in job.tomograms:
        begun = time.perf_counter()
        parts.append(_checked(job.picker, job.picker.pick(target_of(tomogram, dark=job.dark), bench), tomogram))
        seconds[tomogram.name] = time.perf_counter() - begun
    record = {
        "picker": job.picker.name,
        "templates": [template.class_id for template in bench.templates],
        "tomograms": {t.name: dict(part.record) for t, part in zip(job.tomograms, parts, strict=True)},
        "parameters": {"picking": to_dict(job.picking), "matching": to_dict(job.matching)},
        "picks": sum(len(part.particles) for part in parts),
        "seconds": time.perf_counter() - started,
        "seconds_by_tomogram": seconds,
        "seconds_by_stage": bench.seconds,
    }
    return PickResult(
        picks=concatenate([part.particles for part in parts]),
        columns=_joined_columns(parts),
        record=record,
        notices=tuple(line for part in parts for line in part.notices),
    )


def write_result(folder: Path, job: PickJob, result: PickResult) -> None:
    """picks.star in the picker's order and job.json; each file appears complete under its name."""
    shape, voxel = common_frame(job.tomograms)
    make_folder(folder)
    write_star(
        folder / PICKS_FILE,
        result.picks,
        shape=shape,
        voxel_size_angstrom=voxel,
        columns=result.columns,
        keep_order=True,
    )
    write_json(folder / JOB_FILE, result.record)


def store_result(store: Store, job: PickJob, result: PickResult) -> None:
    """Add the picks to the data set they were found in, under the picker's name; those of an earlier run go."""
    record = {key: value for key, value in result.record.items() if not key.startswith("seconds")}
    for tomogram in job.tomograms:
        mine = np.asarray(result.picks.tomogram == tomogram.name, dtype=bool)
        dataset = result.picks.take(mine).to_dataset()
        extra = {name: ("particle", _storable(values[mine])) for name, values in result.columns.items()}
        store.write_table(
            layout.picks_group(tomogram.name, job.picker.name),
            dataset.assign(extra),
            kind=PICKS_KIND,
            token=token({"tomogram": tomogram.token, "record": record}),
            parameters=record,
            overwrite=True,
        )


def target_of(tomogram: SearchInput, *, dark: bool) -> PickTarget:
    """A tomogram as pickers see it; with known optics these say which contrast particles have."""
    return PickTarget(
        name=tomogram.name,
        image=tomogram.image,
        voxel_size_angstrom=tomogram.voxel_size_angstrom,
        tilt_deg=tomogram.tilt_deg,
        optics=tomogram.optics,
        dark=dark,
        token=tomogram.token,
    )


def with_other_hand(templates: Sequence[NamedTemplate]) -> list[PickTemplate]:
    """Every template and its mirror image, which stand for one class."""
    return [
        PickTemplate(class_id=template.source.template_id, source=each.source, token=each.token)
        for template in templates
        for each in with_hands([template], "both")
    ]


class Bench:
    """The workbench that a picker is given: one store, one cluster, and the template search."""

    def __init__(self, maps: Store, job: PickJob, client: Client | None, progress: Progress, overwrite: bool) -> None:
        self.store, self.picking, self.matching = maps, job.picking, job.matching
        self.seconds: dict[str, float] = {}
        self._job, self._client, self._progress, self._overwrite = job, client, progress, overwrite
        if job.picking.both_hands:
            self.templates: Sequence[PickTemplate] = with_other_hand(job.templates)
        else:
            self.templates = [
                PickTemplate(class_id=t.source.template_id, source=t.source, token=t.token) for t in job.templates
            ]

    def run(self, tasks: Sequence[Delayed], stage: str) -> list[Any]:
        started = time.perf_counter()
        results = execute(tasks, client=self._client, progress=self._progress, stage=stage)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
        return results

    def score_maps(self, target: PickTarget, parameters: MatchingParameters) -> Mapping[str, ScoreMaps]:
        tomogram = next(t for t in self._job.tomograms if t.name == target.name)
        search = MatchJob(
            tomograms=(tomogram,),
            templates=tuple(NamedTemplate(source=t.source, token=t.token) for t in self.templates),
            # Maps only: no score reaches this, so that no time goes into the search's own picks.
            parameters=replace(parameters, threshold_z=_NO_PICKS_Z, max_picks=1),
            dark=target.dark,
        )
        started = time.perf_counter()
        found = match(self.store, search, client=self._client, progress=self._progress, overwrite=self._overwrite)
        stage = f"{target.name} search"
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
        filtered = self.store.source(layout.search_group(target.name), "image")
        gains = self.store.info(layout.search_group(target.name))["whitening"]
        search_filter = SearchFilter(
            voxel_size_angstrom=target.voxel_size_angstrom,
            low_pass_angstrom=parameters.low_pass_angstrom,
            tilt_deg=target.tilt_deg,
            dark=target.dark,
            optics=target.optics,
            whitening=None if gains is None else (tuple(gains[0]), tuple(gains[1])),
        )
        maps = {}
        for template in self.templates:
            name = template.source.template_id
            group = layout.scores_group(target.name, name)
            maps[name] = ScoreMaps(
                score=self.store.source(group, "score"),
                rotation_id=self.store.source(group, "rotation_id"),
                matrices=found.rotations[target.name, name],
                filtered=filtered,
                search=search_filter,
                approximate=found.record["engines"][name]["engine"] == "low-rank",
            )
        return maps


def _checked(picker: Picker, picks: object, tomogram: SearchInput) -> Picks:
    """What a picker gave back, if it is what the protocol asks for: another package's may not be."""
    if not isinstance(picks, Picks):
        raise PluginError(f"the picker {picker.name} gave {type(picks).__name__} for {tomogram.name}, not Picks")
    short = [name for name, values in picks.columns.items() if np.shape(values) != (len(picks.particles),)]
    if short:
        raise PluginError(f"the picker {picker.name} gave columns of another length: {', '.join(short)}")
    return picks


def _joined_columns(parts: Sequence[Picks]) -> dict[str, npt.NDArray[Any]]:
    """Columns of all tomograms; where a tomogram lacks one, numbers are NaN and words are 'none'."""
    names = dict.fromkeys(name for part in parts for name in part.columns)
    joined = {}
    for name in names:
        numeric = all(part.columns[name].dtype.kind in "biuf" for part in parts if name in part.columns)
        missing: Any = np.nan if numeric else "none"
        joined[name] = np.concatenate(
            [
                part.columns.get(name, np.full(len(part.particles), missing, None if numeric else object))
                for part in parts
            ]
        )
    return joined


def _storable(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values if values.dtype.kind in "biuf" else values.astype(np.dtypes.StringDType())
