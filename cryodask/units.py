"""Physical constants and unit conversions: the only numbers of this kind in the package (CODATA 2018, exact SI)."""

from __future__ import annotations

import math

PLANCK_J_S = 6.62607015e-34
ELEMENTARY_CHARGE_C = 1.602176634e-19
ELECTRON_MASS_KG = 9.1093837015e-31
SPEED_OF_LIGHT_M_PER_S = 299792458.0
AVOGADRO_PER_MOL = 6.02214076e23

ELECTRON_REST_ENERGY_EV = ELECTRON_MASS_KG * SPEED_OF_LIGHT_M_PER_S**2 / ELEMENTARY_CHARGE_C

# h^2 / (2 pi m0 e), the factor from a scattering factor in angstrom to a potential in V angstrom^2: 47.877647.
MOTT_BETHE_V_A2 = PLANCK_J_S**2 / (2 * math.pi * ELECTRON_MASS_KG * ELEMENTARY_CHARGE_C) * 1e20

ANGSTROM_PER_M = 1e10
ANGSTROM_PER_MM = 1e7
ANGSTROM_PER_UM = 1e4
ANGSTROM_PER_NM = 10.0
V_PER_KV = 1e3
RAD_PER_URAD = 1e-6
CM_PER_NM = 1e-7
