"""What a report shows of an evaluation beyond its tables: the paper's figures and those that explain the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cryodask.model.evaluation import NON_PROTEIN_CLASSES
from cryodask.workflows import report_plots as plots
from cryodask.workflows.report_markup import Picture
from cryodask.workflows.report_plots import Series

OWN_NAME = "these picks"

Values = Mapping[str, Any]


def evaluation_pictures(evaluation: Values, weights_kda: Mapping[str, float | None]) -> list[Picture]:
    """Figures of one evaluation and of what it is compared with; those that there are no numbers for are left out.

    ``weights_kda`` has the molecular weight of classes by their name in lower case.
    """
    methods = _methods(evaluation)
    makers = (_cumulative, _against_weight, _precision_recall, _distances, _orientation, _intervals, _conditions)
    return [picture for make in makers for picture in make(evaluation, methods, weights_kda)]


def _methods(evaluation: Values) -> dict[str, Values]:
    """F1 of classes by name in lower case, of these picks first."""
    rows = {OWN_NAME: evaluation["classification"]["f1"]}
    for row in evaluation.get("comparison") or ():
        name, number = row["name"], 2
        while name in rows:
            name, number = f"{row['name']} ({number})", number + 1
        rows[name] = row["f1"]
    return {name: {key.casefold(): value for key, value in f1.items()} for name, f1 in rows.items()}


def _ordered(names: Sequence[str], weights_kda: Mapping[str, float | None]) -> list[str]:
    """Lightest first; classes without a known weight, which are no proteins, last."""

    def key(name: str) -> tuple[bool, float, str]:
        weight = weights_kda.get(name.casefold())
        return weight is None, weight or 0.0, name

    return sorted(names, key=key)


def _cumulative(
    evaluation: Values, methods: Mapping[str, Values], weights_kda: Mapping[str, float | None]
) -> Iterator[Picture]:
    own = evaluation["classification"]["f1"]
    classes = _ordered([name for name, value in own.items() if value is not None], weights_kda)
    if not classes:
        return
    shown = {name: {key: f1.get(key.casefold()) for key in classes} for name, f1 in methods.items()}
    totals = ", ".join(f"{name} {sum(v or 0.0 for v in f1.values()):.3f}" for name, f1 in shown.items())
    others = " Classes that another method was not scored on count as 0 there." if len(methods) > 1 else ""
    yield Picture(
        markup=plots.cumulative_f1(shown, classes, f"Cumulative F1 over {len(classes)} classes: {totals}"),
        caption=f"Cumulative F1: the F1 of all classes of this truth in a row, lightest class first.{others}",
    )


def _against_weight(
    evaluation: Values, methods: Mapping[str, Values], weights_kda: Mapping[str, float | None]
) -> Iterator[Picture]:
    proteins = [name for name in evaluation["classification"]["f1"] if name.casefold() not in NON_PROTEIN_CLASSES]
    weights = {name: weight for name in proteins if (weight := weights_kda.get(name.casefold())) is not None}
    series = []
    for method, f1 in methods.items():
        points = [(w, f1[name.casefold()]) for name, w in weights.items() if f1.get(name.casefold()) is not None]
        if points:
            series.append(Series(name=method, x=[w for w, _ in points], y=[value for _, value in points]))
    if not series or series[0].name != OWN_NAME:
        return
    words = _correlation_words(evaluation["weight_correlation"])
    labels = {weight: name for name, weight in weights.items()}
    yield Picture(
        markup=plots.f1_against_weight(series, labels, f"F1 of {len(weights)} proteins by molecular weight. {words}"),
        caption=f"F1 of the proteins by molecular weight. {words}",
    )


def _correlation_words(own: Values) -> str:
    names = {"pearson": "Pearson", "pearson_log": "Pearson with the logarithm of the weight", "spearman": "Spearman"}
    known = [
        f"{text} {value['coefficient']:.2f} (95 % interval {value['low']:.2f} to {value['high']:.2f})"
        for key, text in names.items()
        if (value := own.get(key)) is not None
    ]
    if not known:
        return "Too few proteins, or equal scores, for a correlation."
    return f"Correlation of these picks: {'; '.join(known)}."


def _precision_recall(evaluation: Values, _: object, __: object) -> Iterator[Picture]:
    curve, found = evaluation["curve"], evaluation["localization"]
    points = [
        Series(name=name, x=[own["recall"]], y=[own["precision"]])
        for name, own in _localizations(evaluation)
        if own["recall"] is not None and own["precision"] is not None
    ]
    if curve is None and len(points) < 2:
        return
    lines, area = [], ""
    if curve is not None and curve["recall"][0] is not None:
        lines = [Series(name="down to each score", x=curve["recall"], y=curve["precision"])]
        area = f" Average precision {curve['average_precision']:.3f}."
    yield Picture(
        markup=plots.precision_recall(
            lines,
            points,
            f"Precision over recall, at the end recall {_three(found['recall'])} and precision "
            f"{_three(found['precision'])}.{area}",
        ),
        caption=f"Precision and recall of the localisation, for the picks down to each score.{area} "
        "Grey lines join equal F1; marks are whole submissions.",
    )


def _localizations(evaluation: Values) -> Iterator[tuple[str, Values]]:
    yield OWN_NAME, evaluation["localization"]
    for row in evaluation.get("comparison") or ():
        yield row["name"], row["localization"]


def _distances(evaluation: Values, _: object, weights_kda: Mapping[str, float | None]) -> Iterator[Picture]:
    own = evaluation["distances"]
    rows = {name: own["histogram"][name] for name in _ordered(list(own["histogram"]), weights_kda)}
    if not any(map(sum, rows.values())):
        return
    words = ", ".join(f"{name} {value:.2f}" for name in rows if (value := own["AD"][name]) is not None)
    yield Picture(
        markup=plots.histogram_by_class(
            rows,
            own["AD"],
            own["bin_voxels"],
            "distance of the pick to the particle's centre (voxels)",
            "mean",
            f"Distances of picks to the centres of their particles by class; means in voxels: {words}",
        ),
        caption="Distance of the picks to the centres of the particles they found (number found in brackets).",
    )


def _orientation(evaluation: Values, _: object, weights_kda: Mapping[str, float | None]) -> Iterator[Picture]:
    own = evaluation["orientation"]
    if own is None:
        return
    rows = {name: own["histogram"][name] for name in _ordered(list(own["histogram"]), weights_kda)}
    words = ", ".join(f"{name} {value:.1f}°" for name in rows if (value := own["median_deg"][name]) is not None)
    yield Picture(
        markup=plots.histogram_by_class(
            rows,
            own["median_deg"],
            own["bin_deg"],
            "misorientation (degrees)",
            "median",
            f"Orientation errors by class; medians: {words}",
        ),
        caption="Orientation error of the particles found with the right class: the angle of the rotation that is "
        "left, the smallest over the point group that the structure is known to have. A structure that only almost "
        "has a symmetry shows a second heap, at its angle.",
    )


def _intervals(evaluation: Values, _: object, __: object) -> Iterator[Picture]:
    own, found = evaluation["intervals"], evaluation["localization"]
    values = {
        "recall": found["recall"],
        "precision": found["precision"],
        "F1": found["F1"],
        "macro_f1": evaluation["classification"]["macro_f1"],
    }
    over = {kind: own[kind] for kind in ("particles", "tomograms") if own[kind] is not None}
    rows = [
        (name.replace("_", " "), value, {kind: table[name] for kind, table in over.items()})
        for name, value in values.items()
        if value is not None
    ]
    if not rows:
        return
    words = "; ".join(
        f"{name} {value:.3f}"
        + "".join(f", {i[0]:.3f} to {i[1]:.3f} over {kind}" for kind, i in by.items() if i is not None)
        for name, value, by in rows
    )
    yield Picture(
        markup=plots.intervals(rows, f"Intervals of {100 * own['level']:.0f} %: {words}"),
        caption=f"Where {100 * own['level']:.0f} % of {own['resamples']} resamplings fall, of particles and picks, and "
        "of whole tomograms, which differ in more than chance.",
    )


def _conditions(evaluation: Values, _: object, __: object) -> Iterator[Picture]:
    labels = {"snr": "signal-to-noise ratio of the proteins", "defocus_um": "defocus (µm)"}
    for key, label in labels.items():
        rows = [r for r in evaluation["tomograms"] if r.get(key) is not None and r["F1"] is not None]
        if len({row[key] for row in rows}) < 2:
            continue
        words = ", ".join(f"{row['name']} {row[key]:.3g}: {row['F1']:.3f}" for row in rows[:10])
        yield Picture(
            markup=plots.by_condition(
                [row[key] for row in rows],
                [row["F1"] for row in rows],
                label,
                f"F1 of {len(rows)} tomograms by {label}: {words}{' ...' if len(rows) > 10 else ''}",
            ),
            caption=f"F1 of the localisation in each tomogram by its {label}.",
        )


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
