"""What counts as membrane: extended sheets, and nothing of a particle's size."""

from __future__ import annotations

import numpy as np

from cryodask.ops.bilayer import bilayer_template, membrane_regions


def shell(shape: tuple[int, int, int], centre: tuple[int, int, int], radius: float) -> np.ndarray:
    axes = np.indices(shape) - np.array(centre).reshape(3, 1, 1, 1)
    return np.asarray(np.abs(np.sqrt((axes**2).sum(axis=0)) - radius) < 1.5)


def test_template_is_two_leaflets() -> None:
    density = bilayer_template().density.read((slice(None),) * 3)
    middle = density[:, density.shape[1] // 2, density.shape[2] // 2]
    peaks = np.flatnonzero((middle[1:-1] > middle[:-2]) & (middle[1:-1] > middle[2:])) + 1
    assert ((peaks - (len(middle) - 1) / 2) * 2.5).tolist() == [-20.0, 20.0]
    assert density[:, 0].max() < 0.01 * density.max()


def test_vesicles_are_found_and_particles_are_not() -> None:
    shape = (64, 80, 80)
    products = np.ones(shape, np.float32)
    vesicle = shell(shape, (32, 40, 40), 24)
    products[vesicle] = 9
    products[5:17, 4:16, 4:16] = 12  # a particle, 120 angstrom wide
    products[50:60, 60:76, 4:8] = 12  # two that touch
    found = membrane_regions(products, 10.0, shape, 1)
    assert found[vesicle].all()
    assert not found[5:17, 4:16, 4:16].any()
    assert not found[50:60, 60:76, 4:8].any()
    # Samples at every second voxel cover the whole volume again, an odd last one too.
    sampled = membrane_regions(products[::2, ::2, ::2], 10.0, shape, 2)
    assert sampled.shape == shape
    assert sampled[vesicle].mean() > 0.95
    assert not membrane_regions(np.ones(shape, np.float32), 10.0, shape, 1).any()
