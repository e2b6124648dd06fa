"""Atoms of PDB and mmCIF files: read, cleaned, given their hydrogens and repeated to the assembly."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import gemmi
import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.io.elements import CARBON, HYDROGEN, NITROGEN, OXYGEN, Floats, Integers, atomic_weight_u

PDB_SUFFIXES = (".pdb", ".ent")
CIF_SUFFIXES = (".cif", ".mmcif")

# Hydrogens per carbon of the mean protein (H .492, C .313 of all atoms), for residues that gemmi does not know; a
# molecule of fewer carbons than this is more often an ion or carbon monoxide than anything with that many hydrogens.
_HYDROGENS_PER_CARBON = 0.492 / 0.313
_LEAST_CARBONS = 3

_CARRIERS = (CARBON, NITROGEN, OXYGEN)
_LAST_ELEMENT = 98  # of the table of scattering factors


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomTable:
    """The atoms of a file's first model, one row each; waters, zero occupancies and alternates are left out."""

    position_angstrom: Floats
    """(n, 3) as (x, y, z), as in the file."""
    atomic_number: Integers
    weight: Floats
    """(n,) occupancy, summed over alternate positions."""
    hydrogens: Floats
    """(n,) hydrogens that each atom carries without their being in the file."""
    chain: npt.NDArray[np.object_]
    subchain: npt.NDArray[np.object_]
    assemblies: tuple[gemmi.Assembly, ...] = ()
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.weight)


_Row = tuple[tuple[float, float, float], int, float, float, str, str]
"""Position, atomic number, occupancy, hydrogens, chain and subchain of one atom."""


def read_atoms(content: bytes, path: Path) -> AtomTable:
    """The atoms of a PDB or mmCIF file, plain or gzip. DataError naming ``path`` for anything that is not usable."""
    structure = _parse(content, path)
    if len(structure) == 0:
        raise DataError(f"{path} holds no atoms; download or export it again")
    rows: list[_Row] = []
    zero_occupancy = 0
    for chain in structure[0]:
        for residue in chain:
            if not residue.is_water():
                zero_occupancy += _add_residue(rows, chain.name, residue, path)
    if not rows:
        raise DataError(f"{path} holds no atoms besides water; download or export it again")
    notices = []
    if zero_occupancy:
        notices.append(f"{path}: {zero_occupancy} atoms with an occupancy of zero were left out")
    if len(structure) > 1:
        notices.append(f"{path}: the first of {len(structure)} models was read")
    position, number, weight, hydrogens, chains, subchains = zip(*rows, strict=True)
    return AtomTable(
        position_angstrom=np.array(position, dtype=np.float64),
        atomic_number=np.array(number, dtype=np.int64),
        weight=np.array(weight, dtype=np.float64),
        hydrogens=np.zeros(len(rows)) if HYDROGEN in number else np.array(hydrogens, dtype=np.float64),
        chain=np.array(chains, dtype=object),
        subchain=np.array(subchains, dtype=object),
        assemblies=tuple(structure.assemblies),
        notices=tuple(notices),
    )


def biological_assembly(table: AtomTable, name: str, path: Path) -> AtomTable:
    """The atoms of the assembly that the file itself calls ``name``."""
    found = [assembly for assembly in table.assemblies if assembly.name == name]
    if not found:
        known = ", ".join(assembly.name for assembly in table.assemblies) or "none"
        raise DataError(f"{path} declares no biological assembly {name!r} (it declares: {known}); correct the manifest")
    parts = []
    for generator in found[0].generators:
        rows = np.flatnonzero(np.isin(table.chain, generator.chains) | np.isin(table.subchain, generator.subchains))
        for operator in generator.operators:
            transform = operator.transform
            parts.append((rows, np.array(transform.mat.tolist()), np.array(transform.vec.tolist())))
    if not any(len(rows) for rows, _, _ in parts):
        raise DataError(f"{path}: biological assembly {name!r} has no atoms; use another assembly")
    return _repeated(table, parts)


def with_operators(table: AtomTable, operators: Sequence[tuple[float, ...]]) -> AtomTable:
    """The atoms as they are, and again moved by each operator: 12 numbers, three rows of (r1, r2, r3, t)."""
    every = np.arange(len(table))
    matrices = [np.array(operator).reshape(3, 4) for operator in operators]
    return _repeated(table, [(every, np.eye(3), np.zeros(3)), *((every, m[:, :3], m[:, 3]) for m in matrices)])


