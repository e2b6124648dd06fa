"""The pictures of a report: each function draws one figure and returns it as HTML that needs no other file.

Noisy images become PNG, line art becomes inline SVG. Figures are made without pyplot, so nothing is kept or shared
between them, and the same numbers always give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from cryodask.kernels.spectrum import RadialProfile
from cryodask.units import ANGSTROM_PER_NM
from cryodask.workflows.report_markup import as_png, as_svg, figure_style

Floats: TypeAlias = npt.NDArray[np.floating[Any]]

FIGURE_WIDTH_INCH = 5.2
"""At this width ten-point type stays readable on a telephone's screen."""

MAX_PIXELS = 512
"""Images with more pixels along an axis are binned: no screen shows more in a column of text."""

CONTRAST_PERCENTILES = (1.0, 99.0)

_LINE, _SYMBOL = 2.0, 7.0  # width of circles and size of symbols, in points
_PANEL_POINTS = 320.0  # width of a panel, in points


@dataclass(frozen=True, kw_only=True)
class MarkerStyle:
    """How one kind of particle is circled: colour (Okabe and Ito's palette), line, and the symbol of a pick."""

    colour: str
    dashes: tuple[float, ...]
    """Lengths of strokes and gaps in line widths; () for an unbroken line."""
    symbol: str

    @property
    def line(self) -> Any:  # noqa: ANN401  (a name or a pair)
        """The line as matplotlib wants it."""
        return (0, self.dashes) if self.dashes else "solid"


MARKER_STYLES: Mapping[str, MarkerStyle] = {
    "found": MarkerStyle(colour="#56B4E9", dashes=(), symbol="+"),
    "missed": MarkerStyle(colour="#F0A30A", dashes=(4.5, 2.0), symbol=""),
    "false positive": MarkerStyle(colour="#FF9CD6", dashes=(1.2, 1.0), symbol="x"),
}


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Circles of one kind and the picks that belong to them, (y, x) in nm from the image's centre."""

    centre_nm: Floats
    """(n, 2) centres of the circles."""
    radius_nm: Floats
    """(n,) radii of the circles."""
    pick_nm: Floats
    """(m, 2) picks, drawn with the kind's symbol; none for particles that were missed."""


def orthogonal_slices(xy: Floats, xz: Floats, yz: Floats, voxel_size_angstrom: float, alt: str) -> str:
    """Three central slices on one scale: ``xy`` (y, x), below it ``xz`` (z, x), beside it ``yz`` given as (y, z)."""
    limits = contrast_limits(np.concatenate([image.ravel() for image in (xy, xz, yz)]))
    ny, nx = xy.shape
    nz = xz.shape[0]
    left, bottom, right, top, gap = 0.62, 0.5, 0.1, 0.1, 0.12
    thickness = max(nz, 0.1 * nx)  # a very thin volume still gets a strip that can be seen
    scale = (FIGURE_WIDTH_INCH - left - right - gap) / (nx + thickness)
    width, height, depth = nx * scale, ny * scale, thickness * scale
    size = FIGURE_WIDTH_INCH, bottom + depth + gap + height + top
    with figure_style("slices"):
        figure = Figure(figsize=size)

        def panel(x: float, y: float, w: float, h: float) -> Axes:
            return figure.add_axes((x / size[0], y / size[1], w / size[0], h / size[1]))

        main = panel(left, bottom + depth + gap, width, height)
        below = panel(left, bottom, width, depth)
        beside = panel(left + width + gap, bottom + depth + gap, depth, height)
        voxel = voxel_size_angstrom
        _draw(main, xy, voxel, limits, x="", y="y (nm)")
        _draw(below, xz, voxel, limits, x="x (nm)", y="z (nm)")
        _draw(beside, yz, voxel, limits, x="z (nm)", y="")
        for axes in (below, beside):
            axes.set_aspect("auto")
        main.tick_params(labelbottom=False)
        beside.tick_params(labelleft=False)
        _scale_bar(main, nx * voxel / ANGSTROM_PER_NM)
        return as_png(figure, alt)


def single_image(image: Floats, pixel_size_angstrom: float, alt: str) -> str:
    """One image (y, x) with axes in nm from its centre, a scale bar and its own contrast."""
    with figure_style("image"):
        figure, _ = _one_panel(image, pixel_size_angstrom)
        return as_png(figure, alt)


