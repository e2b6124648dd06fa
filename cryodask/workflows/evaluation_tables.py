"""An evaluation as CSV tables: the numbers of its JSON, one file a table, and nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryodask.io.atomic import replacing
from cryodask.workflows.picks_folder import make_folder

Table = list[list[Any]]

_LOCALIZATION = ("RR", "TP", "FP", "FN", "MH", "AD", "recall", "precision", "miss_rate", "F1")
_CORRELATION = ("coefficient", "low", "high")
_TOMOGRAM = ("name", "RR", "TP", "FP", "FN", "recall", "precision", "F1", "macro_f1", "snr", "defocus_um")


def write_tables(folder: Path, evaluation: Mapping[str, Any]) -> list[Path]:
    """Write ``tables`` of an evaluation as ``folder/NAME.csv``, each complete under its name; returns the files.

    Numbers are as in the JSON, with all their digits; an empty field is a ratio of nothing. Values that would start a
    formula in a spreadsheet are set in quotes.
    """
    make_folder(folder)
    files = []
    for name, rows in tables(evaluation).items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([[_field(value) for value in row] for row in rows])
        files.append(folder / f"{name}.csv")
        with replacing(files[-1]) as partial:
            partial.write_text(text.getvalue(), encoding="utf-8")
    return files


def tables(evaluation: Mapping[str, Any]) -> dict[str, Table]:
    """Tables by name, each with its header; those of which an evaluation has nothing are left out."""
    all_tables: dict[str, Table] = {
        "localization": _localization(evaluation),
        "classes": _classes(evaluation),
        "groups": _groups(evaluation),
        "confusion": _confusion(evaluation["classification"]),
        "picks": _picks(evaluation["picks"]),
        "intervals": _intervals(evaluation["intervals"]),
        "weight_correlation": _correlation(evaluation["weight_correlation"]),
        "tomograms": _tomograms(evaluation["tomograms"]),
        "distances": _histogram("distance_voxels", evaluation["distances"], "bin_voxels"),
        "orientation": _histogram("misorientation_deg", evaluation["orientation"] or {}, "bin_deg"),
        "curve": _curve(evaluation["curve"]),
        "false_positives": _records(evaluation["examples"]["false_positives"]),
        "misses": _records(evaluation["examples"]["misses"]),
        "comparison": _comparison(evaluation.get("comparison") or ()),
        "notes": [["note"], *([note] for note in evaluation["notes"])],
    }
    return {name: rows for name, rows in all_tables.items() if len(rows) > 1}


def _field(value: Any) -> Any:  # noqa: ANN401  (a cell)
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _localization(evaluation: Mapping[str, Any]) -> Table:
    rows = [("picks", evaluation["localization"]), ("ceiling", evaluation["ceiling"]["localization"])]
    return [
        ["evaluated", "mode", "n_tomograms", *_LOCALIZATION],
        *(
            [name, evaluation["mode"], evaluation["n_tomograms"], *(own[key] for key in _LOCALIZATION)]
            for name, own in rows
        ),
    ]


def _classes(evaluation: Mapping[str, Any]) -> Table:
    classification, orientation = evaluation["classification"], evaluation["orientation"] or {}
    labels, confusion = classification["labels"], classification["confusion"]
    f_beta = evaluation.get("f_beta")
    header = ["class", "particles", "F1", "AD", "median_misorientation_deg", *(["F_beta", "weight"] if f_beta else [])]
    rows = []
    for name, f1 in classification["f1"].items():
        row = [name, sum(confusion[labels.index(name)]), f1, evaluation["distances"]["AD"].get(name)]
        row.append(orientation.get("median_deg", {}).get(name))
        rows.append([*row, *([f_beta["class"].get(name), f_beta["weights"].get(name)] if f_beta else [])])
    return [header, *rows]


def _groups(evaluation: Mapping[str, Any]) -> Table:
    own, ceiling = evaluation["classification"], evaluation["ceiling"]
    score = [["f_beta_score", evaluation["f_beta"]["score"]]] if "f_beta" in evaluation else []
    means = [["macro_f1", own["macro_f1"]], ["macro_f1_ceiling", ceiling["macro_f1"]], *score]
    return [["mean", "value"], *([name, value] for name, value in own["groups"].items()), *means]


def _confusion(classification: Mapping[str, Any]) -> Table:
    labels = classification["labels"]
    rows = zip(labels, classification["confusion"], strict=True)
    return [["true \\ picked", *labels], *([name, *row] for name, row in rows)]


def _picks(picks: Mapping[str, Any]) -> Table:
    plain = [[name, value] for name, value in picks.items() if name != "unknown_class"]
    return [["picks", "number"], *plain, *([f"unknown_class {name}", n] for name, n in picks["unknown_class"].items())]


def _intervals(intervals: Mapping[str, Any]) -> Table:
    rows = []
    for over in ("particles", "tomograms"):
        for name, interval in (intervals[over] or {}).items():
            rows.append([over, name, intervals["level"], *(interval or (None, None))])
    return [["resampled", "number", "level", "low", "high"], *rows]


def _correlation(own: Mapping[str, Any]) -> Table:
    rows = [(name, own[name]) for name in ("pearson", "pearson_log", "spearman") if own[name] is not None]
    return [["correlation", *_CORRELATION], *([name, *(value[key] for key in _CORRELATION)] for name, value in rows)]


def _tomograms(tomograms: Sequence[Mapping[str, Any]]) -> Table:
    known = [key for key in _TOMOGRAM if any(key in row for row in tomograms)]
    return [known, *([row.get(key) for key in known] for row in tomograms)]


def _histogram(name: str, own: Mapping[str, Any], width: str) -> Table:
    if not own:
        return []
    histogram = own["histogram"]
    rows = zip(*histogram.values(), strict=True)
    return [[f"{name}_from", *histogram], *([own[width] * k, *row] for k, row in enumerate(rows))]


def _curve(curve: Mapping[str, Any] | None) -> Table:
    if curve is None:
        return []
    names = ("score", "recall", "precision")
    return [list(names), *map(list, zip(*(curve[name] for name in names), strict=True))]


def _records(records: Sequence[Mapping[str, Any]]) -> Table:
    if not records:
        return []
    names = [name for name in records[0] if name != "centred_angstrom"]
    return [names, *([own[name] for name in names] for own in records)]


def _comparison(rows: Sequence[Mapping[str, Any]]) -> Table:
    classes = list(dict.fromkeys(name for row in rows for name in row["f1"]))
    groups = list(dict.fromkeys(name for row in rows for name in row["groups"]))
    return [
        ["name", "source", "mode", *_LOCALIZATION, "macro_f1", *groups, *(f"F1 {name}" for name in classes)],
        *_comparison_rows(rows, groups, classes),
    ]


def _comparison_rows(rows: Sequence[Mapping[str, Any]], groups: list[str], classes: list[str]) -> Iterator[list[Any]]:
    for row in rows:
        found = [row["localization"].get(key) for key in _LOCALIZATION]
        means = [row["macro_f1"], *(row["groups"].get(name) for name in groups)]
        yield [row["name"], row["source"], row["mode"], *found, *means, *(row["f1"].get(name) for name in classes)]
