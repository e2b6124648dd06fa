"""Density maps in a manifest: read, refused, assumed."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.errors import ConfigError, DataError
from cryodask.io.mrc import write_volume
from cryodask.io.structure_maps import MapStructure
from cryodask.io.structures import load_structure_set
from cryodask.model.structure import DensityMap

HEADER = "id\tfile\tassembly\tmolecular_weight_kda\tmap_voxel_size_angstrom\tmap_blur_sigma_angstrom\n"


def blob() -> npt.NDArray[np.float32]:
    z, y, x = np.indices((16, 16, 16)) - 7.5
    values: npt.NDArray[np.float32] = np.exp(-(z**2 + y**2 + x**2) / 8).astype(np.float32)
    return values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_volume(tmp_path / "blob.mrc", blob(), 6.0)
    return tmp_path


def manifest(folder: Path, *cells: str) -> Path:
    (folder / "assemblies.tsv").write_text(HEADER + "\t".join(("blob", "blob.mrc", "density", *cells)) + "\n")
    return folder


def handle(folder: Path) -> tuple[MapStructure, DensityMap]:
    (structure,) = load_structure_set(folder).structures
    assert isinstance(structure, MapStructure)
    return structure, pickle.loads(pickle.dumps(structure)).load()


def test_what_the_manifest_and_the_header_say(folder: Path) -> None:
    structure, loaded = handle(manifest(folder, "500", "", "0"))
    assert structure.info.molecular_weight_kda == loaded.molecular_weight_kda == 500
    assert loaded.voxel_size_angstrom == 6.0
    assert loaded.blur_sigma_angstrom == 0.0
    np.testing.assert_array_equal(loaded.density, blob())


def test_an_unknown_blur_is_assumed_and_said(folder: Path) -> None:
    found = load_structure_set(manifest(folder, "500", "5", ""))
    assert "taken as blurred by a Gaussian of 5.93 angstrom" in found.notices[0]
    _, loaded = handle(folder)
    assert loaded.voxel_size_angstrom == 5.0
    assert loaded.blur_sigma_angstrom == pytest.approx(np.hypot(5.75, 5 / np.sqrt(12)))


def test_each_number_of_the_map_is_part_of_its_hash(folder: Path) -> None:
    rows = (("500", "", "0"), ("501", "", "0"), ("500", "7", "0"), ("500", "", "3"))
    hashes = [handle(manifest(folder, *row))[0].info.content_sha256 for row in rows]
    write_volume(folder / "blob.mrc", 2 * blob(), 6.0, overwrite=True)
    hashes.append(handle(manifest(folder, *rows[0]))[0].info.content_sha256)
    assert len(set(hashes)) == 5


def test_a_map_that_changes_during_a_run_is_refused(folder: Path) -> None:
    structure, _ = handle(manifest(folder, "500", "", "0"))
    write_volume(folder / "blob.mrc", 2 * blob(), 6.0, overwrite=True)
    with pytest.raises(DataError, match="has changed since this run began"):
        structure.load()


def test_a_map_without_a_weight_has_no_scale(folder: Path) -> None:
    with pytest.raises(DataError, match=r"blob\.mrc: the density of blob has no scale.*molecular_weight_kda"):
        load_structure_set(manifest(folder, ""))


@pytest.mark.parametrize(("column", "value"), [(1, "-3"), (1, "0"), (2, "-1"), (2, "wide"), (2, "nan")])
def test_wrong_numbers_are_refused(folder: Path, column: int, value: str) -> None:
    cells = ["500", "", ""]
    cells[column] = value
    name = HEADER.strip().split("\t")[3 + column]
    with pytest.raises(DataError, match=f"line 2: {name} is '{value}'"):
        load_structure_set(manifest(folder, *cells))


def test_an_empty_or_inverted_map_is_refused(folder: Path) -> None:
    for values in (0 * blob(), -blob()):
        write_volume(folder / "blob.mrc", values, 6.0, overwrite=True)
        with pytest.raises(DataError, match=r"blob\.mrc: the sum of its values is not positive"):
            load_structure_set(manifest(folder, "500", "", "0"))


def test_a_missing_map_is_named(folder: Path) -> None:
    (folder / "blob.mrc").unlink()
    with pytest.raises(DataError, match=r"there is no file .*blob\.mrc"):
        load_structure_set(manifest(folder, "500"))


def test_a_class_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean blob"):
        load_structure_set(manifest(folder, "500"), ["blobb"])
