"""The report of a benchmark: one HTML file with the numbers, the pictures and how they came to be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from cryodask._version import __version__
from cryodask.io.atomic import replacing
from cryodask.io.store import Store
from cryodask.kernels.scoring_ratios import GROUPS, MEDIUM_KDA
from cryodask.model.evaluation import BACKGROUND
from cryodask.model.particles import Particles
from cryodask.workflows.report_evaluation import evaluation_pictures
from cryodask.workflows.report_figures import confusion_matrix
from cryodask.workflows.report_images import images_of_store
from cryodask.workflows.report_numbers import (
    comparison_head,
    comparison_rows,
    duration_text,
    mass_text,
    number_text,
    pick_rows,
    ratio_text,
    tomogram_rows,
)
from cryodask.workflows.report_slices import TomogramImage, gallery
from cryodask.workflows.report_structures import structure_table
from cryodask.workflows.report_tomograms import TomogramSection, tomogram_sections

SHOWN_TOMOGRAMS = 4
"""Tomograms that get pictures; the numbers are always those of all."""

LOCALIZATION_COLUMNS: Mapping[str, str] = {
    "RR": "picks submitted",
    "TP": "true particles found",
    "FP": "picks on no particle",
    "FN": "true particles missed",
    "MH": "true particles with more than one pick",
    "AD": "mean distance of a pick to the centre of its particle, in voxels",
    "recall": "share of the true particles that were found",
    "precision": "share of the picks that found a particle",
    "miss_rate": "share of the true particles that were missed",
    "F1": "harmonic mean of recall and precision",
}
_COUNTS = ("RR", "TP", "FP", "FN", "MH")

Values = Mapping[str, Any]


def write_report(
    path: Path,
    *,
    data: Store,
    picks: Particles,
    evaluations: Mapping[str, Mapping[str, Any]],
    run: Mapping[str, Any],
) -> None:
    """Write the report to ``path``: a page that needs no other file, complete under its name or not there at all.

    Parameters
    ----------
    path
        The HTML file; one that is there is replaced.
    data
        Data set with any of tomograms, truth and tilt series; what it lacks is left out of the report.
    picks
        Picks of all tomograms.
    evaluations
        Evaluation of the picks by mode (see ``ops.evaluation_result.finalise``); may be empty.
    run
        What is known of the run, each key optional: ``command``, ``preset``, ``seed``, ``parameters`` (nested),
        ``structures`` (list with id, name, source, molecular_weight_kda), ``snr`` (tomogram to value), ``match``
        (record of the search), ``seconds`` (stage to seconds), ``versions``, and sizes ending in ``_bytes_per_worker``.

    Raises DataError if the file cannot be written, StoreError if the data set is damaged.
    """
    write_page(path, render_report(data=data, picks=picks, evaluations=evaluations, run=run))


def write_page(path: Path, page: str) -> None:
    """A page under its name, whole; DataError if it cannot be written."""
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")


def render_report(*, data: Store, picks: Particles, evaluations: Mapping[str, Values], run: Values) -> str:
    """The page as text; arguments as for ``write_report``."""
    sections, n_tomograms = tomogram_sections(data, picks, SHOWN_TOMOGRAMS)
    wanted = {own["tomogram"] for e in evaluations.values() for kind in e.get("examples", {}).values() for own in kind}
    return render_page(
        title="cryodask benchmark" + (f": {run['preset']}" if run.get("preset") else ""),
        sections=sections,
        n_tomograms=n_tomograms,
        images=images_of_store(data, sorted(wanted)),
        structures=structure_table(data, [str(entry["id"]) for entry in run.get("structures") or () if "id" in entry]),
        n_picks=len(picks),
        evaluations=evaluations,
        run=run,
    )


def render_page(
    *,
    title: str,
    sections: Sequence[TomogramSection],
    n_tomograms: int,
    images: Mapping[str, TomogramImage],
    n_picks: int,
    evaluations: Mapping[str, Values],
    run: Values,
    structures: Values | None = None,
) -> str:
    """The page from its parts: ``sections`` of ``n_tomograms`` tomograms, ``images`` that galleries are cut from."""
    main = "strict" if "strict" in evaluations else next(iter(evaluations), None)
    known = _structures(run)
    weights = {own: entry.get("molecular_weight_kda") for own, entry in known.items()}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"ratio": ratio_text, "number": number_text, "mass": mass_text, "duration": duration_text}
    template = environment.from_string(files(__package__).joinpath("report_template.html.j2").read_text("utf-8"))
    return template.render(
        version=__version__,
        title=title,
        run=run,
        main_mode=main,
        summary=_summary(evaluations.get(main or "", {}), n_picks, run),
        localization_columns=LOCALIZATION_COLUMNS,
        localization=list(_localization_rows(evaluations)),
        modes=list(evaluations),
        classes=_class_rows(evaluations, known),
        structures=structures,
        means=list(_mean_rows(evaluations)),
        confusion=_confusion(evaluations[main], weights) if main else None,
        pictures=evaluation_pictures(evaluations[main], weights) if main and evaluations[main] else [],
        comparison=comparison_rows(evaluations[main]) if main and evaluations[main] else [],
        comparison_head=comparison_head(evaluations[main]) if main and evaluations[main] else [],
        tomograms=tomogram_rows(evaluations[main]) if main and evaluations[main] else None,
        picks=pick_rows(evaluations[main]) if main and evaluations[main] else [],
        galleries=_galleries(evaluations.get(main or "", {}), images),
        notes=[(mode, note) for mode, evaluation in evaluations.items() for note in evaluation.get("notes") or ()],
        sections=sections,
        n_tomograms=n_tomograms,
        snr=run.get("snr") or {},
        stages=_stages(run),
        tables=list(_tables(run)),
    )


# -- what the page is made of --------------------------------------------------------------------------------------


def _structures(run: Values) -> dict[str, Values]:
    """Structures by class in lower case, as classes are compared."""
    return {str(entry["id"]).casefold(): entry for entry in run.get("structures") or () if "id" in entry}


def _summary(evaluation: Values, n_picks: int, run: Values) -> dict[str, Any]:
    classification = evaluation.get("classification") or {}
    labels, confusion = classification.get("labels") or [], classification.get("confusion") or []
    snr = [value for value in (run.get("snr") or {}).values() if value is not None]
    total = _stages(run)["total"]
    return {
        "n_tomograms": evaluation.get("n_tomograms"),
        "n_particles": sum(map(sum, confusion[1:])) if confusion else None,
        "n_classes": sum(1 for row in confusion[1:] if sum(row)) if labels else None,
        "n_picks": n_picks,
        "f1": (evaluation.get("localization") or {}).get("F1"),
        "macro_f1": classification.get("macro_f1"),
        "ceiling_f1": ((evaluation.get("ceiling") or {}).get("localization") or {}).get("F1"),
        "snr": sum(snr) / len(snr) if snr else None,
        "seconds": total,
    }


def _localization_rows(evaluations: Mapping[str, Values]) -> Iterator[dict[str, Any]]:
    """For every mode the picks and, as the best that can be reached, the truth evaluated against itself."""
    for mode, evaluation in evaluations.items():
        ceiling = (evaluation.get("ceiling") or {}).get("localization")
        for what, own in (("picks", evaluation.get("localization")), ("ceiling", ceiling)):
            if own:
                values = {name: own.get(name) for name in LOCALIZATION_COLUMNS}
                texts = {n: number_text(v) if n in _COUNTS else ratio_text(v) for n, v in values.items()}
                yield {"mode": mode, "what": what, "values": values, "texts": texts}


def _class_rows(evaluations: Mapping[str, Values], structures: Mapping[str, Values]) -> list[dict[str, Any]]:
    """One row a class, lightest first: what it is, how many there are, and its F1 in every mode."""
    counts: dict[str, int] = {}
    for evaluation in evaluations.values():
        classification = evaluation.get("classification") or {}
        labels, confusion = classification.get("labels") or (), classification.get("confusion") or ()
        for label, row in zip(labels, confusion, strict=False):
            if label != BACKGROUND:
                counts[label] = max(sum(row), counts.get(label, 0))
    known = {label.casefold() for label in counts}
    names = [*counts, *(str(entry["id"]) for own, entry in structures.items() if own not in known)]
    rows = []
    for name in names:
        entry = structures.get(name.casefold(), {})
        f1 = {mode: (e.get("classification") or {}).get("f1", {}).get(name) for mode, e in evaluations.items()}
        weight = entry.get("molecular_weight_kda")
        rows.append(
            {
                "id": name,
                "name": entry.get("name") or "",
                "source": entry.get("source") or "",
                "weight": weight,
                "count": counts.get(name),
                "f1": f1,
            }
        )
    return sorted(rows, key=lambda row: _by_weight(row["weight"], row["id"]))


def _by_weight(weight_kda: float | None, name: str) -> tuple[bool, float, str]:
    """Sorting key: lightest first, classes without a known weight last."""
    return weight_kda is None, weight_kda or 0.0, name


def _mean_rows(evaluations: Mapping[str, Values]) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Mean F1 of the groups of proteins and of all, by mode."""
    low, high = (f"{limit:g} kDa" for limit in MEDIUM_KDA)
    ranges = dict(zip(GROUPS, (f"below {low}", f"{low} to {high}", f"above {high}"), strict=True))
    by_mode = {mode: evaluation.get("classification") or {} for mode, evaluation in evaluations.items()}
    for group in GROUPS:
        values = {mode: (own.get("groups") or {}).get(group) for mode, own in by_mode.items()}
        if any(value is not None for value in values.values()):
            yield f"mean of the {group} proteins ({ranges[group]})", values
    if by_mode:
        yield "mean of all proteins (macro F1)", {mode: own.get("macro_f1") for mode, own in by_mode.items()}


