from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import array_api_strict
import gemmi
import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage

from cryodask.backend import device_of, portable_only, to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels import potential as potential_module
from cryodask.kernels.potential import ICE_POTENTIAL_V, displaced_fraction, electrostatic_potential
from cryodask.units import AVOGADRO_PER_MOL, MOTT_BETHE_V_A2
from tests.conftest import Namespace

Float64 = npt.NDArray[np.float64]

SIX_ATOMS = {
    "C": (16.1, 16.2, 15.9),
    "N": (17.3, 16.9, 15.2),
    "O": (14.7, 15.3, 17.0),
    "S": (16.8, 13.9, 16.6),
    "P": (13.9, 17.2, 14.8),
    "H": (18.1, 16.4, 15.6),
}
SIX_POSITIONS = np.array(list(SIX_ATOMS.values()))
DISPLACED_A3 = {"H": 5.15, "C": 16.44, "N": 2.49, "O": 9.13}


def coefficients(elements: Iterable[str]) -> tuple[Float64, Float64]:
    factors = [gemmi.Element(element).c4322 for element in elements]
    return np.array([factor.a for factor in factors]), np.array([factor.b for factor in factors])


def integral_v_a3(element: str) -> float:
    return MOTT_BETHE_V_A2 * float(np.sum(coefficients([element])[0]))


def random_structure(count: int, extent_angstrom: float) -> tuple[Float64, Float64, Float64, Float64]:
    """Coefficients, positions and displaced volumes of atoms in and around a box that starts at the origin."""
    generator = np.random.default_rng(11)
    elements = generator.choice(list(DISPLACED_A3), count)
    positions = generator.uniform(-5.0, extent_angstrom + 5.0, (count, 3))
    return *coefficients(elements), positions, np.array([DISPLACED_A3[element] for element in elements])


def point_potential(element: str, distance: Float64) -> Float64:
    """The potential of one atom by its formula, as an independent reference."""
    a, b = coefficients([element])
    r_squared = distance[..., None] ** 2
    terms = a[0] * (4 * np.pi / b[0]) ** 1.5 * np.exp(-4 * np.pi**2 * r_squared / b[0])
    result: Float64 = MOTT_BETHE_V_A2 * np.sum(terms, axis=-1)
    return result


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ("H", 25.31770),
        ("C", 120.11544),
        ("N", 105.97717),
        ("O", 94.96053),
        ("P", 262.73338),
        ("S", 247.06781),
        ("Na", 228.65407),
        ("Mg", 249.33721),
        ("Cl", 232.57525),
        ("Fe", 342.98110),
        ("Zn", 290.30133),
        ("Au", 506.13376),
    ],
)
def test_integral_of_one_atom(element: str, expected: float) -> None:
    volume = electrostatic_potential(
        *coefficients([element]), np.array([[15.3, 16.1, 14.8]]), shape=(20, 21, 22), voxel_size_angstrom=1.5
    )
    assert np.sum(volume) * 1.5**3 == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ("C", [630.7196, 151.9616, 40.24540, 4.525642, 0.09817243]),
        ("O", [783.0846, 179.2621, 34.87138, 2.202294, 0.01829260]),
    ],
)
def test_potential_at_a_distance(element: str, expected: list[float]) -> None:
    for distance, value in zip([0.1, 0.25, 0.5, 1.0, 2.0], expected, strict=True):
        position = np.array([[0.36, -0.48, 0.8]]) * distance
        tiny_voxel = electrostatic_potential(
            *coefficients([element]), position, shape=(1, 1, 1), voxel_size_angstrom=2e-4
        )
        assert tiny_voxel[0, 0, 0] == pytest.approx(value, rel=5e-7)


