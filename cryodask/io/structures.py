"""Sets of structures: a folder, one file, or the built-in ones, as handles that load their atoms where needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from cryodask.errors import ConfigError, DataError
from cryodask.io.builtin_structures import builtin_structures
from cryodask.io.elements import make_atoms, molecular_weight_kda
from cryodask.io.structure_atoms import (
    CIF_SUFFIXES,
    PDB_SUFFIXES,
    AtomTable,
    biological_assembly,
    read_atoms,
    with_operators,
)
from cryodask.io.structure_manifest import MANIFEST, ManifestRow, Operator, check_id, read_manifest
from cryodask.io.structure_maps import map_structure
from cryodask.model.structure import Atoms, Structure, StructureInfo

BUILTIN = "builtin"


@dataclass(frozen=True, kw_only=True)
class FileStructure:
    """A structure in a PDB or mmCIF file. Picklable; the file must be visible where the atoms are loaded."""

    info: StructureInfo
    path: str
    operators: tuple[Operator, ...] = ()

    def load(self) -> Atoms:
        """The atoms of the assembly; DataError if the file is not the one that this handle was made from."""
        path = Path(self.path)
        content = _content(path)
        if _content_hash(content, self.info.assembly, self.operators) != self.info.content_sha256:
            raise DataError(f"{path} has changed since this run began: run the command again")
        table = _assembled(read_atoms(content, path), self.info.assembly, self.operators, path)
        return make_atoms(table.position_angstrom, table.atomic_number, table.weight, table.hydrogens)


@dataclass(frozen=True, kw_only=True)
class StructureSet:
    """The classes of a run, and what a user should know about how they were chosen and read."""

    structures: tuple[Structure, ...]
    notices: tuple[str, ...] = ()


def load_structure_set(
    path: str | Path,
    classes: Sequence[str] | None = None,
    molecular_weight_kda: tuple[float, float] | None = None,
) -> StructureSet:
    """The structures at ``path``: a folder (by its ``assemblies.tsv`` if it has one), one file, or ``builtin``.

    Every file is read once, so that a damaged one stops the run at its start (DataError). ``classes`` keeps these ids
    in this order (ConfigError for one that is not there); ``molecular_weight_kda`` keeps those within (low, high).
    """
    notices: list[str] = []
    if str(path) == BUILTIN:
        structures = _chosen(builtin_structures(), classes, BUILTIN)
    else:
        structures = [_structure(row, notices) for row in _chosen_rows(Path(path), classes, notices)]
    if molecular_weight_kda is not None:
        structures = list(_within(structures, molecular_weight_kda, notices))
    if not structures:
        raise ConfigError(f"{path}: no structure is left" + "".join(f"\n  {notice}" for notice in notices))
    return StructureSet(structures=tuple(structures), notices=tuple(notices))


def is_structure_file(path: Path) -> bool:
    """Whether the name says PDB or mmCIF, plain or gzip."""
    return path.name.lower().removesuffix(".gz").endswith((*PDB_SUFFIXES, *CIF_SUFFIXES))


def _chosen_rows(path: Path, classes: Sequence[str] | None, notices: list[str]) -> list[ManifestRow]:
    rows = list(_rows(path, notices))
    known = {row.class_id: row for row in rows}
    if classes is None:
        return rows
    return [known[class_id] for class_id in checked_classes(classes, list(known), str(path))]


def _rows(path: Path, notices: list[str]) -> Iterator[ManifestRow]:
    """The classes that ``path`` offers, in the order of the manifest or of the names."""
    if not path.exists():
        raise DataError(f"there is no structure file or folder {path}; `{BUILTIN}` names the built-in structures")
    manifest = path / MANIFEST if path.is_dir() else path
    if manifest.suffix == ".tsv" and manifest.exists():
        rows = read_manifest(manifest)
        listed = {row.path for row in rows}
        for file in _structure_files(manifest.parent.absolute()):
            if file not in listed:
                notices.append(f"{file} was left out: {manifest.name} does not list it")
        yield from rows
        return
    files = _structure_files(path.absolute()) if path.is_dir() else [path.absolute()]
    if not files:
        raise DataError(f"{path} has no structure files (PDB or mmCIF, plain or .gz) and no {MANIFEST}")
    stems: dict[str, Path] = {}
    for file in files:
        uncompressed = file.with_suffix("") if file.suffix.lower() == ".gz" else file
        stem = check_id(uncompressed.stem, str(file))
        if stem in stems:
            raise DataError(f"{file} and {stems[stem]} both stand for the class {stem!r}; remove one")
        stems[stem] = file
        yield ManifestRow(class_id=stem, path=file, assembly="asu", name=stem, listed=False)


def _structure(row: ManifestRow, notices: list[str]) -> Structure:
    if row.assembly == "density":
        return map_structure(row, notices)
    content = _content(row.path)
    asymmetric_unit = read_atoms(content, row.path)
    notices.extend(asymmetric_unit.notices)
    if not row.listed and _declares_more(asymmetric_unit):
        names = ", ".join(assembly.name for assembly in asymmetric_unit.assemblies)
        notices.append(
            f"{row.path} declares biological assemblies ({names}), its asymmetric unit was taken; "
            f"list it in {MANIFEST} with assembly bio:{asymmetric_unit.assemblies[0].name} to take that"
        )
    table = _assembled(asymmetric_unit, row.assembly, row.operators, row.path)
    weight_kda = row.molecular_weight_kda
    if weight_kda is None:
        weight_kda = molecular_weight_kda(table.atomic_number, table.weight, table.hydrogens)
        notices.append(f"{row.class_id}: {weight_kda:.1f} kDa, computed from its atoms and their hydrogens")
    info = row.info(weight_kda, _content_hash(content, row.assembly, row.operators))
    return FileStructure(info=info, path=str(row.path), operators=row.operators)


def _assembled(table: AtomTable, assembly: str, operators: tuple[Operator, ...], path: Path) -> AtomTable:
    if assembly.startswith("bio:"):
        return biological_assembly(table, assembly.removeprefix("bio:"), path)
    return with_operators(table, operators)


def _declares_more(table: AtomTable) -> bool:
    operators = [len(generator.operators) for assembly in table.assemblies for generator in assembly.generators]
    return len(table.assemblies) > 1 or sum(operators) > 1


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; check the path") from error


def _content_hash(content: bytes, assembly: str, operators: tuple[Operator, ...]) -> str:
    digest = hashlib.sha256(content)
    digest.update(repr((assembly, operators)).encode())
    return digest.hexdigest()


def _structure_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and is_structure_file(file))


def _chosen(structures: Iterable[Structure], classes: Sequence[str] | None, source: str) -> list[Structure]:
    known = {structure.info.class_id: structure for structure in structures}
    return [known[class_id] for class_id in checked_classes(known if classes is None else classes, list(known), source)]


def checked_classes(classes: Iterable[str], known: Sequence[str], source: str) -> list[str]:
    """``classes`` as a list if each is known and none is named twice, else ConfigError with a suggestion."""
    chosen = list(classes)
    for class_id in chosen:
        if class_id not in known:
            close = get_close_matches(class_id, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(known)}"
            raise ConfigError(f"{source} has no class {class_id!r}{hint}")
        if chosen.count(class_id) > 1:
            raise ConfigError(f"the class {class_id!r} is named twice")
    return chosen


def _within(structures: Sequence[Structure], limits: tuple[float, float], notices: list[str]) -> Iterator[Structure]:
    low, high = limits
    if not low <= high:
        raise ConfigError(f"the molecular weight range {low} to {high} kDa is empty: give (low, high)")
    for structure in structures:
        weight = structure.info.molecular_weight_kda
        if weight is not None and low <= weight <= high:
            yield structure
        else:
            notices.append(f"{structure.info.class_id} was left out: {weight} kDa is not within {low} to {high} kDa")
