"""Rotations by HEALPix directions and a turn about each: the list of several matching programs."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation

from cryodask.errors import ConfigError
from cryodask.kernels.rotations import Floats

_PIXEL_SPACING_DEG = math.degrees(math.sqrt(math.pi / 3))
"""Root of a pixel's area, times n_side."""


def healpix_directions(n_side: int) -> Floats:
    """(12 n_side^2, 2) colatitude and longitude in radians of the pixels' centres, ring by ring from the north.

    K. M. Gorski et al., "HEALPix", ApJ 622 (2005), equations 4 to 9.
    """
    if n_side < 1:
        raise ConfigError(f"n_side={n_side} must be at least 1")
    cap = [(4 * i, 1 - i**2 / (3 * n_side**2), 0.5) for i in range(1, n_side)]
    belt = [
        (4 * n_side, 4 / 3 - 2 * i / (3 * n_side), 0.5 * ((i - n_side + 1) % 2)) for i in range(n_side, 3 * n_side + 1)
    ]
    rings = [*cap, *belt, *((count, -z, shift) for count, z, shift in reversed(cap))]
    rows = [
        np.stack([np.full(count, math.acos(z)), 2 * math.pi / count * (np.arange(count) + shift)], axis=1)
        for count, z, shift in rings
    ]
    return np.concatenate(rows)


def healpix_rotations(angular_step_deg: float) -> Floats:
    """(n, 3, 3): every HEALPix direction whose pixels are no wider than the step, with turns no wider about it.

    50,544 rotations at 7 degrees, as pytom-match-pick has them.
    """
    if not 0 < angular_step_deg <= 180:
        raise ConfigError(f"angular_step_deg={angular_step_deg!r} is not in (0, 180]; usual steps are 5 to 20 degrees")
    directions = healpix_directions(max(1, math.ceil(_PIXEL_SPACING_DEG / angular_step_deg)))
    turns = 2 * math.pi / (count := math.ceil(360 / angular_step_deg)) * np.arange(count)
    angles = np.stack(
        [
            np.repeat(directions[:, 1], count),
            np.repeat(directions[:, 0], count),
            np.tile(turns, len(directions)),
        ],
        axis=1,
    )
    return np.asarray(Rotation.from_euler("ZYZ", angles).as_matrix(), dtype=np.float64)


def crowther_step_deg(resolution_angstrom: float, diameter_angstrom: float) -> float:
    """Angular step at which the surface of a particle moves by the resolution: at most 30 degrees.

    R. A. Crowther, D. J. DeRosier and A. Klug, Proc. R. Soc. A 317 (1970): steps of resolution / diameter radians.
    """
    if not (resolution_angstrom > 0 and diameter_angstrom > 0):
        raise ConfigError(f"{resolution_angstrom=} and {diameter_angstrom=} must be positive")
    return min(30.0, math.degrees(resolution_angstrom / diameter_angstrom))
