"""Templates as files that any matching program reads: a density as the microscope shows it, on a tomogram's voxels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError
from cryodask.kernels.resample import rotate_volume
from cryodask.kernels.templates import soft_sphere_mask
from cryodask.ops.templates import (
    MASK_EDGE_SIGMA_VOXELS,
    SearchFilter,
    TemplateSource,
    fine_template,
)

Volume = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TemplateSettings:
    """How a template is made from a density."""

    voxel_size_angstrom: float
    low_pass_angstrom: float
    optics: Mapping[str, float] = field(default_factory=dict)
    """Arguments of ``phase_contrast_transfer``; empty for no CTF."""
    box_voxels: int | None = None
    """Edge of the cube; None for the smallest odd one that holds the mask and the filters' fringes."""
    mask_radius_angstrom: float | None = None
    """None for that of the source."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BuiltTemplate:
    """A template, protein positive, its mask in the same box, and what was chosen for it."""

    template_id: str
    volume: Volume
    mask: Volume
    voxel_size_angstrom: float
    mask_radius_angstrom: float
    symmetry: str


def built_template(source: TemplateSource, settings: TemplateSettings) -> BuiltTemplate:
    """Filter a density, apply the CTF, and sample it about the centre (N - 1) / 2 of a cube of the tomogram's voxels.

    The sign is such that proteins are positive at low frequencies with and without a CTF. ConfigError for a box that
    does not hold the mask.
    """
    voxel = settings.voxel_size_angstrom
    radius = settings.mask_radius_angstrom or source.radius_angstrom
    search = SearchFilter(
        voxel_size_angstrom=voxel,
        low_pass_angstrom=settings.low_pass_angstrom,
        tilt_deg=None,
        dark=False,
        optics=settings.optics,
    )
    own = TemplateSource(
        template_id=source.template_id,
        density=source.density,
        voxel_size_angstrom=source.voxel_size_angstrom,
        radius_angstrom=radius,
        symmetry=source.symmetry,
    )
    fine = fine_template(own, search)
    side = settings.box_voxels or fine.box[0]
    least = fine.mask.shape[0]
    if side < least:
        raise ConfigError(
            f"a box of {side} voxels does not hold the mask of {source.template_id}, {radius:.4g} angstrom and its "
            f"edge: give --box {least} or more, or a smaller --mask-radius"
        )
    shape = (side, side, side)
    volume = rotate_volume(fine.density, np.eye(3), output_shape=shape, zoom=fine.zoom, order=3)
    mask = soft_sphere_mask(shape, radius / voxel, MASK_EDGE_SIGMA_VOXELS, fine.density)
    return BuiltTemplate(
        template_id=source.template_id,
        volume=np.asarray(-volume if settings.optics else volume, dtype=np.float32),
        mask=np.asarray(mask, dtype=np.float32),
        voxel_size_angstrom=voxel,
        mask_radius_angstrom=radius,
        symmetry=source.symmetry,
    )


def first_zero_angstrom(optics: Mapping[str, float]) -> float | None:
    """Spacing of the CTF's first zero, None without one: a low-pass finer than it keeps reversed contrast."""
    from cryodask.kernels.optics import ctf_zeros

    known = {key: optics[key] for key in ("voltage_kv", "defocus_um", "spherical_aberration_mm") if key in optics}
    if len(known) < 3 or not known["defocus_um"] > 0:
        return None
    (first,) = ctf_zeros(**known, count=1)
    return 1 / first if math.isfinite(first) and first > 0 else None
