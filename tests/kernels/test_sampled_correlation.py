"""Correlations at every second voxel are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from cryodask.kernels.fast.correlation import correlate_every_second, correlate_into
from cryodask.kernels.fourier import rfftn


@pytest.mark.parametrize("box", [5, 7, 9])
def test_every_second_voxel(box: int) -> None:
    random = np.random.default_rng(box)
    padded = (24, 30, 32)
    # An odd offset takes one voxel of the padding more.
    shape = (23 - box // 2, 29 - box // 2, 32 - box // 2)
    volume = np.zeros(padded, np.float32)
    volume[tuple(slice(0, n) for n in shape)] = random.standard_normal(shape)
    template = random.standard_normal((box,) * 3).astype(np.float32)
    transform = rfftn(volume)
    whole = np.empty(shape, np.float32)
    work = np.empty((shape[0], transform.shape[1], transform.shape[2]), transform.dtype)
    correlate_into(transform, padded, template, whole, work)
    sampled = np.empty(whole[::2, ::2, ::2].shape, np.float32)
    correlate_every_second(transform, padded, template, sampled)
    np.testing.assert_allclose(sampled, whole[::2, ::2, ::2], atol=1e-4)
