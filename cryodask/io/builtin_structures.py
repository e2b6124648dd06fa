"""Synthetic complexes that come with the package, so that everything runs without a download.

They are no proteins: a subunit is a union of a few ellipsoids, filled with carbon, nitrogen and oxygen (and the
hydrogens they carry) in the proportions and at the density of the mean protein, and repeated by its point group. What
matters to a simulated tomogram (mass, size, density over ice, symmetry, a recognisable outline) is like that of real
complexes; everything finer is not.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from cryodask.io.elements import CARBON, HYDROGEN, NITROGEN, OXYGEN, Floats, Integers, atomic_weight_u, make_atoms
from cryodask.model.structure import Atoms, StructureInfo
from cryodask.units import AVOGADRO_PER_MOL

GENERATOR_VERSION = 1
"""Raised whenever the same recipe gives other atoms."""

# Share of all atoms in the mean protein, and its mass density.
_COMPOSITION = {HYDROGEN: 0.492, CARBON: 0.313, NITROGEN: 0.094, OXYGEN: 0.101}
_DENSITY_G_PER_CM3 = 1.35

_HEAVY_SHARE = 1.0 - _COMPOSITION[HYDROGEN]
_HYDROGENS_PER_HEAVY_ATOM = _COMPOSITION[HYDROGEN] / _HEAVY_SHARE
_U_PER_HEAVY_ATOM = sum(share * atomic_weight_u(z) for z, share in _COMPOSITION.items()) / _HEAVY_SHARE
_A3_PER_HEAVY_ATOM = _U_PER_HEAVY_ATOM / (_DENSITY_G_PER_CM3 * AVOGADRO_PER_MOL * 1e-24)

_SPACING_ANGSTROM = _A3_PER_HEAVY_ATOM ** (1 / 3)
_JITTER_ANGSTROM = 0.5
_LEAST_DISTANCE_ANGSTROM = _SPACING_ANGSTROM - 2 * _JITTER_ANGSTROM  # 1.6, about a bond

_REACH = 1.3
"""How far beyond its drawn ellipsoids a subunit may grow, times their semi-axes."""

Domain = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Centre (x, y, z) and semi-axes of an ellipsoid, in radii of the sphere that has the subunit's volume."""


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    class_id: str
    name: str
    weight_kda: float
    symmetry: str
    """Point group, its main axis along z; D groups have a two-fold axis along x."""
    domains: tuple[Domain, ...]
    """One subunit. Sizes are scaled together until the mass is right; centres stay."""


_RECIPES = (
    _Recipe(
        class_id="syn-0060-c1",
        name="two lobes",
        weight_kda=60,
        symmetry="C1",
        domains=(((0.0, 0.0, 0.0), (0.95, 0.85, 0.85)), ((1.05, 0.4, 0.2), (0.7, 0.6, 0.6))),
    ),
    _Recipe(
        class_id="syn-0150-c2",
        name="V-shaped dimer",
        weight_kda=150,
        symmetry="C2",
        domains=(((0.75, 0.0, -0.5), (0.75, 0.75, 0.85)), ((1.75, 0.0, 0.8), (0.6, 0.6, 0.85))),
    ),
    _Recipe(
        class_id="syn-0240-c1",
        name="bent rod",
        weight_kda=240,
        symmetry="C1",
        domains=(
            ((-2.0, 0.7, 0.0), (0.75, 0.5, 0.5)),
            ((-0.75, 0.0, 0.0), (0.8, 0.55, 0.55)),
            ((0.75, 0.0, 0.1), (0.8, 0.55, 0.55)),
            ((2.0, 0.7, 0.3), (0.75, 0.5, 0.5)),
        ),
    ),
    _Recipe(
        class_id="syn-0360-d2",
        name="cross of four arms",
        weight_kda=360,
        symmetry="D2",
        domains=(((0.7, 0.55, 0.6), (0.8, 0.8, 0.8)), ((1.6, 1.2, 0.7), (0.8, 0.7, 0.6))),
    ),
    _Recipe(
        class_id="syn-0540-d4",
        name="compact barrel of eight",
        weight_kda=540,
        symmetry="D4",
        domains=(((1.25, 0.3, 0.85), (0.9, 0.85, 0.9)), ((1.0, 0.6, 1.9), (0.55, 0.55, 0.5))),
    ),
    _Recipe(
        class_id="syn-0600-c6",
        name="two-tiered ring of six",
        weight_kda=600,
        symmetry="C6",
        domains=(((1.6, 0.0, 0.0), (0.75, 0.9, 0.75)), ((1.75, 0.3, 1.3), (0.65, 0.65, 0.65))),
    ),
    _Recipe(
        class_id="syn-0900-c1",
        name="L of unequal arms",
        weight_kda=900,
        symmetry="C1",
        domains=(
            ((0.0, 0.0, 0.0), (0.8, 0.65, 0.65)),
            ((0.0, 0.1, 1.2), (0.55, 0.55, 0.85)),
            ((1.1, 0.0, -0.2), (0.8, 0.5, 0.55)),
            ((2.0, 0.3, -0.2), (0.6, 0.55, 0.5)),
        ),
    ),
    _Recipe(
        class_id="syn-1300-d3",
        name="long barrel of six",
        weight_kda=1300,
        symmetry="D3",
        domains=(
            ((0.9, 0.2, 0.65), (0.75, 0.75, 0.7)),
            ((0.85, 0.3, 1.8), (0.65, 0.65, 0.75)),
            ((0.7, 0.0, 2.9), (0.55, 0.55, 0.55)),
        ),
    ),
    _Recipe(
        class_id="syn-2800-o",
        name="hollow cage of twenty-four",
        weight_kda=2800,
        symmetry="O",
        domains=(((0.95, 0.35, 2.2), (0.9, 0.9, 0.8)), ((0.5, 0.75, 2.3), (0.8, 0.8, 0.7))),
    ),
)


