"""Blobs of a volume by the Laplacian of Gaussian over a range of scales, or by a difference of two Gaussians.

The Laplacian is scale-normalised (Lindeberg 1998): ``-sigma^2 Laplace(G_sigma * V)``. A bright ball of radius r gives
its largest answer at its centre, at ``sigma = r / sqrt(3)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, capabilities, namespace, to_host
from cryodask.errors import ConfigError
from cryodask.kernels.fourier import irfftn, radius, rfftn
from cryodask.kernels.peaks import robust_z


@dataclass(frozen=True, eq=False)
class Blobs:
    """Blobs that were found, strongest first."""

    index: npt.NDArray[np.int64]
    """(n, 3) voxel (z, y, x)."""
    strength: npt.NDArray[np.float64]
    """(n,) answer at the best scale, in robust standard deviations of that scale's answers."""
    sigma_voxels: npt.NDArray[np.float64]
    """(n,) the best scale; the radius of a ball is sqrt(3) times as large."""


def laplacian_of_gaussian(volume: Array, sigma_voxels: float) -> Array:
    """``-sigma^2 Laplace(G * V)`` of a volume (z, y, x), periodic: positive at bright blobs; dtype of ``volume``."""
    k = radius(volume.shape, 1.0, volume, real=True)
    return irfftn(rfftn(volume) * _log_gain(k, sigma_voxels), volume.shape)


def difference_of_gaussians(volume: Array, inner_voxels: float, outer_voxels: float) -> Array:
    """``(G_inner - G_outer) * V``, periodic: positive at bright blobs of a radius of about sqrt(3) ``inner_voxels``."""
    if not 0 < inner_voxels < outer_voxels:
        raise ConfigError(f"the inner Gaussian ({inner_voxels}) must be narrower than the outer one ({outer_voxels})")
    k = radius(volume.shape, 1.0, volume, real=True)
    xp = namespace(volume)
    squared = -2 * math.pi**2 * k * k
    gain = xp.exp(squared * inner_voxels**2) - xp.exp(squared * outer_voxels**2)
    return irfftn(rfftn(volume) * gain, volume.shape)


def find_blobs(volume: Array, sigmas_voxels: Sequence[float], threshold: float) -> Blobs:
    """One blob for each connected region in which the answer at any scale exceeds ``threshold``: its strongest voxel.

    Parameters
    ----------
    volume
        (z, y, x), blobs bright.
    sigmas_voxels
        Scales to try.
    threshold
        Least answer, in robust standard deviations of the scale's answers.

    Labels and lists are made on the host.
    """
    if not len(sigmas_voxels) or min(sigmas_voxels) <= 0:
        raise ConfigError(f"blobs are looked for at positive scales, got {list(sigmas_voxels)}")
    k = radius(volume.shape, 1.0, volume, real=True)
    spectrum = rfftn(volume)
    best: npt.NDArray[np.float32] = np.full(volume.shape, -np.inf, np.float32)
    scale = np.zeros(volume.shape, np.int8)
    for number, sigma in enumerate(sigmas_voxels):
        answer = to_host(irfftn(spectrum * _log_gain(k, sigma), volume.shape)).astype(np.float32)
        median, deviation = robust_z(answer)
        if deviation > 0:
            z = (answer - np.float32(median)) / np.float32(deviation)
            better = z > best
            best[better], scale[better] = z[better], number
    return _strongest_of_regions(best, scale, np.asarray(sigmas_voxels, dtype=np.float64), threshold)


def _log_gain(k: Array, sigma: float) -> Array:
    x = (2 * math.pi * sigma) ** 2 * k * k
    return x * namespace(k).exp(-x / 2)


def _strongest_of_regions(
    best: npt.NDArray[np.float32],
    scale: npt.NDArray[np.int8],
    sigmas: npt.NDArray[np.float64],
    threshold: float,
) -> Blobs:
    labels, count = capabilities(best).label(best > threshold)
    inside = np.flatnonzero(labels)
    region, value = np.asarray(labels).ravel()[inside], best.ravel()[inside]
    # Of equal voxels the first in memory stands for the region.
    order = np.lexsort((inside, -value, region))
    _, first = np.unique(region[order], return_index=True)
    places = inside[order][first]
    places = places[np.lexsort((places, -best.ravel()[places]))]
    assert len(places) == count
    index = np.stack(np.unravel_index(places, best.shape), axis=1).astype(np.int64)
    strength = best.ravel()[places].astype(np.float64)
    return Blobs(index, strength, sigmas[scale.ravel()[places]])


def without_balls(
    shape: tuple[int, int, int], centres: npt.NDArray[np.int64], inner_voxels: float, outer_voxels: float
) -> npt.NDArray[np.float32]:
    """Weights (z, y, x): 0 within ``inner_voxels`` of a centre, 1 beyond ``outer_voxels``, a cosine between."""
    weight = np.ones(shape, np.float32)
    reach = math.ceil(outer_voxels)
    for centre in centres:
        low = [max(int(c) - reach, 0) for c in centre]
        high = [min(int(c) + reach + 1, n) for c, n in zip(centre, shape, strict=True)]
        axes = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        distance = np.sqrt(sum((axis - int(c)) ** 2 for axis, c in zip(axes, centre, strict=True)))
        share = np.clip((distance - inner_voxels) / (outer_voxels - inner_voxels), 0, 1)
        inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        weight[inside] *= (0.5 - 0.5 * np.cos(np.pi * share)).astype(np.float32)
    return weight
