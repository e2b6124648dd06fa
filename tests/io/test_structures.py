"""Structures from files: the assembly, the hydrogens and the mass are right; wrong files are refused by name."""

from __future__ import annotations

import csv
import gzip
import pickle
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

from cryodask.errors import ConfigError, DataError
from cryodask.io.structure_atoms import biological_assembly, read_atoms
from cryodask.io.structures import FileStructure, StructureSet, load_structure_set
from cryodask.model.structure import Atoms
from cryodask.units import MOTT_BETHE_V_A2

HEADER = "id\tfile\tassembly\toperators\tname\tsymmetry\tmolecular_weight_kda\tmask_radius_px_10A\n"
PROTEIN_IDS = ("1s3x", "3qm1", "3gl1", "3h84", "2cg9", "3d2f", "1u6g", "3cf3", "1bxn", "1qvr", "2gtl", "4v5a_50S")
SMALL_IDS = ("1s3x", "3qm1", "3gl1", "3h84", "1qvr")


def atom(
    name: str = "N",
    residue: str = "ALA",
    position: tuple[float, float, float] = (0, 0, 0),
    *,
    element: str | None = None,
    alternate: str = " ",
    occupancy: float = 1.0,
    number: int = 1,
    chain: str = "A",
) -> str:
    x, y, z = position
    return (
        f"ATOM      1  {name:<3}{alternate}{residue:>3} {chain}{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
        f"{occupancy:6.2f}  0.00          {element or name[0]:>2}\n"
    )


ALANINE = "".join(atom(name, position=(i, i * i, -i), number=1) for i, name in enumerate(("N", "CA", "C", "O", "CB")))


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def only(result: StructureSet) -> FileStructure:
    (structure,) = result.structures
    assert isinstance(structure, FileStructure)
    return structure


@pytest.fixture(scope="session")
def structures_folder(shared_data: Path) -> Path:
    return shared_data / "structures"


@pytest.fixture(scope="session")
def manifest(structures_folder: Path) -> dict[str, dict[str, str]]:
    with (structures_folder / "assemblies.tsv").open() as file:
        return {row["id"]: row for row in csv.DictReader(file, delimiter="\t")}


@pytest.fixture(scope="session")
def real(structures_folder: Path) -> StructureSet:
    return load_structure_set(structures_folder)


def test_density_maps_come_with_a_notice(real: StructureSet) -> None:
    assert {structure.info.class_id for structure in real.structures} == {*PROTEIN_IDS, "4cr2", "5mrc"}
    assert sum("is made of a density map" in notice for notice in real.notices) == 2


@pytest.mark.parametrize("class_id", SMALL_IDS)
def test_assembly_has_the_listed_heavy_atoms(
    class_id: str, real: StructureSet, manifest: dict[str, dict[str, str]]
) -> None:
    structure = next(structure for structure in real.structures if structure.info.class_id == class_id)
    atoms = structure.load()
    assert isinstance(atoms, Atoms)
    # Hydrogens are the rows whose scattering factor is hydrogen's; all others are heavy.
    heavy = ~np.isclose(atoms.scattering_a[:, 0], gemmi.Element("H").c4322.a[0])
    assert np.count_nonzero(heavy) == int(manifest[class_id]["heavy_atoms"])


@pytest.mark.parametrize("class_id", PROTEIN_IDS)
def test_counts_and_masses_of_the_manifest(
    class_id: str, manifest: dict[str, dict[str, str]], structures_folder: Path
) -> None:
    row = manifest[class_id]
    path = structures_folder / row["file"]
    table = read_atoms(path.read_bytes(), path)
    copies = int(row["copies"])
    assert len(table) * copies == int(row["heavy_atoms"])
    if row["assembly"].startswith("bio:"):
        assert len(biological_assembly(table, row["assembly"][4:], path)) == len(table) * copies