def marked_slice(image: Floats, voxel_size_angstrom: float, marks: Mapping[str, Marks], alt: str) -> str:
    """A slice (y, x) with circles; ``marks`` has one entry for each key of ``MARKER_STYLES``."""
    with figure_style("marks"):
        figure, axes = _one_panel(image, voxel_size_angstrom, header_inch=0.36)
        bounds = axes.get_xlim(), axes.get_ylim()
        radii_nm = np.concatenate([own.radius_nm for own in marks.values()])
        scale = _line_scale(radii_nm, axes)
        handles = []
        for name, style in MARKER_STYLES.items():
            own = marks[name]
            for (y, x), radius in zip(own.centre_nm, own.radius_nm, strict=True):
                _circle(axes, x, y, radius, style, scale)
            for y, x in own.pick_nm:
                _symbol(axes, x, y, style, scale)
            handles.append(_legend_entry(f"{name} ({len(own.radius_nm)})", style))
        axes.set_xlim(bounds[0])
        axes.set_ylim(bounds[1])
        # The ground of the legend is as dark as the image, so that lines look the same on both.
        axes.legend(
            handles=handles,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=3,
            facecolor="#444",
            edgecolor="none",
            framealpha=1,
            labelcolor="white",
            handlelength=3,
            columnspacing=1.2,
            fontsize=9,
        )
        return as_png(figure, alt, colours=256)


def confusion_matrix(counts: Sequence[Sequence[int]], row_names: Sequence[str], alt: str) -> str:
    """Table of ``counts`` (rows true, columns picked), coloured by share of its row; the last name is "nothing"."""
    table = np.asarray(counts, dtype=np.float64)
    n = len(table)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    with figure_style("confusion"):
        side = min(max(0.42 * n, 2.2), 6.2)
        figure = Figure(figsize=(side + 1.5, side + 1.3), layout="constrained")
        axes = figure.add_subplot()
        axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, edgecolors="#d5dae1", linewidth=0.6)
        size = 10 if n <= 10 else 8
        for row, column in zip(*np.nonzero(table), strict=True):
            colour = "white" if share[row, column] > 0.55 else "black"
            text = f"{table[row, column]:.0f}"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=size)
        ticks = np.arange(n) + 0.5
        axes.set_xticks(ticks, [*row_names[:-1], "not found"], rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, [*row_names[:-1], "nothing there"])
        axes.tick_params(length=0, labelsize=9)
        axes.axhline(n - 1, color="#555", linewidth=1)
        axes.axvline(n - 1, color="#555", linewidth=1)
        axes.set(xlabel="picked class", ylabel="true class", aspect="equal")
        axes.invert_yaxis()
        return as_svg(figure, alt)


def power_spectrum(profiles: Mapping[str, RadialProfile], ctf_zeros_per_angstrom: Sequence[float], alt: str) -> str:
    """Rotationally averaged power of images by name, on a logarithmic axis, with the zeros of the transfer function."""
    with figure_style("spectrum"):
        figure = Figure(figsize=(FIGURE_WIDTH_INCH, 3.3), layout="constrained")
        axes = figure.add_subplot()
        for (name, profile), (colour, line) in zip(profiles.items(), (("#222", "-"), ("#0072B2", "-")), strict=False):
            # Ring 0 is the mean of the image, which a logarithmic axis cannot share with the rest.
            k, power = profile.k[1:] * ANGSTROM_PER_NM, profile.values[1:]
            axes.plot(k[power > 0], power[power > 0], line, color=colour, linewidth=1.3, label=name)
        for index, zero in enumerate(ctf_zeros_per_angstrom):
            label = "expected CTF zero" if index == 0 else None
            axes.axvline(zero * ANGSTROM_PER_NM, color="#B34700", linewidth=1, linestyle=(0, (4, 3)), label=label)
        axes.set_yscale("log")
        axes.set(xlabel="spatial frequency (1/nm)", ylabel="power per pixel (electrons²)")
        axes.set_xlim(0, max(float(profile.k[-1]) for profile in profiles.values()) * ANGSTROM_PER_NM)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
        return as_svg(figure, alt)


