"""Constants against their published values and scipy's; errors as Python and the command line see them."""

from __future__ import annotations

import copy
import pickle

import pytest
import scipy.constants

from cryodask import errors, units

ALL_ERRORS = [
    (errors.CryodaskError, 1, Exception),
    (errors.ConfigError, 2, ValueError),
    (errors.DataError, 3, ValueError),
    (errors.StoreError, 3, errors.CryodaskError),
    (errors.NotInStoreError, 3, FileNotFoundError),
    (errors.BackendError, 1, errors.CryodaskError),
    (errors.ClusterError, 4, RuntimeError),
    (errors.TaskError, 1, errors.CryodaskError),
    (errors.PluginError, 2, LookupError),
]


def test_constants_are_those_of_scipy() -> None:
    # scipy follows later CODATA releases: defined constants are equal, the electron's mass to its uncertainty.
    assert scipy.constants.h == units.PLANCK_J_S
    assert scipy.constants.e == units.ELEMENTARY_CHARGE_C
    assert scipy.constants.c == units.SPEED_OF_LIGHT_M_PER_S
    assert scipy.constants.N_A == units.AVOGADRO_PER_MOL
    assert pytest.approx(scipy.constants.m_e, rel=2e-9) == units.ELECTRON_MASS_KG


def test_derived_constants_have_their_published_values() -> None:
    assert pytest.approx(510_998.95, abs=0.01) == units.ELECTRON_REST_ENERGY_EV
    # h^2 / (2 pi m0 e), as the electron scattering literature rounds it.
    assert pytest.approx(47.87764, abs=1e-4) == units.MOTT_BETHE_V_A2


def test_lengths_convert_into_each_other() -> None:
    assert units.ANGSTROM_PER_M * 1e-3 == units.ANGSTROM_PER_MM
    assert pytest.approx(1e-6) == units.ANGSTROM_PER_UM / units.ANGSTROM_PER_M
    assert pytest.approx(1e-9) == units.ANGSTROM_PER_NM / units.ANGSTROM_PER_M
    assert pytest.approx(1e-7) == units.CM_PER_NM
    assert (units.V_PER_KV, units.RAD_PER_URAD) == (1e3, 1e-6)


def test_the_list_of_errors_is_complete() -> None:
    defined = {item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, Exception)}
    assert defined == {error for error, _, _ in ALL_ERRORS}


@pytest.mark.parametrize(("error", "code", "parent"), ALL_ERRORS)
def test_every_error_keeps_class_message_and_code_when_it_travels(
    error: type[errors.CryodaskError], code: int, parent: type[Exception]
) -> None:
    raised = error("sample.box_voxels is -1: give a positive size")
    for arrived in (pickle.loads(pickle.dumps(raised)), copy.copy(raised)):
        assert type(arrived) is error
        assert str(arrived) == "sample.box_voxels is -1: give a positive size"
    assert error.exit_code == code
    assert issubclass(error, parent)
    assert issubclass(error, errors.CryodaskError)
