"""Which engine searches for a template: estimated seconds on one core, from rates that were measured once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryodask.kernels.flips import representatives
from cryodask.kernels.low_rank_basis import HELD_OUT, TRAINING
from cryodask.kernels.rotations import count_for_step
from cryodask.ops.low_rank import (
    LowRankSettings,
    coarse_components_estimate,
    fine_components_estimate,
    flips_of_tilts,
)
from cryodask.ops.templates import FILTER_BOX_FACTOR

TRANSFORM_S_PER_VOXEL = 5.0e-9
"""Of one correlation of the padded volume: forward of the small box, product, inverse."""

PRODUCT_FLOP_PER_S = 1.2e11
"""Of the fused product and maximum, in single precision."""

IMAGE_S_PER_VOXEL = 3.5e-8
"""Of one exact image of the training, per voxel of the box it is filtered in."""

EIGEN_S = 4.0
"""Of the eigenvectors of all classes."""


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """An engine and why."""

    engine: str
    reason: str


def choose_engine(
    wanted: str,
    *,
    radius_voxels: float,
    shape: tuple[int, int, int],
    tilt_deg: Sequence[float] | None,
    rotations: int,
    settings: LowRankSettings,
    own_list: bool = False,
) -> EngineChoice:
    """``wanted`` itself, unless it is ``auto``: then the engine whose estimate for template and tomogram is lower.

    With ``own_list`` the low-rank engine too searches ``rotations`` one by one, without their flips.
    """
    if wanted != "auto":
        return EngineChoice(engine=wanted, reason="as asked for")
    exact = fft_seconds(shape, radius_voxels, rotations)
    approximate = low_rank_seconds(shape, radius_voxels, tilt_deg, settings, rotations if own_list else None)
    engine = "low-rank" if approximate < exact else "fft"
    return EngineChoice(
        engine=engine,
        reason=f"estimated {approximate:.0f} s low-rank, {exact:.0f} s fft on one core ({rotations} rotations)",
    )


def fft_seconds(shape: tuple[int, int, int], radius_voxels: float, rotations: int) -> float:
    """One pair of transforms a rotation."""
    return rotations * _padded_voxels(shape, radius_voxels) * TRANSFORM_S_PER_VOXEL


def low_rank_seconds(
    shape: tuple[int, int, int],
    radius_voxels: float,
    tilt_deg: Sequence[float] | None,
    settings: LowRankSettings,
    own_rotations: int | None = None,
) -> float:
    """Training, one correlation an image, and the products of both lists."""
    few, many = coarse_components_estimate(radius_voxels), fine_components_estimate(radius_voxels)
    box = (FILTER_BOX_FACTOR * 2 * (radius_voxels + 2)) ** 3
    training = EIGEN_S + (TRAINING + HELD_OUT) * box * IMAGE_S_PER_VOXEL
    correlations = many * _padded_voxels(shape, radius_voxels) * TRANSFORM_S_PER_VOXEL
    flips = flips_of_tilts(tilt_deg)
    steps = (settings.coarse_step_deg, settings.angular_step_deg)
    coarse, fine = (len(representatives(step, flips)) for step in steps)
    if own_rotations is not None:
        coarse, fine = min(own_rotations, count_for_step(settings.coarse_step_deg)), own_rotations
    flop = 2 * float(np.prod(shape)) * (few * coarse + settings.keep * many * fine)
    return training + correlations + flop / PRODUCT_FLOP_PER_S


def _padded_voxels(shape: tuple[int, int, int], radius_voxels: float) -> float:
    return float(np.prod([n + 2 * radius_voxels for n in shape]))
