"""Rotations on the host: sampling sets for a search, uniform random draws, and the two Euler conventions in use.

A matrix here turns a template into a particle and acts on (x, y, z) column vectors. Tables are numpy float64.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryodask.errors import ConfigError

Floats = npt.NDArray[np.float64]

_ROTATION_GROUP_VOLUME = 8 * math.pi**2
# The two irrational steps of the spiral, Alexa 2022: sqrt(2), and the positive root of psi^4 = psi + 4.
_SPIRAL_STEP_PHI = math.sqrt(2)
_SPIRAL_STEP_PSI = 1.533751168755204288
# Below this sine of the middle angle only the sum of the outer two is defined: the first is then set to zero.
_TRACE_TOLERANCE = 1e-9
_GIMBAL_SINE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How finely a set of rotations samples all orientations: misorientation to the nearest member."""

    largest_deg: float
    mean_deg: float
    samples: int


def count_for_step(angular_step_deg: float) -> int:
    """Rotations that sample all orientations at one per cube of the step: ``round(8 pi^2 / step_rad^3)``, at least 1.

    Raises
    ------
    ConfigError
        The step is not in (0, 180] degrees.
    """
    if not 0 < angular_step_deg <= 180:
        raise ConfigError(f"angular_step_deg={angular_step_deg!r} is not in (0, 180]; usual steps are 5 to 20 degrees")
    return max(1, round(_ROTATION_GROUP_VOLUME / math.radians(angular_step_deg) ** 3))


def rotation_set(angular_step_deg: float) -> Floats:
    """Evenly spread rotations, (n, 3, 3) with n = ``count_for_step(angular_step_deg)``; the same at every call.

    Super-Fibonacci spiral of M. Alexa, "Super-Fibonacci Spirals: Fast, Low-Discrepancy Sampling of SO(3)", CVPR 2022.
    """
    n = count_for_step(angular_step_deg)
    position = np.arange(n) + 0.5
    fraction = position / n
    phi = 2 * math.pi * position / _SPIRAL_STEP_PHI
    psi = 2 * math.pi * position / _SPIRAL_STEP_PSI
    inner, outer = np.sqrt(fraction), np.sqrt(1 - fraction)
    quaternions = np.stack([inner * np.sin(phi), inner * np.cos(phi), outer * np.sin(psi), outer * np.cos(psi)], axis=1)
    return np.asarray(Rotation.from_quat(quaternions).as_matrix(), dtype=np.float64)


def symmetry_rotations(symmetry: str) -> Floats:
    """The rotations (n, 3, 3) of a point group: Cn, Dn, T, O or I, main axis z (and x for Dn), identity included.

    Raises
    ------
    ConfigError
        The symbol is not one of these.
    """
    if not re.fullmatch(r"[CD][1-9][0-9]?|[TOI]", symmetry):
        raise ConfigError(f"symmetry={symmetry!r} is not a point group of rotations: use C1, C2 ..., D2 ..., T, O or I")
    group: Any = symmetry  # the stubs know no numbers
    return np.asarray(Rotation.create_group(group, axis="Z").as_matrix(), dtype=np.float64)


def without_symmetry_mates(matrices: npt.ArrayLike, symmetry: str) -> Floats:
    """Those of ``matrices`` (n, 3, 3) that turn a symmetric template into different views, in their order.

    R and R g show the same for every g of the group; of all R g, the one of the smallest rotation angle (largest trace)
    stands for them. That domain holds one n-th of all rotations, so an evenly spread set stays evenly spread.
    """
    rotations = np.asarray(matrices, dtype=np.float64)
    mates = np.einsum("nij,gji->ng", rotations, symmetry_rotations(symmetry))
    own = np.einsum("nii->n", rotations)
    kept: Floats = rotations[own >= mates.max(axis=1) - _TRACE_TOLERANCE]
    return kept


