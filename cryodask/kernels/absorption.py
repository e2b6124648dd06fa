"""Absorption by inelastic scattering: mean free paths, and the imaginary potential that stands for them.

The elastic image loses the electrons that were scattered inelastically (an energy filter removes them). Intensity
through a thickness t of a material falls as exp(-t / mean free path); a wave in a potential V_el + i V_ab falls the
same way if V_ab = 1 / (2 sigma mean free path). Cross sections follow the parametrisation of Vulovic et al. (2013),
Journal of Structural Biology 183, 19-32: Langmore and Smith's for the elements, measured values for hydrogen and for
the mean atom of protein.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cryodask.errors import ConfigError
from cryodask.kernels.optics import interaction_constant
from cryodask.units import ANGSTROM_PER_NM, AVOGADRO_PER_MOL, CM_PER_NM, ELECTRON_REST_ENERGY_EV, V_PER_KV

MEAN_ENERGY_LOSS_EV = 20.0
HYDROGEN_CROSS_SECTION_100_KV_NM2 = 8.8e-6
PROTEIN_ATOM_CROSS_SECTION_100_KV_NM2 = 8.2e-5


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a mean free path needs to know: density, molar mass of a unit, and that unit's cross section in nm^2."""

    density_g_per_cm3: float
    molar_mass_g_per_mol: float
    cross_section_nm2: Callable[[float], float]

    @property
    def units_per_nm3(self) -> float:
        """Number density of the unit (atom, water molecule, mean protein atom)."""
        return self.density_g_per_cm3 * AVOGADRO_PER_MOL / self.molar_mass_g_per_mol * CM_PER_NM**3


def inelastic_mean_free_path_angstrom(material: str, voltage_kv: float) -> float:
    """Mean free path for inelastic scattering, in angstrom; ``ConfigError`` for an unknown material or voltage."""
    known = _material(material)
    return ANGSTROM_PER_NM / (known.units_per_nm3 * known.cross_section_nm2(voltage_kv))


def absorption_potential_v(material: str, voltage_kv: float) -> float:
    """Imaginary part of the interaction potential, V_ab = 1 / (2 sigma mean free path), in V (absolute, not over ice).

    ``material`` is one of ``MATERIALS``; ``ConfigError`` for an unknown one or a voltage that is not positive.
    """
    mean_free_path = inelastic_mean_free_path_angstrom(material, voltage_kv)
    return 1.0 / (2.0 * interaction_constant(voltage_kv) * mean_free_path)


def ice_transmission(path_angstrom: float, voltage_kv: float, *, ice_absorption_v: float | None = None) -> float:
    """Fraction of the intensity that a path through amorphous ice leaves, exp(-2 sigma V_ab path).

    For a slab of thickness T tilted by theta the path is T / cos(theta). ``ice_absorption_v`` replaces the computed
    absorption potential of ice. ``ConfigError`` if the path or the potential is negative or not a number.
    """
    absorption_v = absorption_potential_v("ice", voltage_kv) if ice_absorption_v is None else ice_absorption_v
    for name, value in (("path_angstrom", path_angstrom), ("ice_absorption_v", absorption_v)):
        if not (math.isfinite(value) and value >= 0.0):
            raise ConfigError(f"{name} must be finite and not negative, got {value}")
    return math.exp(-2.0 * interaction_constant(voltage_kv) * absorption_v * path_angstrom)


def _material(name: str) -> Material:
    if name not in MATERIALS:
        raise ConfigError(f"unknown material {name!r}: choose one of {', '.join(sorted(MATERIALS))}")
    return MATERIALS[name]


def _beta_squared(voltage_kv: float) -> float:
    """Square of the electron's speed in units of the speed of light."""
    if not (math.isfinite(voltage_kv) and voltage_kv > 0.0):
        raise ConfigError(f"voltage_kv must be finite and positive, got {voltage_kv}")
    return 1.0 - (ELECTRON_REST_ENERGY_EV / (voltage_kv * V_PER_KV + ELECTRON_REST_ENERGY_EV)) ** 2


def _energy_dependence(voltage_kv: float) -> float:
    """ln(beta^2 (U + E0) / (E_loss / 2)) / beta^2, the factor by which all cross sections change with voltage."""
    beta_squared = _beta_squared(voltage_kv)
    energy_ev = voltage_kv * V_PER_KV + ELECTRON_REST_ENERGY_EV
    return math.log(beta_squared * energy_ev / (MEAN_ENERGY_LOSS_EV / 2.0)) / beta_squared


def _element_nm2(atomic_number: int, voltage_kv: float) -> float:
    return 1.5e-6 * math.sqrt(atomic_number) * _energy_dependence(voltage_kv)


def _scaled_from_100_kv_nm2(measured_nm2: float, voltage_kv: float) -> float:
    return measured_nm2 * _energy_dependence(voltage_kv) / _energy_dependence(100.0)


def _water_nm2(voltage_kv: float) -> float:
    hydrogen = _scaled_from_100_kv_nm2(HYDROGEN_CROSS_SECTION_100_KV_NM2, voltage_kv)
    return 2.0 * hydrogen + _element_nm2(8, voltage_kv)


def _protein_nm2(voltage_kv: float) -> float:
    return _scaled_from_100_kv_nm2(PROTEIN_ATOM_CROSS_SECTION_100_KV_NM2, voltage_kv)


def _gold_nm2(voltage_kv: float) -> float:
    return _element_nm2(79, voltage_kv)


def _carbon_nm2(voltage_kv: float) -> float:
    return _element_nm2(6, voltage_kv)


_PROTEIN = Material(density_g_per_cm3=1.35, molar_mass_g_per_mol=7.2, cross_section_nm2=_protein_nm2)

MATERIALS: Mapping[str, Material] = MappingProxyType(
    {
        "ice": Material(density_g_per_cm3=0.93, molar_mass_g_per_mol=18.0, cross_section_nm2=_water_nm2),
        "protein": _PROTEIN,
        "membrane": _PROTEIN,
        "gold": Material(density_g_per_cm3=19.3, molar_mass_g_per_mol=197.0, cross_section_nm2=_gold_nm2),
        "carbon": Material(density_g_per_cm3=2.0, molar_mass_g_per_mol=12.0, cross_section_nm2=_carbon_nm2),
    }
)
"""Materials by name; membranes absorb as protein does."""
