"""Filters of lines that depend on more than frequency: like some rounds of SIRT, and exact for the given tilts."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError
from cryodask.kernels.ramp import angular_shares, padded_length, ramp_response

Floats = npt.NDArray[np.float64]


def sirt_like_response(nx: int, iterations: int, range_rad: float = math.pi) -> Floats:
    """The ramp as far as so many rounds of SIRT restore it: |k| (1 - (1 - a / |k|)^iterations).

    Each round x += a A^T (b - A x), begun at 0, adds what is missing, and A^T A, the sum over tilts by their shares of
    the angular range, is 1 / |k| where they cover all directions. So coarse structure comes first, and few rounds keep
    fine noise down. SIRT divides by the length of the lines and by the sum of the shares: a = 1 / (range nx).

    Returns (1, padded_length(nx) // 2 + 1), for ``filter_tilts``. ConfigError for less than one iteration.
    """
    if iterations < 1:
        raise ConfigError(f"a SIRT-like filter needs at least 1 iteration, got {iterations}")
    n = padded_length(nx)
    k = np.fft.rfftfreq(n)
    step = np.minimum(1.0, np.divide(1 / (range_rad * nx), k, out=np.ones_like(k), where=k > 0))
    response: Floats = ramp_response(n) * (1 - (1 - step) ** iterations)
    return response[None]


def exact_response(nx: int, tilt_deg: npt.ArrayLike, thickness_px: float) -> Floats:
    """Weights that count how many tilts measure each frequency of a slab of this thickness, one line for each tilt.

    In Fourier space a tilt fills a layer as thick as 1 / thickness. Where the layers of tilts overlap, at low
    frequencies, each tilt i gets 1 / sum_j f(k sin(theta_i - theta_j)), with the overlap f(q) = max(0, 1 - thickness q)
    of two layers (Harauz and van Heel 1986, Optik 73:146; for sinc in its place Radermacher 1992). For many even tilts
    that is the ramp.

    Args:
        nx: pixels of a line.
        tilt_deg: (n_tilts,) degrees.
        thickness_px: of the slab, in pixels.

    Returns:
        (n_tilts, padded_length(nx) // 2 + 1), for ``filter_tilts``: density per radian, as the ramp, so that times the
        tilts' angular shares it is the weight above over the thickness.

    Raises:
        ConfigError: a thickness that is not positive.
    """
    if not thickness_px > 0:
        raise ConfigError(f"exact weighting needs the thickness of the sample in pixels, got {thickness_px!r}")
    theta = np.deg2rad(np.asarray(tilt_deg, dtype=np.float64))
    k = np.fft.rfftfreq(padded_length(nx))
    apart = np.abs(np.sin(theta[:, None] - theta[None, :]))
    overlaps = np.zeros((len(theta), len(k)))
    for other in range(len(theta)):
        overlaps += np.maximum(0.0, 1 - thickness_px * apart[:, other, None] * k)
    response: Floats = 1 / (overlaps * thickness_px * angular_shares(tilt_deg)[:, None])
    return response
