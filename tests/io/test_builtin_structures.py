"""The synthetic complexes: right mass, exact symmetry, protein density, one piece, each its own shape."""

from __future__ import annotations

import itertools
import pickle
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from cryodask.io.builtin_structures import BuiltinStructure, builtin_structures
from cryodask.io.structures import load_structure_set
from cryodask.kernels.potential import electrostatic_potential
from cryodask.model.structure import Atoms

STRUCTURES = builtin_structures()
IDS = [structure.info.class_id for structure in STRUCTURES]
MASS_BY_SOLVENT_VOLUME = {5.15: 1.008, 16.44: 12.011, 2.49: 14.007, 9.13: 15.999}


@cache
def made(structure: BuiltinStructure) -> Atoms:
    """Made once for all tests of this file."""
    return structure.load()


@pytest.fixture(params=STRUCTURES, ids=IDS)
def structure(request: pytest.FixtureRequest) -> BuiltinStructure:
    found = request.param
    assert isinstance(found, BuiltinStructure)
    return found


@pytest.fixture
def atoms(structure: BuiltinStructure) -> Atoms:
    return made(structure)


def heavy_positions(atoms: Atoms) -> npt.NDArray[np.float64]:
    heavy: npt.NDArray[np.float64] = atoms.position_angstrom[atoms.solvent_volume_a3 != 5.15]
    return heavy


def point_group(symmetry: str) -> npt.NDArray[np.float64]:
    """Rotation matrices, from their definition: powers of a turn about z, a turn about x, or signed permutations."""
    if symmetry == "O":
        matrices = [
            np.eye(3)[list(order)] * np.array(signs)[:, None]
            for order in itertools.permutations(range(3))
            for signs in itertools.product((1, -1), repeat=3)
        ]
        return np.stack([matrix for matrix in matrices if np.linalg.det(matrix) > 0])
    turns = []
    for k in range(int(symmetry[1:])):
        c, s = np.cos(2 * np.pi * k / int(symmetry[1:])), np.sin(2 * np.pi * k / int(symmetry[1:]))
        turns.append(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]))
    flips = [np.eye(3), np.diag([1, -1, -1])] if symmetry[0] == "D" else [np.eye(3)]
    return np.stack([turn @ flip for turn in turns for flip in flips])


def test_the_set() -> None:
    weights = [structure.info.molecular_weight_kda or 0 for structure in STRUCTURES]
    assert len(STRUCTURES) >= 7
    assert 50 <= min(weights) < 100
    assert 2500 < max(weights) <= 3000
    assert weights == sorted(weights)
    assert len(set(IDS)) == len({structure.info.content_sha256 for structure in STRUCTURES}) == len(STRUCTURES)
    for structure in STRUCTURES:
        assert structure.info.source == "built-in (synthetic)"
        assert structure.info.assembly == "synthetic"
        assert structure.info.name.startswith("synthetic")
        assert structure.info.class_id.split("-")[1:] == [
            f"{structure.info.molecular_weight_kda or 0:04.0f}",
            structure.info.symmetry.lower(),
        ]


def test_they_are_a_set_like_any_other() -> None:
    assert load_structure_set("builtin").structures == STRUCTURES
    chosen = load_structure_set("builtin", ["syn-0600-c6"], (500, 700))
    assert [structure.info.class_id for structure in chosen.structures] == ["syn-0600-c6"]


def test_mass(structure: BuiltinStructure, atoms: Atoms) -> None:
    each = np.vectorize(MASS_BY_SOLVENT_VOLUME.__getitem__)(atoms.solvent_volume_a3)
    assert atoms.weight @ each / 1000 == pytest.approx(structure.info.molecular_weight_kda, rel=0.005)
    np.testing.assert_allclose((atoms.weight * each) @ atoms.position_angstrom / (atoms.weight @ each), 0, atol=1e-3)


def test_composition_of_the_mean_protein(atoms: Atoms) -> None:
    total = atoms.weight.sum()
    for volume, share in {5.15: 0.492, 16.44: 0.313, 2.49: 0.094, 9.13: 0.101}.items():
        assert atoms.weight[atoms.solvent_volume_a3 == volume].sum() / total == pytest.approx(share, abs=0.001)


