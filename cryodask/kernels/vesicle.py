"""Lipid vesicles: the potential of a bilayer along a tri-axial ellipsoid, at any point: no slab depends on another.

The bilayer is that of DPPC in its fluid phase (Nagle & Tristram-Nagle 2000, Biochim. Biophys. Acta 1469:159): 64 A^2 a
lipid, heads of 319 A^3 (C10 H18 N O8 P) and chains of 913 A^3 (C30 H62). With the atoms' potential integrals (C 120.1,
H 25.3, N 106.0, O 95.0, P 262.7 V A^3) less the ice of the same volume (4.53 V), a leaflet's head group holds 20.9 V A
above ice and its chains 16.2 V A, over 14.3 A.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, namespace

HEAD_V_A = 20.9
"""Potential above ice of one leaflet's head groups, integrated across it, V A."""

CORE_V_A = 16.2
"""The same of its chains."""

CORE_HALF_ANGSTROM = 14.3
"""Half of the chains' thickness."""

HEAD_DISTANCE_ANGSTROM = 38.0
"""Between the two shells of head groups."""

HEAD_SIGMA_ANGSTROM = 4.0
"""Spread of a head group across the membrane, before any blur."""

HALF_THICKNESS_ANGSTROM = 24.0
"""From the middle to where heads end: what of the ice the membrane takes the place of."""


def ellipsoid_distance(
    z: Array, y: Array, x: Array, *, matrix_xyz: npt.NDArray[np.float64], semi_axes: Sequence[float]
) -> Array:
    """Signed distance to the surface of a turned ellipsoid to first order, negative inside, in the unit of z, y and x.

    ``z``, ``y``, ``x`` count from its centre and broadcast; ``matrix_xyz`` turns it, acting on (x, y, z); ``semi_axes``
    are along its own (x, y, z). At the surface the value and its gradient are exact.
    """
    xp = namespace(z)
    turn = np.asarray(matrix_xyz).tolist()
    own = [turn[0][k] * x + turn[1][k] * y + turn[2][k] * z for k in range(3)]
    level = xp.sqrt(sum((p / a) ** 2 for p, a in zip(own, semi_axes, strict=True)))
    slope = xp.sqrt(sum((p / a**2) ** 2 for p, a in zip(own, semi_axes, strict=True)))
    centre = slope <= 0
    distance = level * (level - 1) / xp.where(centre, xp.ones_like(slope), slope)
    return xp.where(centre, xp.full_like(distance, -float(min(semi_axes))), distance)


def bilayer_potential(distance_angstrom: Array, blur_sigma_angstrom: float) -> Array:
    """Potential above ice in V at a distance from the bilayer's middle, blurred by a Gaussian along it."""
    xp = namespace(distance_angstrom)
    sigma = math.hypot(HEAD_SIGMA_ANGSTROM, blur_sigma_angstrom)
    peak = HEAD_V_A / (sigma * math.sqrt(2 * math.pi))
    half = HEAD_DISTANCE_ANGSTROM / 2
    heads = xp.exp(-((distance_angstrom - half) ** 2) / (2 * sigma**2))
    heads = heads + xp.exp(-((distance_angstrom + half) ** 2) / (2 * sigma**2))
    core = CORE_V_A / CORE_HALF_ANGSTROM * soft_slab(distance_angstrom, CORE_HALF_ANGSTROM, blur_sigma_angstrom)
    return peak * heads + core


def soft_slab(distance: Array, half_width: float, sigma: float) -> Array:
    """1 within ``half_width``, 0 beyond, with edges 1 / (1 + exp(d / w)) of the variance ``sigma``^2."""
    xp = namespace(distance)
    width = max(sigma, 1e-6) * math.sqrt(3) / math.pi
    return (xp.tanh((distance + half_width) / (2 * width)) - xp.tanh((distance - half_width) / (2 * width))) / 2
