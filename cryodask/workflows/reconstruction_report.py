"""The report of ``reconstruct``: one HTML page with slices, settings and, for half sets, their correlation."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from cryodask._version import __version__
from cryodask.io.atomic import replacing
from cryodask.kernels.shell_correlation import HALF_SET_THRESHOLD
from cryodask.model.source import BlockSource
from cryodask.units import ANGSTROM_PER_NM
from cryodask.workflows.half_sets import HalfSetCorrelation
from cryodask.workflows.report_figures import FIGURE_WIDTH_INCH, binned, orthogonal_slices
from cryodask.workflows.report_markup import as_svg, figure_style

_STYLE = """
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 60rem; color: #1c2430; background: white;
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; border-bottom: 2px solid #d5dae1; margin-top: 2rem; }
.pictures { display: grid; gap: 1.4rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
figure { margin: 0; } figure img, figure svg { width: 100%; height: auto; max-width: 39rem; }
figcaption { color: #566173; font-size: .9rem; }
table { border-collapse: collapse; font-size: .92rem; } td { padding: .2rem .8rem .2rem 0; vertical-align: top; }
"""


@dataclass(frozen=True, eq=False, kw_only=True)
class MadeTomogram:
    """A tomogram that a run has made."""

    name: str
    volume: BlockSource
    voxel_size_angstrom: float
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else the page says of it."""
    half_sets: HalfSetCorrelation | None = None


def write_report(path: Path, tomograms: Sequence[MadeTomogram], settings: Mapping[str, object]) -> None:
    """Write the page; DataError where it cannot be written."""
    parts = [_section(tomogram) for tomogram in tomograms]
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>" for k, v in settings.items())
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>cryodask reconstruct</title><style>{_STYLE}</style></head>\n<body><h1>Tomograms</h1>\n"
        f"{''.join(parts)}<h2>Settings</h2><table>{rows}</table><p>cryodask {__version__}</p></body></html>\n"
    )
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _section(tomogram: MadeTomogram) -> str:
    nz, ny, nx = tomogram.volume.shape
    facts = {
        "size": f"{nx} x {ny} x {nz} voxels (x, y, z) of {tomogram.voxel_size_angstrom:.4g} angstrom",
        **tomogram.facts,
    }
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in facts.items())
    pictures = [_figure(_slices(tomogram), "Central slices; proteins are dark.")]
    if tomogram.half_sets is not None:
        pictures.append(_figure(shell_correlation_curve(tomogram.half_sets, tomogram.name), str(tomogram.half_sets)))
    name = html.escape(tomogram.name)
    return f'<h2>{name}</h2><table>{rows}</table><div class="pictures">{"".join(pictures)}</div>\n'


def _figure(markup: str, caption: str) -> str:
    return f"<figure>{markup}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _slices(tomogram: MadeTomogram) -> str:
    nz, ny, nx = tomogram.volume.shape
    whole = slice(None)

    def plane(*region: slice) -> npt.NDArray[np.float64]:
        return tomogram.volume.read(region).astype(np.float64)

    xy = plane(slice(nz // 2, nz // 2 + 1), whole, whole)[0]
    xz = plane(whole, slice(ny // 2, ny // 2 + 1), whole)[:, 0]
    yz = plane(whole, whole, slice(nx // 2, nx // 2 + 1))[:, :, 0]
    factor = binned(xy)[1]
    small = [_means(image, factor) for image in (xy, xz, yz.T)]
    alt = f"Central xy, xz and yz slices of {tomogram.name}"
    return orthogonal_slices(small[0], small[1], small[2], tomogram.voxel_size_angstrom * factor, alt)


def _means(image: npt.NDArray[np.float64], factor: int) -> npt.NDArray[np.float64]:
    """Means over blocks of ``factor``, at least one block."""
    factors = [min(factor, n) for n in image.shape]
    ny, nx = (n // f for n, f in zip(image.shape, factors, strict=True))
    blocks = image[: ny * factors[0], : nx * factors[1]].reshape(ny, factors[0], nx, factors[1])
    return np.asarray(blocks.mean(axis=(1, 3)))


def shell_correlation_curve(correlation: HalfSetCorrelation, name: str) -> str:
    """The curve with its threshold, as an ``svg`` element."""
    with figure_style("fsc"):
        figure = Figure(figsize=(FIGURE_WIDTH_INCH, 3.3), layout="constrained")
        axes = figure.add_subplot()
        k = correlation.curve.k * ANGSTROM_PER_NM
        axes.plot(k, correlation.curve.values, "-", color="#0072B2", linewidth=1.5)
        axes.axhline(HALF_SET_THRESHOLD, color="#B34700", linewidth=1, linestyle=(0, (4, 3)))
        axes.text(float(k[-1]), HALF_SET_THRESHOLD + 0.02, "0.143", ha="right", fontsize=9, color="#B34700")
        axes.axhline(0, color="#999", linewidth=0.8)
        axes.set(xlabel="spatial frequency (1/nm)", ylabel="Fourier shell correlation", ylim=(-0.1, 1.05))
        axes.set_xlim(0, float(k[-1]))
        axes.spines[["top", "right"]].set_visible(False)
        return as_svg(figure, f"Fourier shell correlation of the half sets of {name}")
