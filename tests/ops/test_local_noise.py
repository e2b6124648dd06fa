"""Noise of unequal strength is levelled, wherever a block is read."""

from __future__ import annotations

import numpy as np

from cryodask.model.source import ArraySource
from cryodask.ops.local_noise import LEAST_LEVEL, Levelled, noise_level


def test_noise_is_equally_strong_afterwards() -> None:
    """Deviation falling towards the faces along x, as where tilts are missing; one strong particle does not show."""
    x = np.linspace(-1, 1, 80)
    strength = np.sqrt(1 - 0.6 * x**4)
    volume = np.random.default_rng(0).standard_normal((40, 120, 80)).astype(np.float32) * strength.astype(np.float32)
    volume[10:20, 50:60, 35:45] += 6
    level = noise_level(ArraySource(volume))
    assert level.shape == (40, 80)
    assert np.isclose((level**2).mean(), 1, atol=0.02)
    levelled = Levelled(inner=ArraySource(volume), level=level)
    whole = levelled.read((slice(None),) * 3)
    middle, face = whole[25:, :, 30:50].std(), whole[25:, :, 4:12].std()
    assert abs(face / middle - 1) < 0.06
    assert volume[25:, :, 4:12].std() / volume[25:, :, 30:50].std() < 0.9
    part = levelled.read((slice(3, 9), slice(5, 7), slice(70, 80)))
    np.testing.assert_array_equal(part, whole[3:9, 5:7, 70:80])
    empty = volume.copy()
    empty[:, :, :30] = 0
    assert noise_level(ArraySource(empty)).min() == LEAST_LEVEL
