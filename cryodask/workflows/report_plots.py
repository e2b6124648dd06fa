"""Figures of an evaluation's numbers: each function draws one as inline SVG, in one style, without pyplot.

Colours are those of Okabe and Ito, which readers with any colour vision tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from cryodask.workflows.report_markup import as_svg, figure_style

WIDTH_INCH = 6.4

_OWN = "#B34700"
_OTHERS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8A8A00", "#444444", "#7B5EA7", "#A0522D", "#20B2AA")
_MARKERS = "osD^vP*Xhp"
_SMALL = 9

Values = Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A named line or set of points; the first of several is the reader's own and drawn in front."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


_ACROSS = 4
"""Names of classes beside each other in a legend: more do not fit the width."""


def cumulative_f1(methods: Mapping[str, Values], classes: Sequence[str], alt: str) -> str:
    """Figure 9 of the paper: for each method the F1 of all classes (lightest first) as one bar, best method on top."""
    totals = {name: sum(values.get(own) or 0.0 for own in classes) for name, values in methods.items()}
    names = sorted(methods, key=lambda name: totals[name])
    colours = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.95, max(len(classes), 2)))
    with figure_style("cumulative"):
        figure = Figure(
            figsize=(WIDTH_INCH, 1.5 + 0.34 * len(names) + 0.2 * -(-len(classes) // _ACROSS)), layout="constrained"
        )
        axes = figure.add_subplot()
        left = np.zeros(len(names))
        for own, colour in zip(classes, colours, strict=False):
            parts = np.array([methods[name].get(own) or 0.0 for name in names])
            axes.barh(range(len(names)), parts, left=left, color=colour, edgecolor="white", linewidth=0.6, label=own)
            left = left + parts
        for row, name in enumerate(names):
            axes.text(totals[name], row, f" {totals[name]:.3f}", va="center", fontsize=_SMALL)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(0, 1.12 * max(max(totals.values(), default=0.0), 0.1))
        axes.set_xlabel(f"sum of F1 over {len(classes)} classes")
        _plain(axes)
        figure.legend(loc="outside lower center", ncols=_ACROSS, frameon=False, fontsize=8, handlelength=1.0)
        return as_svg(figure, alt)


def f1_against_weight(series: Sequence[Series], names: Mapping[float, str], alt: str) -> str:
    """Figure 10 of the paper: F1 by molecular weight (kDa, logarithmic); ``names`` labels the weights."""
    with figure_style("weight"):
        figure = Figure(figsize=(WIDTH_INCH, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for k in reversed(range(len(series))):
            _line(axes, series[k], k)
        axes.set_xscale("log")
        axes.set_ylim(-0.03, 1.03)
        axes.set(xlabel="molecular weight (kDa)", ylabel="F1")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        _name_weights(axes, names)
        _plain(axes)
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
        return as_svg(figure, alt)


def precision_recall(curves: Sequence[Series], points: Sequence[Series], alt: str) -> str:
    """Precision (y) over recall (x): ``curves`` as lines, ``points`` of one pair each as marks."""
    with figure_style("curve"):
        figure = Figure(figsize=(WIDTH_INCH * 0.8, 4.0), layout="constrained")
        axes = figure.add_subplot()
        for f1 in (0.2, 0.4, 0.6, 0.8):
            recall = np.linspace(f1 / (2 - f1) + 1e-6, 1, 100)
            axes.plot(recall, f1 * recall / (2 * recall - f1), color="#d5dae1", linewidth=0.8, zorder=0)
            axes.text(1.0, f1 / (2 - f1), f" F1 {f1:g}", fontsize=8, color="#566173", va="center")
        for k, own in enumerate(curves):
            axes.plot(own.x, own.y, color=_colour(k), linewidth=1.8, label=own.name)
        for k, own in enumerate(points):
            axes.plot(own.x, own.y, _MARKERS[k % len(_MARKERS)], color=_colour(k), markersize=6, label=own.name)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.005), ylim=(0, 1.03))
        _plain(axes)
        if len(curves) + len(points) > 1:
            figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
        return as_svg(figure, alt)


def histogram_by_class(
    rows: Mapping[str, Sequence[int]], centres: Values, width: float, label: str, centre_name: str, alt: str
) -> str:
    """One line of shades a class: how its values spread over bins of ``width``, with a mark at ``centres``."""
    names = [name for name, row in rows.items() if sum(row)]
    table = np.array([rows[name] for name in names], dtype=np.float64).reshape(len(names), -1)
    last = int(np.max(np.nonzero(table.any(axis=0))[0], initial=3)) + 1
    share = table[:, :last] / np.maximum(table.sum(axis=1, keepdims=True), 1)
    with figure_style("histogram"):
        figure = Figure(figsize=(WIDTH_INCH * 0.8, 1.2 + 0.27 * max(len(names), 2)), layout="constrained")
        axes = figure.add_subplot()
        edges = width * np.arange(last + 1)
        mesh = axes.pcolormesh(edges, np.arange(len(names) + 1), share, cmap="Blues", vmin=0)
        for row, name in enumerate(names):
            centre = centres.get(name)
            if centre is not None:
                axes.plot(centre, row + 0.5, "|", color=_OWN, markersize=11, markeredgewidth=2.2)
        axes.plot([], [], "|", color=_OWN, markersize=9, markeredgewidth=2.2, label=centre_name)
        axes.set_yticks(np.arange(len(names)) + 0.5, [f"{name} ({sum(rows[name])})" for name in names])
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.tick_params(axis="y", length=0)
        figure.colorbar(mesh, ax=axes, label="share", fraction=0.05, ticks=MaxNLocator(4))
        figure.legend(loc="outside upper right", frameon=False, fontsize=8)
        return as_svg(figure, alt)


def intervals(rows: Sequence[tuple[str, float | None, Mapping[str, Sequence[float] | None]]], alt: str) -> str:
    """(name, value, interval by what was resampled): each interval as a bar, the value as a line across them."""
    with figure_style("intervals"):
        figure = Figure(figsize=(WIDTH_INCH * 0.8, 0.9 + 0.5 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        kinds = list(dict.fromkeys(kind for _, _, own in rows for kind in own))
        for row, (_, value, own) in enumerate(rows):
            for k, kind in enumerate(kinds):
                at = row + 0.22 * (k - (len(kinds) - 1) / 2)
                interval = own.get(kind)
                if interval is not None:
                    label = f"over {kind}" if row == 0 else None
                    axes.plot(interval, [at, at], color=_OTHERS[k], linewidth=5, solid_capstyle="butt", label=label)
            if value is not None:
                axes.plot([value] * 2, [row - 0.3, row + 0.3], color="black", linewidth=1.6)
        axes.set_yticks(range(len(rows)), [f"{name} {'–' if v is None else format(v, '.3f')}" for name, v, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-0.01, 1.01)
        _plain(axes)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        return as_svg(figure, alt)


def by_condition(x: Sequence[float], f1: Sequence[float], label: str, alt: str) -> str:
    """F1 of each tomogram over a condition that it was recorded under."""
    with figure_style("condition"):
        figure = Figure(figsize=(WIDTH_INCH * 0.6, 2.8), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(x, f1, "o", color=_OTHERS[0], markersize=6, alpha=0.7)
        axes.set(xlabel=label, ylabel="F1 of a tomogram", ylim=(-0.03, 1.03))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        _plain(axes)
        return as_svg(figure, alt)


def _name_weights(axes: Axes, names: Mapping[float, str]) -> None:
    """Names above the points they belong to, moved apart where weights are close."""
    left, right = np.log(axes.get_xlim())
    places: list[float] = []
    for weight in sorted(names):
        own = (float(np.log(weight)) - left) / (right - left)
        places.append(max(own, places[-1] + 0.035) if places else own)
    axes.set_xlim(np.exp(left), np.exp(right))
    over = axes.get_xaxis_transform()
    for place, weight in zip(places, sorted(names), strict=True):
        at = float(np.exp(left + place * (right - left)))
        axes.axvline(weight, color="#e3e6ea", linewidth=0.8, zorder=0)
        axes.plot([weight, at], [1.0, 1.04], color="#98a2b0", linewidth=0.8, transform=over, clip_on=False)
        axes.text(at, 1.05, names[weight], rotation=60, fontsize=8, rotation_mode="anchor", transform=over)


def _line(axes: Axes, series: Series, k: int) -> None:
    order = np.argsort(series.x, kind="stable")
    x, y = np.asarray(series.x)[order], np.asarray(series.y)[order]
    (line,) = axes.plot(x, y, color=_colour(k), marker=_MARKERS[k % len(_MARKERS)], label=series.name)
    line.set_linewidth(2.2 if k == 0 else 1.0)
    line.set_markersize(7 if k == 0 else 4.5)


def _colour(k: int) -> str:
    return _OWN if k == 0 else _OTHERS[(k - 1) % len(_OTHERS)]


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=_SMALL)
