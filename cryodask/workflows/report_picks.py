"""The report of a picking run: what was found of each class, how sure, how strong, and what it looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.delayed import delayed
from distributed import Client
from jinja2 import Environment, StrictUndefined

from cryodask._version import __version__
from cryodask.kernels.rotations import matrix_from_zxz_deg
from cryodask.model.progress import Progress
from cryodask.ops.subtomograms import aligned_average, middle_sections, middle_slices, reference_slices
from cryodask.workflows.execution import execute
from cryodask.workflows.pick import PickJob, PickResult
from cryodask.workflows.report import write_page
from cryodask.workflows.report_pick_figures import amplitude_figure, gallery_figure, score_figure

LOW_PASS_ANGSTROM = 40.0
SHOWN = 8
"""Picks of a class in its gallery: the best, evenly spread ones between, and the worst."""

MOST_AVERAGED = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassView:
    """Pictures of one class."""

    name: str
    count: int
    averaged: int
    markup: str


def write_pick_report(
    path: Path, job: PickJob, result: PickResult, *, client: Client | None, progress: Progress
) -> None:
    """Write an HTML page that needs no other file; DataError if it cannot be written."""
    views = class_views(job, result, client=client, progress=progress)
    template = files("cryodask.workflows").joinpath("report_picks_template.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    scores = {name: result.picks.score[mine] for name, mine in _rows_by_class(result).items()}
    amplitudes = _column(result, "cryodaskAmplitude")
    posterior = _column(result, "cryodaskPosterior")
    page = environment.from_string(template).render(
        title=f"Picks by {job.picker.name}",
        version=__version__,
        picker=job.picker.name,
        summary=job.picker.summary,
        picks=len(result.picks),
        tomograms=[_tomogram_row(name, record) for name, record in result.record["tomograms"].items()],
        classes=_class_rows(result, posterior, amplitudes),
        scores=score_figure(scores, posterior, result.picks.score),
        amplitudes=None if amplitudes is None else amplitude_figure(_by_class(result, amplitudes)),
        views=views,
        low_pass=LOW_PASS_ANGSTROM,
        notices=result.notices,
    )
    write_page(path, page)


def class_views(job: PickJob, result: PickResult, *, client: Client | None, progress: Progress) -> list[ClassView]:
    """Gallery, average and reference of each class that has a template, from the first tomogram that has it."""
    views = []
    for template in job.templates:
        name = template.source.template_id
        for tomogram in job.tomograms:
            mine = (result.picks.class_id == name) & (result.picks.tomogram == tomogram.name)
            if mine.any():
                break
        else:
            continue
        picks = result.picks.take(np.asarray(mine, dtype=bool))
        places = np.rint(picks.voxels(tomogram.shape, tomogram.voxel_size_angstrom)).astype(np.int64)
        half = int(np.ceil(1.3 * template.source.radius_angstrom / tomogram.voxel_size_angstrom)) + 2
        shown = places[np.unique(np.linspace(0, len(places) - 1, SHOWN).round().astype(int))]
        options: dict[str, Any] = {
            "dark": job.dark,
            "voxel_size_angstrom": tomogram.voxel_size_angstrom,
            "low_pass_angstrom": LOW_PASS_ANGSTROM,
        }
        oriented = np.flatnonzero(np.isfinite(picks.zxz_deg).all(axis=1))[:MOST_AVERAGED]
        matrices = matrix_from_zxz_deg(picks.zxz_deg[oriented]) if len(oriented) else np.zeros((0, 3, 3))
        tasks = [
            delayed(middle_slices, pure=False)(tomogram.image, shown, half, **options),
            delayed(aligned_average, pure=False)(tomogram.image, places[oriented], matrices, half, **options),
            delayed(reference_slices, pure=False)(
                template.source.density,
                template.source.voxel_size_angstrom,
                half,
                tomogram.voxel_size_angstrom,
                LOW_PASS_ANGSTROM,
            ),
        ]
        slices, (average, averaged), reference = execute(
            tasks, client=client, progress=progress, stage=f"pictures of {name}"
        )
        markup = gallery_figure(name, slices, middle_sections(average) if averaged else None, reference)
        views.append(ClassView(name=name, count=len(picks), averaged=averaged, markup=markup))
    return views


def _rows_by_class(result: PickResult) -> dict[str, npt.NDArray[np.bool_]]:
    names = sorted(set(map(str, result.picks.class_id)))
    return {name: np.asarray(result.picks.class_id == name, dtype=bool) for name in names}


def _column(result: PickResult, name: str) -> npt.NDArray[np.float64] | None:
    return None if name not in result.columns else np.asarray(result.columns[name], dtype=np.float64)


def _by_class(result: PickResult, values: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    rows = {name: values[mine] for name, mine in _rows_by_class(result).items()}
    return {name: found[np.isfinite(found)] for name, found in rows.items() if np.isfinite(found).any()}


def _class_rows(
    result: PickResult,
    posterior: npt.NDArray[np.float64] | None,
    amplitude: npt.NDArray[np.float64] | None,
) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for name, mine in _rows_by_class(result).items():
        score = result.picks.score[mine]
        cells = [name, str(int(mine.sum())), f"{np.median(score):.3g}", f"{score.min():.3g}"]
        expected = "" if posterior is None else f"{posterior[mine].sum():.1f}"
        usual = (
            ""
            if amplitude is None or not np.isfinite(amplitude[mine]).any()
            else (f"{np.nanmedian(amplitude[mine]):.2f}")
        )
        rows.append([*cells, expected, usual])
    return rows


def _tomogram_row(name: str, record: Mapping[str, Any]) -> Sequence[str]:
    def cell(key: str, digits: str = ".3g") -> str:
        value = record.get(key)
        return "" if value is None else format(value, digits)

    return [name, cell("amplitude"), cell("estimated_precision"), cell("decoys", "d"), cell("gated", "d")]
