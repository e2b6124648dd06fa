"""Numbers of an evaluation as a report's tables show them: text for the reader, and the value that is sorted by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]
Cell = tuple[str, Any]
"""What is shown, and what is sorted by ("" for nothing, which stays last)."""


def ratio_text(value: float | None) -> str:
    """Three decimals; a dash for a ratio of nothing."""
    return "–" if value is None else f"{value:.3f}"


def number_text(value: float | None) -> str:
    """Whole numbers as they are, others with three digits that count; a dash for nothing."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def mass_text(value_kda: float | None) -> str:
    """One decimal; a dash where it is not known."""
    return "–" if value_kda is None else f"{value_kda:.1f}"


def duration_text(seconds: float | None) -> str:
    """Such as ``4.2 s``, ``3 min 20 s`` or ``2 h 05 min``; a dash for nothing."""
    if seconds is None:
        return "–"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


# -- rows of tables ------------------------------------------------------------------------------------------------

COMPARED_COUNTS = ("RR", "TP", "FP", "FN", "MH")
COMPARED_RATIOS = ("AD", "recall", "precision", "F1")


def comparison_rows(evaluation: Values) -> list[list[Cell]]:
    """These picks and each row of the comparison: name, counts, ratios, macro F1 and groups; none without others."""
    others = evaluation.get("comparison") or ()
    if not others:
        return []
    own = {"name": "these picks", "source": "", **evaluation, **evaluation["classification"]}
    return [_compared(row) for row in (own, *others)]


def comparison_head(evaluation: Values) -> list[str]:
    """Names of the columns of ``comparison_rows``."""
    groups = evaluation["classification"]["groups"]
    return ["method", "mode", *COMPARED_COUNTS, *COMPARED_RATIOS, "macro F1", *groups, "training", "inference"]


def _compared(row: Values) -> list[Cell]:
    found, groups = row["localization"], row["groups"]
    counts = [cell(number_text(found[key]), found[key]) for key in COMPARED_COUNTS]
    ratios = [*(found[key] for key in COMPARED_RATIOS), row["macro_f1"], *groups.values()]
    return [
        (row["name"], row["name"]),
        (row["mode"], row["mode"]),
        *counts,
        *(cell(ratio_text(value), value) for value in ratios),
        *_times(row),
    ]


def _times(row: Values) -> list[Cell]:
    """Training and inference as their authors state them, in words; nothing for what ran here."""
    stated = row.get("time") or {}
    return [(stated.get(key) or "–", _seconds(stated.get(key) or "")) for key in ("training", "inference")]


def _seconds(words: str) -> int | str:
    """Of such as ``2 h 6 min``; "" for nothing."""
    parts = words.split()
    unit = {"h": 3600, "min": 60}
    return sum(int(n) * unit[name] for n, name in zip(parts[::2], parts[1::2], strict=True)) if parts else ""


def tomogram_rows(evaluation: Values) -> dict[str, Any] | None:
    """Head and rows of the table of tomograms; None for a single one, whose numbers are those of all."""
    rows = evaluation["tomograms"]
    if len(rows) < 2:
        return None
    names = [name for name in rows[0] if name != "name"]
    body = []
    for row in rows:
        texts = [cell(number_text(v) if isinstance(v, int) else ratio_text(v), v) for v in (row[n] for n in names)]
        body.append([(row["name"], row["name"]), *texts])
    words = {"macro_f1": "macro F1", "defocus_um": "defocus (µm)", "snr": "SNR"}
    return {"head": [words.get(name, name) for name in names], "rows": body}


def pick_rows(evaluation: Values) -> list[tuple[str, str]]:
    """What became of the submitted lines, in words and numbers."""
    own = evaluation["picks"]
    words = {
        "submitted": "submitted",
        "clipped": "outside the volume",
        "duplicate": "repeating class and position of an earlier one",
        "further": "on a particle that an earlier one is on",
        "not_evaluated": "of or on classes that are not evaluated",
    }
    plain = [(text, str(own[key])) for key, text in words.items()]
    return plain + [
        (f"of class {name}, which the truth does not have", str(n)) for name, n in own["unknown_class"].items()
    ]


def cell(text: str, value: Any) -> Cell:  # noqa: ANN401  (a number or nothing)
    """A cell that sorts by ``value``."""
    return text, "" if value is None else value
