"""Parts of a report that show a tomogram itself: slices to leaf through, with circles, and galleries of small crops."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from cryodask.model.source import BlockSource
from cryodask.units import ANGSTROM_PER_NM
from cryodask.workflows.report_figures import MARKER_STYLES, Marks, binned, contrast_limits
from cryodask.workflows.report_markup import Picture

Floats = npt.NDArray[np.floating[Any]]

MOST_SLICES = 13
SLICE_PIXELS = 384
CROP_NM = 40.0
"""Side of a gallery's crops: the benchmark's largest particle with some of what is around it."""

_CROP_SLICES = 1  # on either side of the central one, averaged with it
_GREYS = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class TomogramImage:
    """A reconstruction and how large its voxels are."""

    source: BlockSource
    """(z, y, x)."""
    voxel_size_angstrom: float


class Judged(Protocol):
    """Which particles and picks are to be circled on a slice."""

    @property
    def depth_nm(self) -> tuple[float, float] | None:
        """Lowest and highest z that a true particle reaches to, from the centre; None without any."""
        ...

    def near(self, z_nm: float) -> dict[str, Marks]:
        """Circles of each kind for the slice at ``z_nm`` from the centre."""
        ...


def slice_viewer(name: str, image: TomogramImage, judged: Judged | None) -> Picture:
    """Slices through the depth that has particles, one of them shown; a script of the page leafs through them."""
    nz, ny, nx = image.source.shape
    rows = _rows(nz, image.voxel_size_angstrom / ANGSTROM_PER_NM, None if judged is None else judged.depth_nm)
    planes = [
        binned(image.source.read((slice(z, z + 1), slice(0, ny), slice(0, nx)))[0], SLICE_PIXELS)[0] for z in rows
    ]
    low, high = contrast_limits(np.concatenate([plane[::4, ::4].ravel() for plane in planes]))
    nm = image.voxel_size_angstrom / ANGSTROM_PER_NM
    shown = len(rows) // 2
    frames = []
    for k, (z, plane) in enumerate(zip(rows, planes, strict=True)):
        z_nm = (z - (nz - 1) / 2) * nm
        marks = judged.near(z_nm) if judged is not None else {}
        words = ", ".join(f"{len(own.radius_nm)} {kind}" for kind, own in marks.items())
        alt = f"xy slice of {name} at z = {z_nm:.1f} nm" + (f" with circles: {words}" if words else "")
        hidden = "" if k == shown else " hidden"
        frames.append(
            f'<div class="frame" data-label="z = {z_nm:.1f} nm{f": {words}" if words else ""}"{hidden}>'
            f"{_png(np.flipud(plane), low, high, alt)}{_overlay(marks, nx * nm, ny * nm)}</div>"
        )
    legend = "".join(
        f'<span class="key"><svg viewBox="0 0 20 20" width="14" height="14" aria-hidden="true">'
        f"{_circle(10, 10, 8, kind, 2.5)}</svg> {kind}</span>"
        for kind in (MARKER_STYLES if judged is not None else ())
    )
    controls = (
        f'<div class="controls"><label>slice <input type="range" min="0" max="{len(rows) - 1}" value="{shown}" '
        f'step="1" aria-label="slice of {html.escape(name)}"></label>'
        + ('<label><input type="checkbox" checked> circles</label>' if judged is not None else "")
        + f"<output></output>{legend}</div>"
    )
    text = f"{len(rows)} of {nz} xy slices of the tomogram, {nx * nm:g} × {ny * nm:g} nm."
    if judged is not None:
        text += " Circles: particles and picks near the slice as mode strict judges them; + and × are picks."
    return Picture(
        markup=f'<div class="viewer"><div class="frames">{"".join(frames)}</div>{controls}</div>', caption=text
    )


def _rows(nz: int, voxel_nm: float, depth_nm: tuple[float, float] | None) -> list[int]:
    """The middle slices of layers of equal thickness, where the particles are: a frame may be far deeper."""
    first, stop = 0, nz
    if depth_nm is not None:
        inside = [z / voxel_nm + (nz - 1) / 2 for z in depth_nm]
        first, stop = max(0, round(inside[0])), min(nz, round(inside[1]) + 1)
    if stop <= first:
        first, stop = 0, nz
    number = min(stop - first, MOST_SLICES)
    return sorted({first + int((k + 0.5) * (stop - first) / number) for k in range(number)})


def gallery(title: str, examples: Sequence[Mapping[str, Any]], images: Mapping[str, TomogramImage]) -> list[str]:
    """Crops of the xy slice around each example (see ``evaluation_statistics.examples``) whose tomogram is at hand."""
    items = []
    for example in examples:
        image = images.get(example["tomogram"])
        if image is None:
            continue
        score = example.get("score")
        lines = [example["class"], f"score {score:.3g}" if score is not None else "", example["tomogram"]]
        place = f"x {example['x']:.0f}, y {example['y']:.0f}, z {example['z']:.0f}"
        words = ", ".join(line for line in (*lines, place) if line)
        crop = _crop(image, example["centred_angstrom"])
        markup = _png(np.flipud(crop), *contrast_limits(crop), f"{title}: {words}")
        caption = "<br>".join(html.escape(line) for line in (*lines, place) if line)
        items.append(f"<figure>{markup}<figcaption>{caption}</figcaption></figure>")
    return items


def _crop(image: TomogramImage, centred_angstrom: Sequence[float]) -> Floats:
    """The xy slice at a position (x, y, z) from the centre, ``CROP_NM`` wide; beyond the volume its mean."""
    shape = image.source.shape
    side = max(8, round(CROP_NM * ANGSTROM_PER_NM / image.voxel_size_angstrom / 2))
    centre = [
        round(p / image.voxel_size_angstrom + (n - 1) / 2)
        for p, n in zip(reversed(centred_angstrom), shape, strict=True)
    ]
    reach = (_CROP_SLICES, side, side)
    window = [(c - r, c + r + 1) for c, r in zip(centre, reach, strict=True)]
    inside = [(min(max(a, 0), n - 1), max(min(b, n), 1)) for (a, b), n in zip(window, shape, strict=True)]
    block = image.source.read(tuple(slice(a, b) for a, b in inside)).astype(np.float64).mean(axis=0)
    crop = np.full((2 * side + 1, 2 * side + 1), block.mean())
    y, x = inside[1][0] - window[1][0], inside[2][0] - window[2][0]
    crop[y : y + block.shape[0], x : x + block.shape[1]] = block
    return crop


def _png(plane: Floats, low: float, high: float, alt: str) -> str:
    """An ``img`` of a plane as it is, one pixel a value, in few greys: noise has no use for more."""
    share = np.clip((np.nan_to_num(plane, nan=low) - low) / (high - low), 0, 1)
    grey = (np.rint(share * (_GREYS - 1)) * 255 / (_GREYS - 1)).astype(np.uint8)
    stored = io.BytesIO()
    Image.fromarray(grey).quantize(_GREYS).save(stored, format="PNG", optimize=True)
    data = base64.b64encode(stored.getvalue()).decode("ascii")
    height, width = grey.shape
    return f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{html.escape(alt)}">'


def _overlay(marks: Mapping[str, Marks], width_nm: float, height_nm: float) -> str:
    """Circles and picks in nm, y upwards, over the whole frame."""
    stroke = max(width_nm, height_nm) / 260
    parts = []
    for kind, own in marks.items():
        for (y, x), radius in zip(own.centre_nm, own.radius_nm, strict=True):
            parts.append(_circle(x, -y, radius, kind, stroke))
        parts += [_symbol(x, -y, 3 * stroke, kind, stroke) for y, x in own.pick_nm]
    box = f"{-width_nm / 2:.2f} {-height_nm / 2:.2f} {width_nm:.2f} {height_nm:.2f}"
    return f'<svg class="marks" viewBox="{box}" aria-hidden="true">{"".join(parts)}</svg>'


def _circle(x: float, y: float, radius: float, kind: str, stroke: float) -> str:
    style = MARKER_STYLES[kind]
    dashes = " ".join(f"{length * stroke:.2f}" for length in style.dashes)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:.2f}" fill="none" stroke="{style.colour}" '
        f'stroke-width="{stroke:.2f}"{dashed}/>'
    )


def _symbol(x: float, y: float, reach: float, kind: str, stroke: float) -> str:
    style = MARKER_STYLES[kind]
    paths = {
        "+": f"M{x - reach:.2f} {y:.2f}H{x + reach:.2f}M{x:.2f} {y - reach:.2f}V{y + reach:.2f}",
        "x": f"M{x - reach:.2f} {y - reach:.2f}L{x + reach:.2f} {y + reach:.2f}"
        f"M{x - reach:.2f} {y + reach:.2f}L{x + reach:.2f} {y - reach:.2f}",
    }
    if style.symbol not in paths:
        return ""
    return f'<path d="{paths[style.symbol]}" fill="none" stroke="{style.colour}" stroke-width="{stroke:.2f}"/>'