def _repeated(table: AtomTable, parts: Sequence[tuple[npt.NDArray[np.intp], Floats, Floats]]) -> AtomTable:
    rows = np.concatenate([part[0] for part in parts])
    return AtomTable(
        position_angstrom=np.concatenate([table.position_angstrom[i] @ r.T + t for i, r, t in parts]),
        atomic_number=table.atomic_number[rows],
        weight=table.weight[rows],
        hydrogens=table.hydrogens[rows],
        chain=table.chain[rows],
        subchain=table.subchain[rows],
    )


def _parse(content: bytes, path: Path) -> gemmi.Structure:
    name = path.name.lower().removesuffix(".gz")
    try:
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        text = content.decode("utf-8", errors="replace")
        if name.endswith(PDB_SUFFIXES):
            return gemmi.read_pdb_string(text)
        if name.endswith(CIF_SUFFIXES):
            return gemmi.make_structure_from_block(gemmi.cif.read_string(text)[0])
    except (RuntimeError, ValueError, IndexError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a structure: {error}; download or export it again") from error
    suffixes = ", ".join((*PDB_SUFFIXES, *CIF_SUFFIXES))
    raise DataError(f"{path}: a structure file must end in {suffixes}, or in one of these and .gz")


def _add_residue(rows: list[_Row], chain: str, residue: gemmi.Residue, path: Path) -> int:
    """Add the residue's atoms and their hydrogens; returns how many were left out for their zero occupancy."""
    # Alternate positions: the most occupied one stands for all, the first among equals.
    kept: dict[str, tuple[_Row, float, bool]] = {}
    left_out = 0
    for atom in residue:
        name, number, occupancy, plain = atom.name, atom.element.atomic_number, atom.occ, not atom.has_altloc()
        position = (atom.pos.x, atom.pos.y, atom.pos.z)
        if not 1 <= number <= _LAST_ELEMENT or not math.isfinite(sum(position) + occupancy):
            _refuse(atom, f"{path}: atom {name} of {residue.name} {residue.seqid} in chain {chain}")
        if occupancy <= 0:
            left_out += 1
            continue
        if plain and name in kept and kept[name][2]:
            name = f"{name} {len(kept)}"  # equal names in one residue: ions without numbers, not alternates
        row = (position, number, occupancy, 0.0, chain, residue.subchain)
        best, total, _ = kept.get(name, (row, 0.0, plain))
        kept[name] = (row if occupancy > best[2] else best, total + occupancy, plain)
    numbers = [row[1] for row, _, _ in kept.values()]
    carriers = sum(number in _CARRIERS for number in numbers)
    each = _residue_hydrogens(residue.name, numbers) / carriers if carriers else 0.0
    for (position, number, _, _, _, subchain), occupancy, _ in kept.values():
        hydrogens = each if number in _CARRIERS else 0.0
        rows.append((position, number, min(occupancy, 1.0), hydrogens, chain, subchain))
    return left_out


def _refuse(atom: gemmi.Atom, where: str) -> NoReturn:
    if not 1 <= atom.element.atomic_number <= _LAST_ELEMENT:
        raise DataError(f"{where} has no known element ({atom.element.name}); correct the file's element column")
    raise DataError(f"{where} has a position or occupancy that is not a number; correct the file")


@cache
def _tabulated(name: str) -> tuple[float, float] | None:
    """Hydrogens of a residue and the mass of its heavy atoms, within a chain for amino acids and nucleotides."""
    known = gemmi.find_tabulated_residue(name)
    if not known.found():
        return None
    heavy = known.weight - known.hydrogen_count * atomic_weight_u(HYDROGEN)
    if known.is_amino_acid() or known.is_nucleic_acid():  # each bond of the chain costs a water
        return max(known.hydrogen_count - 2.0, 0.0), heavy - atomic_weight_u(OXYGEN)
    return float(known.hydrogen_count), heavy


def _residue_hydrogens(name: str, numbers: Sequence[int]) -> float:
    """Hydrogens of a residue of which these atoms are modelled, in proportion where some are missing."""
    tabulated = _tabulated(name)
    if tabulated is None:
        carbons = numbers.count(CARBON)
        return _HYDROGENS_PER_CARBON * carbons if carbons >= _LEAST_CARBONS else 0.0
    hydrogens, heavy = tabulated
    if hydrogens == 0 or heavy <= 0:
        return hydrogens
    modelled = sum(atomic_weight_u(number) for number in numbers if number != HYDROGEN)
    return hydrogens * min(1.0, modelled / heavy)