def test_symmetry_maps_the_atoms_onto_themselves(structure: BuiltinStructure, atoms: Atoms) -> None:
    heavy = atoms.solvent_volume_a3 != 5.15
    # A cyclic group fixes no origin along its axis, any other none but the axes' crossing: the centre of mass.
    positions, elements = atoms.position_angstrom[heavy], atoms.solvent_volume_a3[heavy]
    tree = cKDTree(positions)
    matrices = point_group(structure.info.symmetry)
    assert len(matrices) == {"C": 1, "D": 2, "O": 24}[structure.info.symmetry[0]] * int(
        structure.info.symmetry[1:] or 1
    )
    sample = np.random.default_rng(0).choice(len(positions), 200)
    for matrix in matrices:
        distance, index = tree.query(positions[sample] @ matrix.T)
        assert np.max(distance) < 1e-6
        np.testing.assert_array_equal(elements[index], elements[sample])


def test_no_two_atoms_overlap(atoms: Atoms) -> None:
    distance, _ = cKDTree(heavy_positions(atoms)).query(heavy_positions(atoms)[::7], k=2)
    assert np.min(np.asarray(distance)[:, 1]) > 1.5


def test_in_one_piece(atoms: Atoms) -> None:
    positions = heavy_positions(atoms)
    voxels = np.floor((positions - positions.min(axis=0)) / 6).astype(int)
    counts = np.zeros(voxels.max(axis=0) + 1)
    np.add.at(counts, tuple(voxels.T), 1)
    labels, _ = ndimage.label(counts > 0.3 * 0.0575 * 6**3)
    sizes = np.bincount(labels.ravel())[1:]
    assert sizes.max() / sizes.sum() > 0.999


@pytest.mark.parametrize("class_id", ["syn-0060-c1", "syn-0540-d4", "syn-0900-c1", "syn-2800-o"])
def test_potential_over_ice_is_that_of_protein(class_id: str) -> None:
    """3.3294 V over ice for this composition at 1.35 g/cm^3, where the blur reaches no border."""
    structure = next(structure for structure in STRUCTURES if structure.info.class_id == class_id)
    atoms = made(structure)
    voxel_size = 5.0
    size = int(np.ceil(2 * np.abs(atoms.position_angstrom).max() / voxel_size)) + 6
    potential = electrostatic_potential(
        atoms.scattering_a,
        atoms.scattering_b,
        atoms.position_angstrom + voxel_size * (size - 1) / 2,
        shape=(size, size, size),
        voxel_size_angstrom=voxel_size,
        solvent_volume_a3=atoms.solvent_volume_a3,
        weight=atoms.weight,
    )
    inside = np.zeros((size, size, size))
    heavy = heavy_positions(atoms)
    voxels = np.rint(heavy / voxel_size + (size - 1) / 2).astype(int)[:, ::-1]
    np.add.at(inside, tuple(voxels.T), 1)
    filled = ndimage.gaussian_filter(inside, 1.5) > 0.5 * 0.0575 * voxel_size**3
    core = ndimage.binary_erosion(filled, iterations=2)
    assert core.sum() > 50
    assert potential[core].mean() == pytest.approx(3.33, rel=0.05)


def test_outlines_differ() -> None:
    """Standard deviations along the principal axes, each pair of classes at least 8 % apart in one of them."""
    axes = []
    for structure in STRUCTURES:
        atoms = made(structure)
        axes.append(np.sqrt(np.linalg.eigvalsh(np.cov(heavy_positions(atoms).T))))
    for one, other in itertools.combinations(axes, 2):
        assert np.abs(np.log(one / other)).max() > 0.08


def test_the_same_bits_every_time(structure: BuiltinStructure, atoms: Atoms) -> None:
    again = pickle.loads(pickle.dumps(structure)).load()
    for name in ("position_angstrom", "weight", "scattering_a", "scattering_b", "solvent_volume_a3"):
        np.testing.assert_array_equal(getattr(again, name), getattr(atoms, name))


def test_atoms_have_not_changed_between_versions() -> None:
    """If this fails, raise GENERATOR_VERSION and write down the new numbers: users' data sets depend on it."""
    atoms = made(STRUCTURES[0])
    np.testing.assert_allclose(np.abs(heavy_positions(atoms)).sum(axis=0), GOLDEN, rtol=1e-9)


GOLDEN = (55550.446890502855, 39824.065117291975, 34899.16181331747)
"""Of version 1: sums of |x|, |y| and |z| over the heavy atoms of syn-0060-c1."""