def test_computed_mass_is_that_of_the_modelled_residues(
    structures_folder: Path, manifest: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    """The manifest counts the full sequence; the modelled part of it weighs somewhat less and never more."""
    rows = [manifest[class_id] for class_id in SMALL_IDS]
    for row in rows:
        (tmp_path / row["file"]).write_bytes((structures_folder / row["file"]).read_bytes())
    lines = "".join(f"{row['id']}\t{row['file']}\t{row['assembly']}\t{row['operators']}\n" for row in rows)
    write(tmp_path, "assemblies.tsv", HEADER[: HEADER.index("\tname")] + "\n" + lines)
    result = load_structure_set(tmp_path)
    for row, structure in zip(rows, result.structures, strict=True):
        weight = structure.info.molecular_weight_kda
        assert weight is not None
        assert 0.85 < weight / float(row["formula_kda"]) < 1.005
    assert sum("computed from its atoms" in notice for notice in result.notices) == len(rows)


def test_biological_assembly_equals_gemmi(structures_folder: Path) -> None:
    for name, assembly in (("3qm1.pdb.gz", "1"), ("3h84.pdb.gz", "2"), ("3qm1.pdb.gz", "2")):
        path = structures_folder / name
        table = biological_assembly(read_atoms(path.read_bytes(), path), assembly, path)
        structure = gemmi.read_structure(str(path))
        structure.remove_waters()
        structure.remove_alternative_conformations()
        found = next(found for found in structure.assemblies if found.name == assembly)
        model = gemmi.make_assembly(found, structure[0], gemmi.HowToNameCopiedChain.Dup)
        expected = np.array([a.pos.tolist() for c in model for r in c for a in r])
        assert len(expected) == len(table)
        np.testing.assert_allclose(table.position_angstrom.mean(axis=0), expected.mean(axis=0), atol=0.05)
        spread = np.linalg.norm(expected - expected.mean(axis=0), axis=1)
        own = np.linalg.norm(table.position_angstrom - table.position_angstrom.mean(axis=0), axis=1)
        np.testing.assert_allclose(np.sort(own), np.sort(spread), atol=0.1)


def test_atoms_are_centred_and_carry_their_hydrogens(tmp_path: Path) -> None:
    structure = only(load_structure_set(write(tmp_path, "ala.pdb", ALANINE)))
    atoms = structure.load()
    assert atoms.weight.sum() == pytest.approx(5 + 5)  # C3H5NO within a chain
    assert structure.info.molecular_weight_kda == pytest.approx(71.079e-3, rel=1e-3)
    hydrogen = np.isclose(atoms.scattering_a[:, 0], gemmi.Element("H").c4322.a[0])
    np.testing.assert_allclose(atoms.weight[hydrogen], 1.0, rtol=1e-5)
    weights = atoms.weight * np.array([gemmi.Element(e).weight for e in [*"NCCOC", *"HHHHH"]])
    np.testing.assert_allclose(weights @ atoms.position_angstrom, 0, atol=1e-9)
    integral = MOTT_BETHE_V_A2 * atoms.weight @ atoms.scattering_a.sum(axis=1)
    assert integral == pytest.approx(105.97717 + 3 * 120.11544 + 94.96053 + 5 * 25.31770, rel=1e-6)
    np.testing.assert_array_equal(atoms.solvent_volume_a3, [2.49, 16.44, 16.44, 9.13, 16.44, *[5.15] * 5])


def test_hydrogens_in_the_file_are_not_added_again(tmp_path: Path) -> None:
    path = write(tmp_path, "ala.pdb", ALANINE + atom("HA", element="H") + atom("HB", element="D"))
    atoms = only(load_structure_set(path)).load()
    assert atoms.weight.sum() == 7


def test_hydrogens_of_partly_modelled_and_unknown_residues(tmp_path: Path) -> None:
    backbone = "".join(atom(name, position=(i, 0, 0)) for i, name in enumerate(("N", "CA", "C", "O")))
    path = write(tmp_path, "part.pdb", backbone)
    table = read_atoms(path.read_bytes(), path)
    assert table.hydrogens.sum() == pytest.approx(5 * (54.03 / 66.04), rel=1e-3)
    ligand = "".join(atom(f"C{i}", "ZZ9", (i, 0, 0)) for i in range(10))
    table = read_atoms(ligand.encode(), path)
    assert table.hydrogens.sum() == pytest.approx(10 * 0.492 / 0.313)
    ion = atom("MG", " MG", element="MG")
    assert read_atoms(ion.encode(), path).hydrogens.sum() == 0


def test_waters_alternates_and_zero_occupancies(tmp_path: Path) -> None:
    text = (
        atom("N", position=(1, 0, 0), alternate="A", occupancy=0.3)
        + atom("N", position=(2, 0, 0), alternate="B", occupancy=0.5)
        + atom("CA", position=(3, 0, 0), alternate="A", occupancy=0.5)
        + atom("CA", position=(4, 0, 0), alternate="B", occupancy=0.5)
        + atom("CB", position=(9, 0, 0), occupancy=0.0)
        + atom("O", "HOH", (50, 0, 0), number=2)
    )
    path = write(tmp_path, "x.pdb", text)
    table = read_atoms(path.read_bytes(), path)
    np.testing.assert_array_equal(table.position_angstrom[:, 0], [2, 3])
    np.testing.assert_allclose(table.weight, [0.8, 1.0])
    assert any("1 atoms with an occupancy of zero" in notice for notice in load_structure_set(path).notices)


def test_formats_agree(tmp_path: Path, structures_folder: Path) -> None:
    pdb = structures_folder / "3qm1.pdb.gz"
    table = read_atoms(pdb.read_bytes(), pdb)
    structure = gemmi.read_structure(str(pdb))
    text = structure.make_mmcif_document().as_string()
    cif = tmp_path / "3qm1.cif.gz"
    cif.write_bytes(gzip.compress(text.encode()))
    other = read_atoms(cif.read_bytes(), cif)
    np.testing.assert_array_equal(other.atomic_number, table.atomic_number)
    np.testing.assert_allclose(other.position_angstrom, table.position_angstrom, atol=1e-3)
    np.testing.assert_allclose(other.hydrogens, table.hydrogens)
    assert len(biological_assembly(other, "1", cif)) == 2 * len(other)


def test_operators_repeat_the_atoms(tmp_path: Path) -> None:
    write(tmp_path, "ala.pdb", ALANINE)
    operators = "-1,0,0,10;0,-1,0,0;0,0,1,0|1,0,0,0;0,1,0,100;0,0,1,0"
    write(tmp_path, "assemblies.tsv", f"{HEADER}ala\tala.pdb\tasu+operators\t{operators}\tAlanine\tC2\t12.5\t4\n")
    structure = only(load_structure_set(tmp_path))
    info = structure.info
    assert (info.name, info.symmetry, info.molecular_weight_kda, info.mask_radius_angstrom) == (
        "Alanine",
        "C2",
        12.5,
        40,
    )
    positions = structure.load().position_angstrom[:15]
    asymmetric = positions[:5]
    np.testing.assert_allclose(positions[10:] - asymmetric, np.tile([0.0, 100, 0], (5, 1)))
    np.testing.assert_allclose((positions[5:10] + asymmetric)[:, :2].std(axis=0), 0, atol=1e-9)


def test_handle_is_picklable_and_notices_a_changed_file(tmp_path: Path) -> None:
    path = write(tmp_path, "ala.pdb", ALANINE)
    structure = only(load_structure_set(path))
    again = pickle.loads(pickle.dumps(structure))
    np.testing.assert_array_equal(again.load().position_angstrom, structure.load().position_angstrom)
    path.write_text(ALANINE.replace("CB ", "CG "))
    assert only(load_structure_set(path)).info.content_sha256 != structure.info.content_sha256
    with pytest.raises(DataError, match=r"ala\.pdb has changed"):
        structure.load()


def test_hash_depends_on_the_assembly(tmp_path: Path) -> None:
    write(tmp_path, "ala.pdb", ALANINE)
    shift = "1,0,0,{};0,1,0,0;0,0,1,0"
    rows = (
        f"a\tala.pdb\tasu\nb\tala.pdb\tasu+operators\t{shift.format(5)}\nc\tala.pdb\tasu+operators\t{shift.format(6)}\n"
    )
    write(tmp_path, "assemblies.tsv", HEADER + rows)
    assert len({structure.info.content_sha256 for structure in load_structure_set(tmp_path).structures}) == 3


def test_folder_without_manifest(tmp_path: Path, structures_folder: Path) -> None:
    write(tmp_path, "b.pdb", ALANINE)
    write(tmp_path, "notes.txt", "x")
    (tmp_path / "a.pdb.gz").write_bytes((structures_folder / "3qm1.pdb.gz").read_bytes())
    result = load_structure_set(tmp_path)
    assert [s.info.class_id for s in result.structures] == ["a", "b"]
    assert all(s.info.assembly == "asu" for s in result.structures)
    assert sum("declares biological assemblies (1, 2)" in notice for notice in result.notices) == 1


def test_choices(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write(tmp_path, f"{name}.pdb", ALANINE)
    write(tmp_path, "extra.pdb", ALANINE)
    rows = "".join(f"{name}\t{name}.pdb\tasu\t\t\t\t{w}\n" for name, w in (("one", 50), ("two", 200), ("three", 900)))
    write(tmp_path, "assemblies.tsv", HEADER + rows)

    def ids(**choice: Any) -> list[str]:  # noqa: ANN401
        return [structure.info.class_id for structure in load_structure_set(tmp_path, **choice).structures]

    assert ids() == ["one", "two", "three"]
    assert ids(classes=["three", "one"]) == ["three", "one"]
    assert ids(molecular_weight_kda=(100, 900)) == ["two", "three"]
    notices = load_structure_set(tmp_path, molecular_weight_kda=(100, 900)).notices
    assert any("one was left out: 50.0 kDa" in notice for notice in notices)
    assert any("extra.pdb was left out" in notice for notice in notices)
    assert load_structure_set(tmp_path / "assemblies.tsv").structures == load_structure_set(tmp_path).structures
    with pytest.raises(ConfigError, match="did you mean three"):
        ids(classes=["thre"])
    with pytest.raises(ConfigError, match="named twice"):
        ids(classes=["one", "one"])
    with pytest.raises(ConfigError, match="no structure is left"):
        ids(molecular_weight_kda=(1000, 2000))
    with pytest.raises(ConfigError, match="is empty"):
        ids(molecular_weight_kda=(3, 2))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a\tgone.pdb\tasu", r"gone\.pdb cannot be read"),
        ("a\tala.pdb\tbio:7", "no biological assembly '7'"),
        ("a\tala.pdb\tall", r"line 2: assembly 'all'"),
        ("a\tala.pdb\tasu+operators\t", "operators belong"),
        ("a\tala.pdb\tasu\t1,0,0,0;0,1,0,0;0,0,1,0", "operators belong"),
        ("a\tala.pdb\tasu+operators\t1,0,0;0,1,0;0,0,1", "three rows"),
        ("a\tala.pdb\tasu+operators\t1,0,0,0;0,1,0,0;0,0,-1,0", "not a rotation"),
        ("a\tala.pdb\tasu+operators\t1,0,0,x;0,1,0,0;0,0,1,0", "three rows"),
        ("a b\tala.pdb\tasu", "id 'a b'"),
        ("a\t/etc/x.pdb\tasu", "relative path"),
        ("a\t../../x.pdb\tasu", "relative path"),
        ("a\tala.pdb\tasu\t\t\tQ9", "symmetry 'Q9'"),
        ("a\tala.pdb\tasu\t\t\t\t-5", "molecular_weight_kda is '-5'"),
        ("a\tala.pdb\tasu\t\t\t\tmany", "molecular_weight_kda is 'many'"),
        ("a\tala.pdb\tasu\na\tala.pdb\tasu", "line 3: the id 'a' is there already"),
        ("", "lists no classes"),
    ],
)
def test_wrong_manifests(tmp_path: Path, row: str, message: str) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder, "ala.pdb", ALANINE)
    write(folder, "assemblies.tsv", f"{HEADER}{row}\n")
    with pytest.raises(DataError, match=message):
        load_structure_set(folder)


