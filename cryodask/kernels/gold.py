"""Gold beads: soft ellipsoids whose density varies mildly, given at any point, so that no slab depends on another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, namespace

GOLD_POTENTIAL_V = 25.29
"""Mean inner potential of gold above that of ice: 19.3 g/cm^3 and the scattering factors of the atoms."""


def edge_width_angstrom(blur_sigma_angstrom: float, voxel_size_angstrom: float) -> float:
    """Scale w of the edge 1 / (1 + exp(d / w)) with the variance of a Gaussian blur and of a voxel's averaging."""
    variance = blur_sigma_angstrom**2 + voxel_size_angstrom**2 / 12
    return math.sqrt(3 * variance) / math.pi


def gold_fraction(
    z: Array,
    y: Array,
    x: Array,
    *,
    matrix_xyz: npt.NDArray[np.float64],
    semi_axes_angstrom: Sequence[float],
    edge_angstrom: float,
    waves: npt.NDArray[np.float64],
    amplitude: float,
) -> Array:
    """Density of one bead relative to solid gold, 1 inside and 0 outside.

    Args:
        z: Positions along z from the bead's centre in angstrom; the three arrays broadcast.
        y: Along y.
        x: Along x.
        matrix_xyz: (3, 3) rotation that turns the bead, acting on (x, y, z).
        semi_axes_angstrom: Along the bead's own (x, y, z).
        edge_angstrom: Scale of the edge, see ``edge_width_angstrom``.
        waves: (n, 4) plane waves of the density: frequency (x, y, z) in 1/angstrom, phase in rad.
        amplitude: Standard deviation of the density inside, as a share of its mean.
    """
    xp = namespace(z)
    turn = [[float(value) for value in row] for row in np.asarray(matrix_xyz)]
    # R^T r: where a point lies in the bead's own frame.
    own = [turn[0][k] * x + turn[1][k] * y + turn[2][k] * z for k in range(3)]
    scaled = xp.sqrt(sum((p / a) ** 2 for p, a in zip(own, semi_axes_angstrom, strict=True)))
    slope = xp.sqrt(sum((p / a**2) ** 2 for p, a in zip(own, semi_axes_angstrom, strict=True)))
    # Distance to the surface to first order; at the very centre it is the least semi-axis.
    safe = xp.where(slope > 0, slope, xp.ones_like(slope))
    least = xp.full_like(scaled, -float(min(semi_axes_angstrom)))
    distance = xp.where(slope > 0, scaled * (scaled - 1) / safe, least)
    fraction = (1 - xp.tanh(distance / (2 * edge_angstrom))) / 2
    noise = 0.0 * scaled
    for kx, ky, kz, phase in np.asarray(waves).tolist():
        noise = noise + xp.cos(2 * math.pi * (kx * own[0] + ky * own[1] + kz * own[2]) + phase)
    return fraction * (1 + amplitude * math.sqrt(2 / max(len(waves), 1)) * noise)
