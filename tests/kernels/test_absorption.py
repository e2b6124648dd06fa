from __future__ import annotations

import math

import pytest

from cryodask.errors import ConfigError
from cryodask.kernels.absorption import (
    MATERIALS,
    absorption_potential_v,
    ice_transmission,
    inelastic_mean_free_path_angstrom,
)
from cryodask.kernels.optics import interaction_constant


@pytest.mark.parametrize(
    ("material", "mean_free_path_nm", "absorption_v"),
    [
        ("ice", 375.3775, 0.2041004),
        ("protein", 197.0315, 0.3888451),
        ("membrane", 197.0315, 0.3888451),
        ("gold", 70.99667, 1.0791311),
        ("carbon", 151.4322, 0.5059341),
    ],
)
def test_materials_at_300_kv(material: str, mean_free_path_nm: float, absorption_v: float) -> None:
    assert inelastic_mean_free_path_angstrom(material, 300.0) == pytest.approx(10 * mean_free_path_nm, rel=3e-7)
    assert absorption_potential_v(material, 300.0) == pytest.approx(absorption_v, rel=3e-7)


def test_differences_to_ice_at_300_kv() -> None:
    ice = absorption_potential_v("ice", 300.0)
    assert absorption_potential_v("protein", 300.0) - ice == pytest.approx(0.18474, abs=6e-6)
    assert absorption_potential_v("gold", 300.0) - ice == pytest.approx(0.87503, abs=6e-6)


@pytest.mark.parametrize("material", sorted(MATERIALS))
def test_faster_electrons_travel_further(material: str) -> None:
    paths = [inelastic_mean_free_path_angstrom(material, voltage_kv) for voltage_kv in (80.0, 100.0, 200.0, 300.0)]
    assert paths == sorted(paths)
    assert paths[0] < 0.6 * paths[-1]


def test_protein_atoms_at_100_kv_have_the_tabulated_cross_section() -> None:
    # 1.35 g/cm^3 of 7.2 u: 112.915 atoms per nm^3.
    assert inelastic_mean_free_path_angstrom("protein", 100.0) == pytest.approx(10 / (112.915138 * 8.2e-5), rel=1e-6)


def test_ice_transmission() -> None:
    assert ice_transmission(2000.0, 300.0) == pytest.approx(math.exp(-200 / 375.3775), rel=1e-6)
    assert ice_transmission(2000.0, 300.0) == pytest.approx(0.58696, abs=5e-6)
    assert ice_transmission(0.0, 300.0) == 1.0
    assert ice_transmission(700.0, 300.0) * ice_transmission(1300.0, 300.0) == pytest.approx(
        ice_transmission(2000.0, 300.0), rel=1e-12
    )


def test_ice_transmission_with_a_given_absorption_potential() -> None:
    expected = math.exp(-2 * interaction_constant(300.0) * 0.208 * 2000.0)
    assert ice_transmission(2000.0, 300.0, ice_absorption_v=0.208) == pytest.approx(expected, rel=1e-12)
    assert ice_transmission(2000.0, 300.0, ice_absorption_v=0.0) == 1.0


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'iron'.*carbon, gold, ice, membrane, protein"):
        absorption_potential_v("iron", 300.0)
    with pytest.raises(ConfigError, match="voltage_kv"):
        inelastic_mean_free_path_angstrom("ice", -300.0)
    with pytest.raises(ConfigError, match="path_angstrom"):
        ice_transmission(-1.0, 300.0)
    with pytest.raises(ConfigError, match="ice_absorption_v"):
        ice_transmission(1.0, 300.0, ice_absorption_v=math.nan)
