"""From a matplotlib figure to HTML that needs no other file: noisy images as PNG, line art as inline SVG."""

from __future__ import annotations

import base64
import html
import io
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

POINTS_PER_INCH = 72

_DPI = 150
_COLOURS = 64  # noise has no use for more grey levels, and their number decides the size of the page
_STYLE: dict[Any, Any] = {"font.family": "DejaVu Sans", "font.size": 10, "svg.fonttype": "none", "axes.linewidth": 0.8}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure: markup that is safe to put into a page, and the text below it."""

    markup: str
    caption: str


def figure_style(salt: str) -> AbstractContextManager[None]:
    """Settings under which a figure is made and saved, whatever the user's own; ``salt`` makes its SVG ids."""
    return matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"cryodask-{salt}"})


def as_png(figure: Figure, alt: str, colours: int = _COLOURS) -> str:
    """An ``img`` element that holds the figure, in at most ``colours`` (up to 256) colours."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=_DPI)
    with Image.open(raw) as image:
        # Covering all colours, not the frequent ones only, keeps those of thin lines.
        reduced = image.convert("RGB").quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    stored = io.BytesIO()
    reduced.save(stored, format="PNG", optimize=True)
    data = base64.b64encode(stored.getvalue()).decode("ascii")
    width, height = reduced.size
    return f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{html.escape(alt)}">'


def as_svg(figure: Figure, alt: str) -> str:
    """An ``svg`` element that grows with the page up to the figure's own size."""
    stored = io.StringIO()
    figure.savefig(stored, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stored.getvalue()
    head, body = text[text.index("<svg") :].split(">", 1)
    # Addresses and sizes that only a file of its own needs; ids of groups, which would occur twice on a page.
    head = re.sub(r' (xmlns|xmlns:xlink|width|height)="[^"]*"', "", head)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    width_pt = figure.get_figwidth() * POINTS_PER_INCH
    label = f'role="img" aria-label="{html.escape(alt)}" style="max-width:{width_pt:.0f}pt"'
    return f"{head.replace('<svg', f'<svg {label}', 1)}>{body.strip()}"
