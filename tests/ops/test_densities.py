"""Densities from maps: the same particle by way of its atoms, and the scale that real structures give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from cryodask.io.structures import load_structure_set
from cryodask.model.structure import DensityMap, StructureInfo
from cryodask.ops.densities import (
    DISPLACED_A3_PER_KDA,
    POTENTIAL_VA3_PER_KDA,
    ParticleDensity,
    particle_density,
)
from cryodask.params.schema import SampleParameters
from tests.tiny import SAMPLE, Balls

TEN = ["1s3x", "3qm1", "3gl1", "3h84", "2cg9", "3d2f", "1u6g", "3cf3", "1bxn", "1qvr"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mapped:
    """A structure known as a map."""

    given: DensityMap

    @property
    def info(self) -> StructureInfo:
        return StructureInfo(class_id="mapped", name="mapped", source="test", assembly="density")

    def load(self) -> DensityMap:
        return self.given


def blurred_map(sigma: float, weight_kda: float, step: int, moved: tuple[int, int, int]) -> DensityMap:
    """The balls of carbon, blurred, sampled at ``step`` times 2.5 angstrom, off the centre of a box that is no cube."""
    fine = particle_density(Balls(), replace(SAMPLE, motion_blur_sigma_angstrom=sigma))
    padded = np.pad(fine.displaced_fraction, [(20 + m, 20 - m) for m in moved])[2:, 5:, :]
    return DensityMap(
        density=padded[::step, ::step, ::step],
        voxel_size_angstrom=fine.voxel_size_angstrom * step,
        blur_sigma_angstrom=sigma,
        molecular_weight_kda=weight_kda,
    )


@pytest.mark.parametrize(
    ("sigma", "step", "moved", "bound"),
    [
        (3.0, 1, (0, 0, 0), 0.002),
        (4.5, 2, (7, -3, 5), 0.01),
        # What the blur left below a hundredth stays lost, and what the coarse grid cannot hold.
        (6.0, 1, (2, 3, -8), 0.03),
        (6.0, 3, (-4, 1, 6), 0.07),
    ],
)
def test_a_map_gives_the_density_of_its_atoms(
    sigma: float, step: int, moved: tuple[int, int, int], bound: float
) -> None:
    atoms = particle_density(Balls(), SAMPLE)
    volume = atoms.displaced_fraction.sum(dtype=np.float64) * 2.5**3
    given = blurred_map(sigma, volume / DISPLACED_A3_PER_KDA, step, moved)
    mapped = particle_density(Mapped(given=given), SAMPLE)
    a, b = _common(atoms, mapped)
    assert np.linalg.norm(b - a) / np.linalg.norm(a) < bound
    per_kda = POTENTIAL_VA3_PER_KDA - SAMPLE.solvent_potential_v * DISPLACED_A3_PER_KDA
    np.testing.assert_allclose(
        mapped.electrostatic_v, mapped.displaced_fraction * (per_kda / DISPLACED_A3_PER_KDA), rtol=1e-5, atol=1e-6
    )


def _common(first: ParticleDensity, second: ParticleDensity) -> tuple[np.ndarray, np.ndarray]:
    """Both on the smaller of their grids, which share a centre."""
    side = min(first.displaced_fraction.shape[0], second.displaced_fraction.shape[0])

    def middle(volume: np.ndarray) -> np.ndarray:
        margin = (volume.shape[0] - side) // 2
        return volume[(slice(margin, margin + side),) * 3]

    return middle(first.displaced_fraction), middle(second.displaced_fraction)


def test_the_scale_is_that_of_the_ten_known_structures(shared_data: Path) -> None:
    structures = load_structure_set(shared_data / "structures", TEN).structures
    sample = SampleParameters()
    potentials, volumes = [], []
    net = []
    for structure in structures:
        density = particle_density(structure, sample)
        displaced = density.displaced_fraction.sum(dtype=np.float64) * density.voxel_size_angstrom**3
        over_ice = density.electrostatic_v.sum(dtype=np.float64) * density.voxel_size_angstrom**3
        weight = structure.info.molecular_weight_kda
        assert weight is not None
        potentials.append((over_ice + sample.solvent_potential_v * displaced) / weight)
        volumes.append(displaced / weight)
        net.append(over_ice / weight)
    assert np.median(potentials) == pytest.approx(POTENTIAL_VA3_PER_KDA, rel=0.006)
    assert np.median(volumes) == pytest.approx(DISPLACED_A3_PER_KDA, rel=0.006)
    expected = POTENTIAL_VA3_PER_KDA - sample.solvent_potential_v * DISPLACED_A3_PER_KDA
    assert np.median(net) == pytest.approx(expected, rel=0.006)
    # Not each of them is as completely modelled: the scale of a map is no better known than this.
    assert np.ptp(potentials) / POTENTIAL_VA3_PER_KDA < 0.12
