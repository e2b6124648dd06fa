"""Structures: what a class of particle is made of, as io reads it and ops place it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, eq=False)
class Atoms:
    """Atoms of one complete particle (its assembly), centred on its centre of mass.

    Hydrogens that a file does not hold may be included implicitly: as extra rows at their parents' positions with a
    ``weight`` of hydrogens per parent.
    """

    position_angstrom: npt.NDArray[np.float64]
    """(n, 3) as (x, y, z)."""
    scattering_a: npt.NDArray[np.float64]
    """(n, 5) amplitudes in angstrom, International Tables C 4.3.2.2."""
    scattering_b: npt.NDArray[np.float64]
    """(n, 5) widths in angstrom^2."""
    solvent_volume_a3: npt.NDArray[np.float64]
    """(n,) volume of solvent each atom displaces (Fraser 1978)."""
    weight: npt.NDArray[np.float64]
    """(n,) occupancy times multiplicity."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DensityMap:
    """One complete particle as a map of its mass density, for structures whose atoms are not at hand."""

    density: npt.NDArray[np.float32]
    """(z, y, x) in any unit; 0 where there is no particle."""
    voxel_size_angstrom: float
    blur_sigma_angstrom: float
    """Gaussian that the density was blurred by, the averaging over its own voxels included; 0 for none."""
    molecular_weight_kda: float
    """Of the full sequences, as for structures made of atoms."""


@dataclass(frozen=True, kw_only=True)
class StructureInfo:
    """What is known of a structure without reading its atoms."""

    class_id: str
    name: str
    source: str
    """File, or ``built-in (synthetic)``."""
    assembly: str
    """asu, bio:N, asu+operators, density or synthetic."""
    symmetry: str = "C1"
    molecular_weight_kda: float | None = None
    mask_radius_angstrom: float | None = None
    content_sha256: str = ""
    """Hash of everything that determines the atoms or the map; part of the tokens of results made from them."""


class Structure(Protocol):
    """A picklable handle: cheap to send to a worker, which then loads the atoms or the map."""

    @property
    def info(self) -> StructureInfo: ...

    def load(self) -> Atoms | DensityMap: ...
