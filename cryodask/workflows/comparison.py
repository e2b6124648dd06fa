"""Evaluations side by side: other picks, earlier runs, and the submissions of the SHREC 2021 paper."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cryodask.errors import DataError
from cryodask.io.text_files import read_text
from cryodask.kernels.scoring_ratios import GROUPS, localization_ratios, mean
from cryodask.model.shrec21_paper import CLASSES, MISPRINTS, RECALL_BASE, SUBMISSIONS, TIMES
from cryodask.model.shrec21_table1 import TABLE_1

PAPER = "paper"
"""What stands for the paper's submissions where picks and runs are named."""

PAPER_NOTE = (
    "rows of the paper count as mode shrec21 on the paper's own test tomogram: they are comparable with an evaluation "
    "in that mode of picks from that tomogram only"
)

RUN_EVALUATION = "evaluation.json"

Row = dict[str, Any]


def paper_rows() -> list[Row]:
    """The paper's eight submissions in the form of ``row_of``: ratios from their counts, misprints set right."""
    return [_paper_row(name) for name in SUBMISSIONS]


def _paper_row(name: str) -> Row:
    own = SUBMISSIONS[name]
    printed = own.localization
    ratios = localization_ratios(printed.TP, RECALL_BASE, printed.RR)
    f1 = dict(zip(CLASSES, own.class_f1, strict=True))
    localization = {key: getattr(printed, key) for key in ("RR", "TP", "FP", "FN", "MH", "AD")}
    localization |= {key: value for (method, key), value in MISPRINTS.items() if method == name and key in localization}
    localization |= {
        "recall": ratios.recall,
        "precision": ratios.precision,
        "miss_rate": ratios.miss_rate,
        "F1": ratios.f1,
    }
    return {
        "name": name,
        "source": "SHREC 2021 paper",
        "mode": "shrec21",
        "localization": localization,
        "f1": f1,
        "macro_f1": mean(f1[protein] for protein in TABLE_1),
        "groups": dict(zip(GROUPS, own.group_f1, strict=True)),
        "time": dict(zip(("training", "inference"), TIMES[name], strict=True)),
    }


def row_of(name: str, source: str, evaluation: Mapping[str, Any]) -> Row:
    """What a comparison shows of an evaluation: its counts, and the F1 of classes and groups."""
    classification = evaluation["classification"]
    return {
        "name": name,
        "source": source,
        "mode": evaluation["mode"],
        "localization": dict(evaluation["localization"]),
        "f1": dict(classification["f1"]),
        "macro_f1": classification["macro_f1"],
        "groups": dict(classification["groups"]),
    }


def stored_row(path: Path, mode: str) -> Row | None:
    """Row of an evaluation that was written before, None if ``path`` is something else.

    Parameters
    ----------
    path
        What ``--json`` wrote, or a folder of ``benchmark``.
    mode
        The mode that is wanted; DataError if the file holds others only, or is damaged.
    """
    file = path / RUN_EVALUATION if path.is_dir() else path
    if file.suffix.lower() != ".json" or not file.is_file():
        return None
    try:
        held = json.loads(read_text(file))
    except ValueError as error:
        raise DataError(f"{file} is no JSON file: {error}") from None
    found = list(_evaluations(held))
    if not found:
        return None  # picks of copick, or nothing that anybody knows, as their reader will say
    wanted = [evaluation for evaluation in found if evaluation["mode"] == mode]
    if not wanted:
        modes = ", ".join(str(evaluation["mode"]) for evaluation in found)
        raise DataError(f"{file} holds an evaluation in mode {modes}, not in mode {mode}: compare in the same mode")
    try:
        return row_of(path.stem, str(path), wanted[0])
    except (KeyError, TypeError) as error:
        raise DataError(f"{file} is no evaluation of this version of cryodask: it lacks {error}") from None


def _evaluations(held: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401  (whatever JSON holds)
    """The evaluations in a file: one, or one a mode."""
    candidates = [held, *held.values()] if isinstance(held, dict) else []
    for own in candidates:
        if isinstance(own, dict) and {"mode", "localization", "classification"} <= set(own):
            yield own
