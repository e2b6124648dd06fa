"""Properties of the chemical elements that a potential is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import gemmi
import numpy as np
import numpy.typing as npt

from cryodask.model.structure import Atoms

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

HYDROGEN, CARBON, NITROGEN, OXYGEN, SULFUR = 1, 6, 7, 8, 16

# Displaced solvent volumes in cubic angstrom (Fraser, MacRae & Suzuki 1978); other elements are taken as carbon.
_SOLVENT_VOLUME_A3 = {HYDROGEN: 5.15, CARBON: 16.44, NITROGEN: 2.49, OXYGEN: 9.13}


@cache
def atomic_weight_u(atomic_number: int) -> float:
    """Atomic weight in unified atomic mass units (equal to daltons)."""
    return float(gemmi.Element(atomic_number).weight)


def atomic_weights_u(atomic_number: Integers) -> Floats:
    """(n,) atomic weights."""
    return _looked_up(atomic_number, lambda z: [atomic_weight_u(z)])[:, 0]


def make_atoms(position_angstrom: Floats, atomic_number: Integers, weight: Floats, hydrogens: Floats) -> Atoms:
    """Atoms centred on their centre of mass, with the scattering factors of International Tables C 4.3.2.2.

    ``hydrogens`` (n,) is how many hydrogens each atom carries that are not among the rows; they become rows at the
    position of their carrier, with that number times the carrier's ``weight`` as their weight.
    """
    carriers = np.flatnonzero(hydrogens > 0)
    positions = np.concatenate([position_angstrom, position_angstrom[carriers]])
    numbers = np.concatenate([atomic_number, np.full(len(carriers), HYDROGEN)])
    weights = np.concatenate([weight, weight[carriers] * hydrogens[carriers]])
    mass = weights * atomic_weights_u(numbers)
    return Atoms(
        position_angstrom=positions - np.einsum("n,ni->i", mass, positions) / mass.sum(),
        scattering_a=_looked_up(numbers, lambda z: gemmi.Element(z).c4322.a),
        scattering_b=_looked_up(numbers, lambda z: gemmi.Element(z).c4322.b),
        solvent_volume_a3=_looked_up(numbers, lambda z: [_SOLVENT_VOLUME_A3.get(z, _SOLVENT_VOLUME_A3[CARBON])])[:, 0],
        weight=weights,
    )


def molecular_weight_kda(atomic_number: Integers, weight: Floats, hydrogens: Floats) -> float:
    """Mass of the atoms and of the hydrogens that they carry."""
    each = atomic_weights_u(atomic_number) + hydrogens * atomic_weight_u(HYDROGEN)
    return float(weight @ each) / 1000


def _looked_up(atomic_number: Integers, values: Callable[[int], Sequence[float]]) -> Floats:
    """(n, k) rows ``values(z)`` of each atom's element."""
    elements, index = np.unique(atomic_number, return_inverse=True)
    table: Floats = np.array([values(int(z)) for z in elements], dtype=np.float64)[index]
    return table