def misorientation_deg(first: npt.ArrayLike, second: npt.ArrayLike, symmetry: str = "C1") -> Floats:
    """(n,) smallest angle between ``first`` (n, 3, 3) and any symmetry mate of ``second`` (n, 3, 3), in degrees.

    R and R g show the same for every g of the structure's point group, so no error may be counted between them.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    traces = np.einsum("nij,nik,gkj->ng", a, b, symmetry_rotations(symmetry)).max(axis=1, initial=-1.0)
    # From 3 - trace = 4 sin^2(angle / 2), because the arccosine of almost 1 has no digits left.
    sine = np.sqrt(np.maximum(3 - traces, 0.0)) / 2
    return np.asarray(np.rad2deg(2 * np.arcsin(np.minimum(sine, 1.0))), dtype=np.float64)


def coverage(matrices: npt.ArrayLike, samples: int = 20_000, seed: int = 0) -> Coverage:
    """Measure the covering of ``matrices`` (n, 3, 3) at ``samples`` uniform random rotations.

    The largest misorientation found at random points approaches the covering radius from below.
    """
    if samples < 1:
        raise ConfigError(f"samples={samples} must be at least 1")
    # q and -q are the same rotation; with both in the tree the nearest point is the nearest rotation.
    known = Rotation.from_matrix(np.asarray(matrices, dtype=np.float64)).as_quat()
    drawn = np.random.default_rng(seed).standard_normal((samples, 4))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    chord, _ = cKDTree(np.concatenate([known, -known])).query(drawn)
    angles = np.rad2deg(4 * np.arcsin(np.minimum(chord / 2, 1)))
    return Coverage(largest_deg=float(angles.max()), mean_deg=float(angles.mean()), samples=samples)


def covering_radius_deg(matrices: npt.ArrayLike, samples: int = 20_000, seed: int = 0) -> float:
    """Largest misorientation between any rotation and the nearest member, as measured by ``coverage``."""
    return coverage(matrices, samples, seed).largest_deg


def uniform_rotations(n: int, generator: np.random.Generator) -> Floats:
    """Draw ``n`` rotations uniform on SO(3) as intrinsic ZXZ degrees, (n, 3) as (Z1, X, Z2).

    The invariant measure is sin(X) dZ1 dX dZ2: both outer angles and cos(X) are uniform.
    """
    if n < 0:
        raise ConfigError(f"n={n} rotations cannot be drawn; give 0 or more")
    drawn = generator.random((n, 3))
    outer = 360 * drawn[:, ::2] - 180
    middle = np.rad2deg(np.arccos(2 * drawn[:, 1] - 1))
    return np.stack([outer[:, 0], middle, outer[:, 1]], axis=1)


def matrix_from_zxz_deg(zxz_deg: npt.ArrayLike) -> Floats:
    """Matrices (..., 3, 3) from intrinsic Z-X-Z degrees (..., 3): ``Rz(Z1) Rx(X) Rz(Z2)``."""
    return _matrix_from_euler("ZXZ", zxz_deg)


def zxz_deg_from_matrix(matrices: npt.ArrayLike) -> Floats:
    """Intrinsic Z-X-Z degrees (..., 3) of matrices (..., 3, 3); X in [0, 180], and Z1 = 0 where X is 0 or 180."""
    m = _checked_matrices(matrices)
    # R e_z = (sin Z1 sin X, -cos Z1 sin X, cos X).
    sine = np.hypot(m[..., 0, 2], m[..., 1, 2])
    first = np.where(sine > _GIMBAL_SINE, np.arctan2(m[..., 0, 2], -m[..., 1, 2]), 0.0)
    # The first row of Rz(-Z1) R = Rx(X) Rz(Z2) is (cos Z2, -sin Z2, 0) at every X, so nothing degenerates.
    row = np.cos(first)[..., None] * m[..., 0, :] + np.sin(first)[..., None] * m[..., 1, :]
    last = np.arctan2(-row[..., 1], row[..., 0])
    angles = np.stack([first, np.arctan2(sine, m[..., 2, 2]), last], axis=-1)
    return np.asarray(np.rad2deg(angles), dtype=np.float64)


def matrix_from_relion_zyz_deg(rot_tilt_psi_deg: npt.ArrayLike) -> Floats:
    """Matrices (..., 3, 3) from RELION's (rot, tilt, psi) degrees (..., 3).

    RELION's angles turn the particle back into the reference, so the matrix is the inverse of ``Rz Ry Rz``.
    """
    return np.swapaxes(_matrix_from_euler("ZYZ", rot_tilt_psi_deg), -1, -2)


def relion_zyz_deg_from_matrix(matrices: npt.ArrayLike) -> Floats:
    """RELION's (rot, tilt, psi) degrees (..., 3) of matrices (..., 3, 3); tilt in [0, 180], rot 0 at its two ends."""
    m = np.swapaxes(_checked_matrices(matrices), -1, -2)
    # Ry turns e_z within the x-z plane: R e_z = (cos rot sin tilt, sin rot sin tilt, cos tilt).
    sine = np.hypot(m[..., 0, 2], m[..., 1, 2])
    first = np.where(sine > _GIMBAL_SINE, np.arctan2(m[..., 1, 2], m[..., 0, 2]), 0.0)
    row = np.cos(first)[..., None] * m[..., 1, :] - np.sin(first)[..., None] * m[..., 0, :]
    last = np.arctan2(row[..., 0], row[..., 1])
    angles = np.stack([first, np.arctan2(sine, m[..., 2, 2]), last], axis=-1)
    return np.asarray(np.rad2deg(angles), dtype=np.float64)


def _matrix_from_euler(order: str, angles_deg: npt.ArrayLike) -> Floats:
    angles = np.asarray(angles_deg, dtype=np.float64)
    if angles.shape[-1:] != (3,) or not np.all(np.isfinite(angles)):
        raise ConfigError(f"Euler angles must be finite and of shape (..., 3), got {angles_deg!r}")
    matrices = Rotation.from_euler(order, angles.reshape(-1, 3), degrees=True).as_matrix()
    return np.asarray(matrices, dtype=np.float64).reshape(*angles.shape[:-1], 3, 3)


def _checked_matrices(matrices: npt.ArrayLike) -> Floats:
    m = np.asarray(matrices, dtype=np.float64)
    if m.shape[-2:] != (3, 3):
        raise ConfigError(f"rotation matrices must be of shape (..., 3, 3), got {m.shape}")
    return m