@dataclass(frozen=True, kw_only=True)
class BuiltinStructure:
    """A handle to one synthetic complex; its atoms are made anew, and equal, wherever it is loaded."""

    info: StructureInfo

    def load(self) -> Atoms:
        """The atoms, centred on their centre of mass: the same bits on every call."""
        recipe = next(recipe for recipe in _RECIPES if recipe.class_id == self.info.class_id)
        group: Any = recipe.symmetry
        rotations = Rotation.create_group(group).as_matrix()
        generator = np.random.default_rng(np.random.SeedSequence([GENERATOR_VERSION, *recipe.class_id.encode()]))
        subunit = _fill(recipe, rotations, generator)
        elements = _elements(len(subunit), generator)
        positions = np.einsum("gij,nj->gni", rotations, subunit).reshape(-1, 3)
        numbers = np.tile(elements, len(rotations))
        ones = np.ones(len(numbers))
        return make_atoms(positions, numbers, ones, _HYDROGENS_PER_HEAVY_ATOM * ones)


def builtin_structures() -> tuple[BuiltinStructure, ...]:
    """All synthetic complexes, lightest first."""
    return tuple(
        BuiltinStructure(
            info=StructureInfo(
                class_id=recipe.class_id,
                name=f"synthetic: {recipe.name}",
                source="built-in (synthetic)",
                assembly="synthetic",
                symmetry=recipe.symmetry,
                molecular_weight_kda=recipe.weight_kda,
                content_sha256=hashlib.sha256(repr((GENERATOR_VERSION, recipe)).encode()).hexdigest(),
            )
        )
        for recipe in _RECIPES
    )


def _fill(recipe: _Recipe, rotations: Floats, generator: np.random.Generator) -> Floats:
    """(n, 3) heavy atoms of one subunit: those points of a jittered lattice that lie deepest in its ellipsoids.

    Taking the deepest points meets the mass exactly. Only points nearer to this subunit's centre than to any copy's
    are candidates, half a bond's length away from the border, so that copies cannot overlap.
    """
    count = round(recipe.weight_kda * 1000 / len(rotations) / _U_PER_HEAVY_ATOM)
    radius = (count * _A3_PER_HEAVY_ATOM * 3 / (4 * np.pi)) ** (1 / 3)
    centres = radius * (
        np.array([centre for centre, _ in recipe.domains]) + generator.uniform(-0.06, 0.06, (len(recipe.domains), 3))
    )
    axes = radius * np.array([axes for _, axes in recipe.domains]) * generator.uniform(0.9, 1.1, (len(centres), 3))
    turns = Rotation.from_rotvec(generator.normal(0.0, 0.3, (len(centres), 3))).as_matrix()

    reach = _REACH * axes.max(axis=1, keepdims=True)
    points = _jittered_lattice((centres - reach).min(axis=0), (centres + reach).max(axis=0), generator)
    anchor = centres.mean(axis=0)
    # einsum instead of matrix products: BLAS rounds differently from machine to machine.
    for away in anchor - rotations @ anchor:
        if np.linalg.norm(away) > _SPACING_ANGSTROM:  # all but the identity
            points = points[np.einsum("ni,i->n", points, away) >= np.linalg.norm(away) * _LEAST_DISTANCE_ANGSTROM / 2]
    depth = np.full(len(points), np.inf)
    for centre, semi_axes, turn in zip(centres, axes, turns, strict=True):
        squares = np.einsum("ni,ij->nj", points - centre, turn / semi_axes)
        squares *= squares
        depth = np.minimum(depth, squares.sum(axis=1))
    chosen: Floats = points[np.sort(np.argpartition(depth, count)[:count])]
    return chosen


def _jittered_lattice(low: Floats, high: Floats, generator: np.random.Generator) -> Floats:
    """(n, 3) points within a box, one a cell of a cubic lattice, each somewhere around its cell's centre.

    The lattice is turned: aligned with a voxel grid it would beat with it, at 5 angstrom by a tenth of the density.
    """
    turn = Rotation.from_quat(generator.normal(size=4)).as_matrix()  # uniform over all rotations
    corners = np.array(list(itertools.product(*zip(low, high, strict=True))))
    turned = np.einsum("ji,nj->ni", turn, corners)
    axes = [np.arange(a, b, _SPACING_ANGSTROM) for a, b in zip(turned.min(axis=0), turned.max(axis=0), strict=True)]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    lattice += generator.uniform(-_JITTER_ANGSTROM, _JITTER_ANGSTROM, lattice.shape)
    points = np.einsum("ij,nj->ni", turn, lattice)
    within: Floats = points[np.all((points >= low) & (points <= high), axis=1)]
    return within


def _elements(count: int, generator: np.random.Generator) -> Integers:
    """(n,) atomic numbers in the proportions of the mean protein, in random order."""
    numbers = np.array([CARBON, NITROGEN, OXYGEN])
    shares = np.cumsum([_COMPOSITION[int(z)] / _HEAVY_SHARE for z in numbers])
    shares[-1] = 1.0
    ordered = numbers[np.searchsorted(shares, (np.arange(count) + 0.5) / count)]
    return generator.permutation(ordered)
