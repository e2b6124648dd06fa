"""Figures of a picking run's report: scores, amplitudes, galleries beside averages and references."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cryodask.workflows.report_markup import as_png, as_svg, figure_style

Values = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]

_SECTIONS = ("z", "y", "x")


def score_figure(scores: Mapping[str, Values], posterior: Values | None, every: Values) -> str:
    """Scores of each class as a strip; where picks have posteriors, the probability that goes with a score."""
    with figure_style("pick-scores"):
        figure = Figure(figsize=(8, 1.2 + 0.25 * max(len(scores), 2)), layout="constrained")
        axes = figure.add_subplot()
        for row, (name, values) in enumerate(scores.items()):
            axes.plot(values, np.full(len(values), row), "|", markersize=9, alpha=0.6, label=name)
        axes.set_yticks(range(len(scores)), [f"{name} ({len(v)})" for name, v in scores.items()])
        axes.invert_yaxis()
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlabel("score")
        if posterior is not None and len(every):
            order = np.argsort(every)
            above = axes.twinx()
            above.plot(every[order], posterior[order], ".", color="0.3", markersize=3)
            above.set(ylabel="posterior", ylim=(0, 1.02))
        return as_svg(figure, "Scores of the picks by class")


def amplitude_figure(amplitudes: Mapping[str, Values]) -> str:
    """How strong the particles of each class are in the tomogram: all should be alike."""
    with figure_style("pick-amplitudes"):
        figure = Figure(figsize=(8, 3), layout="constrained")
        axes = figure.add_subplot()
        names = list(amplitudes)
        axes.boxplot([amplitudes[name] for name in names], orientation="vertical", widths=0.6)
        axes.set_xticks(range(1, len(names) + 1), names, rotation=45, ha="right")
        axes.set_ylabel("amplitude")
        axes.set_ylim(bottom=0)
        return as_svg(figure, "Amplitudes of the picks by class")


def gallery_figure(name: str, slices: Volume, average: Volume | None, reference: Volume) -> str:
    """Middle slices of picks above; below, three sections of their average and of the reference."""
    columns = max(len(slices), 6)
    with figure_style(f"pick-gallery-{name}"):
        figure = Figure(figsize=(1.1 * columns, 2.7), layout="constrained")
        grid = figure.subplots(2, columns, squeeze=False)
        for axes in grid.ravel():
            axes.set_axis_off()
        for axes, image in zip(grid[0], slices, strict=False):
            _show(axes, image)
        for row, sections in enumerate((average, reference)):
            for number, image in enumerate(() if sections is None else sections):
                axes = grid[1][3 * row + number]
                _show(axes, image)
                axes.set_title(("average " if row == 0 else "reference ") + _SECTIONS[number], fontsize=7)
        return as_png(figure, f"Picks of {name}, their average and the reference")


def _show(axes: Axes, image: Volume) -> None:
    low, high = np.percentile(image, (1, 99.5))
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