def _confusion(evaluation: Values, weights: Mapping[str, float | None]) -> str | None:
    """Figure of the confusion matrix, lightest class first, background last, without classes that never occur."""
    classification = evaluation.get("classification") or {}
    labels, table = classification.get("labels"), classification.get("confusion")
    if not labels or not table or len(labels) < 2:
        return None
    used = [i for i in range(1, len(labels)) if any(table[i]) or any(row[i] for row in table)]
    used.sort(key=lambda i: _by_weight(weights.get(labels[i].casefold()), labels[i]))
    order = [*used, 0]
    names = [labels[i] for i in order]
    right, total = sum(table[i][i] for i in used), sum(sum(table[i]) for i in used)
    alt = f"Confusion matrix of {len(used)} classes: {right} of {total} true particles found with the right class"
    return confusion_matrix([[table[i][j] for j in order] for i in order], names, alt)


def _galleries(evaluation: Values, images: Mapping[str, TomogramImage]) -> list[tuple[str, list[str]]]:
    """Titles and crops of the foremost false positives and misses that have an image."""
    examples = evaluation.get("examples") or {}
    named = (
        ("False positives with the best scores", "False positive", examples.get("false_positives") or ()),
        ("Missed particles, heaviest first", "Missed particle", examples.get("misses") or ()),
    )
    found = [(title, gallery(word, own, images)) for title, word, own in named]
    return [(title, items) for title, items in found if items]


def _stages(run: Values) -> dict[str, Any]:
    """Stages with seconds and share of the total, in the order in which they ran."""
    seconds = {name: value for name, value in (run.get("seconds") or {}).items() if value is not None}
    total = seconds.pop("total", None) or (sum(seconds.values()) if seconds else None)
    rows = [(name, value, value / total if total else 0.0) for name, value in seconds.items()]
    return {"rows": rows, "total": total}


def _tables(run: Values) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Titles and rows of the tables that are closed at first."""
    general = {key: run.get(key) for key in ("preset", "seed") if run.get(key) is not None}
    for key, value in run.items():
        if key.endswith("_bytes_per_worker") and value is not None:
            general[key.removesuffix("_bytes_per_worker").replace("_", " ") + " per worker"] = (
                f"{value / 2**30:.2f} GiB"
            )
    for title, values in (
        ("Run", general),
        ("Parameters", run.get("parameters")),
        ("Search", run.get("match")),
        ("Versions", run.get("versions")),
    ):
        if values:
            yield title, list(_flat(values))


def _flat(values: Values, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values of a nested record."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield f"{prefix}{key}", ", ".join(v if isinstance(v, str) else json.dumps(v) for v in value)
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