def test_manifest_may_name_files_beside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write(tmp_path, "ala.pdb", ALANINE)
    write(tmp_path / "set", "assemblies.tsv", "# my classes\n\nid\tfile\tassembly\na\t../ala.pdb\tasu\n")
    assert only(load_structure_set(tmp_path / "set")).info.class_id == "a"
    write(tmp_path / "set", "assemblies.tsv", "id\tfile\na\tala.pdb\n")
    with pytest.raises(DataError, match="line 1: no column assembly"):
        load_structure_set(tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pdb", b"", "no atoms"),
        ("a.pdb", b"good morning\n", "no atoms"),
        ("a.pdb", atom("O", "HOH").encode(), "besides water"),
        ("a.pdb", atom("X", element="X").encode(), r"atom X of ALA 1 in chain A has no known element"),
        ("a.pdb", atom().replace("   0.000", "     nan", 1).encode(), "not a number"),
        ("a.cif", b"data_x\nloop_\n_atom_site.id\n", r"a\.cif"),
        ("a.cif", b"data_x\n", "no atoms"),
        ("a.cif", b"", r"a\.cif"),
        ("a.pdb.gz", gzip.compress(ALANINE.encode())[:-12], "cannot be read"),
        ("a.txt", ALANINE.encode(), "must end in"),
    ],
)
def test_unusable_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_structure_set(path)
    assert name in str(caught.value)


def test_missing_and_empty_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no structure file or folder"):
        load_structure_set(tmp_path / "gone")
    with pytest.raises(DataError, match="has no structure files"):
        load_structure_set(tmp_path)