def binned(image: Floats, max_pixels: int = MAX_PIXELS) -> tuple[Floats, int]:
    """The image with at most ``max_pixels`` a side, by means over whole blocks, and the side of a block."""
    factor = math.ceil(max(image.shape) / max_pixels)
    if factor == 1:
        return image, 1
    ny, nx = (n // factor for n in image.shape)
    blocks = image[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor)
    return np.asarray(blocks.mean(axis=(1, 3))), factor


# -- parts of a figure ---------------------------------------------------------------------------------------------


def _one_panel(image: Floats, spacing_angstrom: float, header_inch: float = 0.1) -> tuple[Figure, Axes]:
    ny, nx = image.shape
    left, bottom, right = 0.62, 0.5, 0.1
    width = FIGURE_WIDTH_INCH - left - right
    height = min(width * ny / nx, 2 * width)
    size = FIGURE_WIDTH_INCH, bottom + height + header_inch
    figure = Figure(figsize=size)
    axes = figure.add_axes((left / size[0], bottom / size[1], width / size[0], height / size[1]))
    _draw(axes, image, spacing_angstrom, contrast_limits(image), x="x (nm)", y="y (nm)")
    _scale_bar(axes, nx * spacing_angstrom / ANGSTROM_PER_NM)
    return figure, axes


def _draw(axes: Axes, image: Floats, spacing_angstrom: float, limits: tuple[float, float], *, x: str, y: str) -> None:
    """Show an image with coordinates in nm from its centre, first row at the bottom."""
    shown, factor = binned(image)
    first = [-n / 2 * spacing_angstrom / ANGSTROM_PER_NM for n in image.shape]
    step = factor * spacing_angstrom / ANGSTROM_PER_NM
    (bottom, left), (ny, nx) = first, shown.shape
    axes.imshow(
        shown,
        cmap="gray",
        vmin=limits[0],
        vmax=limits[1],
        origin="lower",
        interpolation="nearest",
        extent=(left, left + nx * step, bottom, bottom + ny * step),
    )
    for axis, n in ((axes.xaxis, nx), (axes.yaxis, ny)):
        axis.set_major_locator(MaxNLocator(5 if 2 * n > max(ny, nx) else 2))
    axes.tick_params(labelsize=9, length=3)
    axes.set_xlabel(x, labelpad=2)
    axes.set_ylabel(y, labelpad=1)


def contrast_limits(values: Floats) -> tuple[float, float]:
    """What is shown black and white: percentiles of the finite values, apart."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, CONTRAST_PERCENTILES))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _scale_bar(axes: Axes, width_nm: float) -> None:
    """A bar of 1, 2 or 5 times a power of ten nm, at most a quarter of the width, in the lower right corner."""
    decade = 10.0 ** math.floor(math.log10(width_nm / 4))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= width_nm / 4)
    (left, right), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    unit = 0.01 * (right - left)
    x, y = right - 4 * unit - length, bottom + 4 * unit
    ground = Rectangle((x - unit, y - unit), length + 2 * unit, 8 * unit, facecolor="black", alpha=0.5, linewidth=0)
    axes.add_patch(ground).set_zorder(0.5)  # below the circles, which must not vanish under it
    axes.add_patch(Rectangle((x, y), length, 1.2 * unit, facecolor="white", linewidth=0)).set_zorder(6)
    text = axes.text(
        x + length / 2, y + 2 * unit, f"{length:g} nm", ha="center", va="bottom", color="white", fontsize=9
    )
    text.set_zorder(6)


def _line_scale(radii_nm: Floats, axes: Axes) -> float:
    """Thinner lines and smaller symbols where circles are small: the typical one keeps its inside visible."""
    if not len(radii_nm):
        return 1.0
    left, right = axes.get_xlim()
    radius_points = float(np.median(radii_nm)) * _PANEL_POINTS / (right - left)
    return min(max(radius_points / 10, 0.75), 1.0)


def _circle(axes: Axes, x: float, y: float, radius: float, style: MarkerStyle, scale: float) -> None:
    """A coloured circle on a darker one, so that it shows on light and dark ground alike."""
    wide, narrow = 2 * _LINE * scale, _LINE * scale
    axes.add_patch(Circle((x, y), radius, fill=False, edgecolor="black", linewidth=wide, alpha=0.5))
    axes.add_patch(Circle((x, y), radius, fill=False, edgecolor=style.colour, linestyle=style.line, linewidth=narrow))


def _symbol(axes: Axes, x: float, y: float, style: MarkerStyle, scale: float) -> None:
    halo = [withStroke(linewidth=2 * _LINE * scale, foreground="black", alpha=0.5)]
    width, size = _LINE * scale, _SYMBOL * scale
    axes.plot(x, y, style.symbol, color=style.colour, markersize=size, markeredgewidth=width, path_effects=halo)


def _legend_entry(label: str, style: MarkerStyle) -> Line2D:
    return Line2D(
        [],
        [],
        color=style.colour,
        linestyle=style.line,
        linewidth=_LINE,
        marker=style.symbol,
        markersize=_SYMBOL,
        markeredgewidth=_LINE,
        label=label,
    )