@pytest.mark.parametrize(
    ("voxel_size_angstrom", "maximum", "maximum_of_corner_origin"),
    [(0.5, 306.828128, 349.476554), (1.0, 106.253576, 84.089116), (2.0, 18.417947, 17.444268)],
)
def test_six_atom_box(
    arrays: Namespace, voxel_size_angstrom: float, maximum: float, maximum_of_corner_origin: float
) -> None:
    size = round(32 / voxel_size_angstrom)
    a, b = (arrays.asarray(table) for table in coefficients(SIX_ATOMS))
    # With the origin at the corner of voxel 0, and not at its centre as here, everything moves by half a voxel.
    for origin, expected in ((0.0, maximum), (0.5 * voxel_size_angstrom, maximum_of_corner_origin)):
        positions = arrays.asarray(SIX_POSITIONS - origin)
        box = electrostatic_potential(a, b, positions, shape=(size,) * 3, voxel_size_angstrom=voxel_size_angstrom)
        assert device_of(box) == device_of(a)
        volume = to_host(box)
        assert np.sum(volume) * voxel_size_angstrom**3 == pytest.approx(856.172027, rel=1e-8)
        assert np.max(volume) == pytest.approx(expected, rel=3e-8)


def test_voxels_hold_exact_averages() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(24)
    position = np.array([1.2, 0.9, 0.3])
    volume = electrostatic_potential(*coefficients("C"), position[None, :], shape=(2, 3, 4), voxel_size_angstrom=0.8)
    for z, y, x in itertools.product(range(2), range(3), range(4)):
        axes = [(index + nodes / 2) * 0.8 for index in (x, y, z)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        values = point_potential("C", np.linalg.norm(grid - position, axis=-1))
        average = np.einsum("i,j,k,ijk->", weights, weights, weights, values) / 8
        assert volume[z, y, x] == pytest.approx(average, rel=1e-6)


def test_mean_potentials_of_ice_and_protein() -> None:
    water = 2 * integral_v_a3("H") + integral_v_a3("O")
    per_a3 = AVOGADRO_PER_MOL * 1e-24
    assert 0.93 * per_a3 / 18 * water == pytest.approx(4.530129, abs=5e-7)
    assert pytest.approx(4.530129, abs=5e-7) == ICE_POTENTIAL_V
    fractions = {"H": 0.492, "C": 0.313, "N": 0.094, "O": 0.101}
    mass = sum(fraction * gemmi.Element(element).weight for element, fraction in fractions.items())
    assert mass == pytest.approx(7.2, abs=0.02)  # the rounded mean mass is the one behind the reference
    protein = sum(fraction * integral_v_a3(element) for element, fraction in fractions.items())
    assert 1.35 * per_a3 / 7.2 * protein == pytest.approx(7.8595, abs=5e-5)


def test_portable_path_equals_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, positions, displaced = random_structure(300, 60.0)
    options: dict[str, Any] = {
        "shape": (20, 26, 23),
        "voxel_size_angstrom": 2.5,
        "solvent_volume_a3": displaced,
        "weight": np.linspace(0.0, 2.0, 300),
    }
    for blur_sigma_angstrom, dtype, tolerance in (
        (0.0, np.float64, 1e-7),
        (4.0, np.float64, 1e-7),
        (0.0, np.float32, 2e-7),
    ):
        placed = positions.astype(dtype)
        fast = electrostatic_potential(a, b, placed, blur_sigma_angstrom=blur_sigma_angstrom, **options)
        with portable_only():
            portable = electrostatic_potential(a, b, placed, blur_sigma_angstrom=blur_sigma_angstrom, **options)
            monkeypatch.setattr(potential_module, "BLOCK_ELEMENTS", 5000)
            blocks = electrostatic_potential(a, b, placed, blur_sigma_angstrom=blur_sigma_angstrom, **options)
        assert fast.dtype == portable.dtype == dtype
        np.testing.assert_allclose(portable, fast, atol=tolerance * np.max(np.abs(fast)))
        np.testing.assert_allclose(blocks, portable, atol=tolerance * np.max(np.abs(fast)))


def test_namespaces_agree_and_keep_float32(arrays: Namespace) -> None:
    a, b, positions, displaced = random_structure(60, 30.0)
    positions = positions.astype(np.float32)
    kwargs: dict[str, Any] = {"shape": (12, 11, 10), "voxel_size_angstrom": 2.5, "blur_sigma_angstrom": 1.0}
    potential = electrostatic_potential(
        *(arrays.asarray(table.astype(np.float32)) for table in (a, b, positions)),
        solvent_volume_a3=arrays.asarray(displaced),
        weight=arrays.asarray(np.full(60, 0.5)),
        **kwargs,
    )
    fraction = displaced_fraction(arrays.asarray(positions), arrays.asarray(displaced), **kwargs)
    assert potential.dtype == fraction.dtype == arrays.xp.float32
    assert device_of(potential) == device_of(fraction) == device_of(arrays.asarray(positions))
    expected = electrostatic_potential(a, b, positions, solvent_volume_a3=displaced, weight=np.full(60, 0.5), **kwargs)
    np.testing.assert_allclose(to_host(potential), expected, atol=1e-6 * np.max(np.abs(expected)))
    expected = displaced_fraction(positions, displaced, **kwargs)
    np.testing.assert_allclose(to_host(fraction), expected, atol=1e-6)


def test_device_without_float64() -> None:
    try:
        device = array_api_strict.Device("no_float64")
    except ValueError:
        pytest.skip("this array-api-strict has no such device")
    arrays = Namespace("strict", array_api_strict, device)
    a, b, positions, displaced = random_structure(60, 30.0)
    kwargs: dict[str, Any] = {"solvent_volume_a3": displaced, "shape": (12, 11, 10), "voxel_size_angstrom": 2.5}
    expected = electrostatic_potential(a, b, positions.astype(np.float32), **kwargs)
    placed = arrays.asarray(positions.astype(np.float32))
    volume = electrostatic_potential(a, b, placed, **kwargs)
    assert device_of(volume) == device
    np.testing.assert_allclose(to_host(volume), expected, atol=1e-6 * np.max(np.abs(expected)))


def test_integral_survives_shifts() -> None:
    a, b = coefficients(SIX_ATOMS)
    kwargs: dict[str, Any] = {"shape": (18, 17, 16), "voxel_size_angstrom": 2.0}
    volume = electrostatic_potential(a, b, SIX_POSITIONS, **kwargs)
    for shift in ([0.3, -0.7, 0.9], [1.1, 1.3, -1.7]):
        moved = electrostatic_potential(a, b, SIX_POSITIONS + shift, **kwargs)
        assert np.sum(moved) == pytest.approx(np.sum(volume), rel=2e-7)
    whole_voxels = electrostatic_potential(a, b, SIX_POSITIONS + np.array([2.0, -4.0, 6.0]), **kwargs)
    np.testing.assert_allclose(whole_voxels, np.roll(volume, (3, -2, 1), (0, 1, 2)), atol=1e-6 * np.max(volume))


def test_axes_are_z_y_x() -> None:
    volume = electrostatic_potential(
        *coefficients("C"), np.array([[5.0, 10.0, 15.0]]), shape=(10, 10, 10), voxel_size_angstrom=2.5
    )
    assert np.argwhere(volume == np.max(volume)).tolist() == [[6, 4, 2]]


def test_sum_over_atoms_is_linear_and_in_any_order() -> None:
    a, b, positions, displaced = random_structure(80, 30.0)
    kwargs: dict[str, Any] = {"shape": (12, 12, 12), "voxel_size_angstrom": 2.5}
    whole = electrostatic_potential(a, b, positions, solvent_volume_a3=displaced, **kwargs)
    halves = [
        electrostatic_potential(a[part], b[part], positions[part], solvent_volume_a3=displaced[part], **kwargs)
        for part in (slice(0, 40), slice(40, 80))
    ]
    np.testing.assert_allclose(halves[0] + halves[1], whole, rtol=0, atol=1e-12)
    reverse = electrostatic_potential(a[::-1], b[::-1], positions[::-1], solvent_volume_a3=displaced[::-1], **kwargs)
    np.testing.assert_allclose(reverse, whole, rtol=0, atol=1e-12)
    third = electrostatic_potential(a, b, positions, solvent_volume_a3=displaced, weight=np.full(80, 1 / 3), **kwargs)
    np.testing.assert_allclose(third * 3, whole, rtol=0, atol=1e-12)


def test_small_box_is_a_cut_of_a_large_one() -> None:
    a, b, positions, displaced = random_structure(200, 45.0)
    large = electrostatic_potential(
        a, b, positions, solvent_volume_a3=displaced, shape=(18, 18, 18), voxel_size_angstrom=2.5
    )
    small = electrostatic_potential(
        a,
        b,
        positions - np.array([5, 4, 3]) * 2.5,
        solvent_volume_a3=displaced,
        shape=(7, 8, 9),
        voxel_size_angstrom=2.5,
    )
    np.testing.assert_allclose(small, large[3:10, 4:12, 5:14], atol=1e-7 * np.max(large))


# Filtering voxel means by a sampled Gaussian is exact only where the map has no detail left at the voxel size.
@pytest.mark.parametrize(
    ("before_angstrom", "filter_angstrom", "voxel_size_angstrom", "tolerance"),
    [(0.8, 1.5, 0.5, 1e-6), (0.0, 1.5, 0.25, 2e-3)],
)
def test_blur_equals_a_gaussian_filter(
    before_angstrom: float, filter_angstrom: float, voxel_size_angstrom: float, tolerance: float
) -> None:
    a, b = coefficients(SIX_ATOMS)
    size = round(26 / voxel_size_angstrom)
    kwargs: dict[str, Any] = {
        "shape": (size,) * 3,
        "voxel_size_angstrom": voxel_size_angstrom,
        "solvent_volume_a3": np.full(6, 16.44),
    }
    positions = SIX_POSITIONS - 3.0
    sharp = electrostatic_potential(a, b, positions, blur_sigma_angstrom=before_angstrom, **kwargs)
    filtered = scipy.ndimage.gaussian_filter(sharp, filter_angstrom / voxel_size_angstrom, truncate=6.0)
    blurred = electrostatic_potential(
        a, b, positions, blur_sigma_angstrom=math.hypot(before_angstrom, filter_angstrom), **kwargs
    )
    np.testing.assert_allclose(blurred, filtered, atol=tolerance * np.max(np.abs(blurred)))


def test_solvent_exclusion_subtracts_the_displaced_fraction() -> None:
    a, b, positions, displaced = random_structure(80, 30.0)
    kwargs: dict[str, Any] = {"shape": (18, 18, 18), "voxel_size_angstrom": 2.5, "blur_sigma_angstrom": 0.7}
    weight = np.linspace(0.2, 1.0, 80)
    vacuum = electrostatic_potential(a, b, positions, weight=weight, **kwargs)
    in_ice = electrostatic_potential(a, b, positions, solvent_volume_a3=displaced, weight=weight, **kwargs)
    fraction = displaced_fraction(positions, displaced, weight=weight, **kwargs)
    np.testing.assert_allclose(in_ice, vacuum - ICE_POTENTIAL_V * fraction, atol=1e-12)
    in_other = electrostatic_potential(
        a, b, positions, solvent_volume_a3=displaced, solvent_potential_v=2.0, weight=weight, **kwargs
    )
    np.testing.assert_allclose(in_other, vacuum - 2.0 * fraction, atol=1e-12)


def test_displaced_fraction_of_one_atom() -> None:
    volume = displaced_fraction(np.full((1, 3), 15.2), np.array([16.44]), shape=(31, 31, 31), voxel_size_angstrom=1.0)
    assert np.sum(volume) == pytest.approx(16.44, rel=2e-7)
    radius = (16.44 / math.pi**1.5) ** (1 / 3)
    for distance in (0.0, 0.8, 2.0):
        position = np.array([[0.0, distance, 0.0]])
        tiny_voxel = displaced_fraction(position, np.array([16.44]), shape=(1, 1, 1), voxel_size_angstrom=1e-3)
        assert tiny_voxel[0, 0, 0] == pytest.approx(math.exp(-((distance / radius) ** 2)), rel=1e-6)


def test_one_atom_in_every_voxel_displaces_all_solvent_and_negative_values_stay() -> None:
    edge = np.arange(-5, 15) * 2.0
    positions = np.stack(np.meshgrid(edge, edge, edge), axis=-1).reshape(-1, 3)
    displaced = np.full(len(positions), 8.0)
    kwargs: dict[str, Any] = {"shape": (9, 9, 9), "voxel_size_angstrom": 2.0}
    # In an endless lattice each voxel receives exactly what its atom loses to the neighbours.
    np.testing.assert_allclose(displaced_fraction(positions, displaced, **kwargs), 1.0, atol=1e-6)
    a, b = (np.repeat(table, len(positions), axis=0) for table in coefficients("H"))
    volume = electrostatic_potential(a, b, positions, solvent_volume_a3=displaced, **kwargs)
    np.testing.assert_allclose(volume, integral_v_a3("H") / 8.0 - ICE_POTENTIAL_V, atol=1e-5)
    assert np.max(volume) < -1.0


def test_no_atoms_no_volume_and_far_atoms_add_nothing(arrays: Namespace) -> None:
    nothing = electrostatic_potential(
        arrays.asarray(np.zeros((0, 5))),
        arrays.asarray(np.zeros((0, 5))),
        arrays.asarray(np.zeros((0, 3))),
        solvent_volume_a3=arrays.asarray(np.zeros(0)),
        shape=(2, 3, 4),
        voxel_size_angstrom=1.0,
    )
    assert nothing.shape == (2, 3, 4)
    far = displaced_fraction(
        arrays.asarray(np.array([[1e7, 0.0, 0.0], [1.0, 1.0, 1.0]])),
        arrays.asarray(np.array([10.0, 0.0])),
        shape=(2, 3, 4),
        voxel_size_angstrom=1.0,
    )
    assert not np.any(to_host(nothing))
    assert not np.any(to_host(far))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions_angstrom": [[0, 0, 0], [1, math.nan, 1]]}, r"positions_angstrom, row 1, is \[1.0, nan, 1.0\]"),
        ({"positions_angstrom": [[0, 0], [1, 1]]}, r"positions_angstrom must have the shape \(n, 3\), got \(2, 2\)"),
        ({"scattering_a": np.ones((3, 5))}, r"scattering_a must have the shape \(2, n\), got \(3, 5\)"),
        ({"scattering_b": np.ones((2, 4))}, r"scattering_b must have the shape \(2, 5\), got \(2, 4\)"),
        ({"scattering_b": np.diag(np.arange(5.0))[:2]}, r"scattering_b\[0, 0\] is 0.0"),
        ({"scattering_a": np.full((2, 5), math.inf)}, "scattering_a, row 0"),
        ({"solvent_volume_a3": [1.0, -2.0]}, "solvent_volume_a3, row 1, is -2.0"),
        ({"solvent_volume_a3": [1.0]}, r"solvent_volume_a3 must have the shape \(2\), got \(1,\)"),
        ({"weight": [1.0, math.nan]}, "weight, row 1"),
    ],
)
def test_wrong_atoms_are_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "scattering_a": np.ones((2, 5)),
        "scattering_b": np.ones((2, 5)),
        "positions_angstrom": np.zeros((2, 3)),
    }
    arguments.update({name: np.asarray(value, dtype=np.float64) for name, value in change.items()})
    with pytest.raises(DataError, match=message):
        electrostatic_potential(**arguments, shape=(4, 4, 4), voxel_size_angstrom=1.0)


def test_positions_must_be_floating_point() -> None:
    with pytest.raises(DataError, match="float32 or float64, not int"):
        displaced_fraction(np.zeros((1, 3), dtype=np.int64), np.ones(1), shape=(1, 1, 1), voxel_size_angstrom=1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (4, 0, 4)}, r"shape .* \(4, 0, 4\)"),
        ({"shape": (4, 4)}, "shape"),
        ({"voxel_size_angstrom": 0.0}, "voxel_size_angstrom .* 0.0"),
        ({"voxel_size_angstrom": math.nan}, "voxel_size_angstrom"),
        ({"blur_sigma_angstrom": -1.0}, "blur_sigma_angstrom"),
        ({"solvent_potential_v": math.nan}, "solvent_potential_v"),
    ],
)
def test_senseless_boxes_are_refused(change: dict[str, Any], message: str) -> None:
    options = {"shape": (4, 4, 4), "voxel_size_angstrom": 1.0, **change}
    with pytest.raises(ConfigError, match=message):
        electrostatic_potential(*coefficients("C"), np.zeros((1, 3)), **options)
