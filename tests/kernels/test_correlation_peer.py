"""Scores against an independent program, pyTME: the same number at every voxel."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from cryodask.kernels.correlation import best_scores, search_volume
from cryodask.kernels.resample import rotate_volume
from cryodask.kernels.templates import prepare_template
from tests.peers import pytme_scores

SIDE, RADIUS = 25, 9


@pytest.mark.filterwarnings("ignore")
def test_scores_equal_pytmes() -> None:
    generator = np.random.default_rng(2)
    place = np.indices((SIDE,) * 3) - SIDE // 2
    mask = ((place**2).sum(axis=0) <= RADIUS**2).astype(np.float32)
    inside = ((place**2).sum(axis=0) <= (RADIUS - 4) ** 2).astype(float)
    template = gaussian_filter(generator.random((SIDE,) * 3) * inside, 1.5).astype(np.float32) * mask
    volume = generator.standard_normal((48, 52, 50)).astype(np.float32)
    matrices = Rotation.random(12, random_state=4).as_matrix()
    theirs, _ = pytme_scores(volume, template, mask, matrices)
    plan = search_volume(volume, mask)
    turned = (prepare_template(rotate_volume(template, matrix, output_shape=(SIDE,) * 3), mask) for matrix in matrices)
    ours, _ = best_scores(plan, turned, range(len(matrices)))
    # Its correlation is periodic, ours meets the volume's mean outside: they agree where the mask is inside.
    inner = (slice(RADIUS, -RADIUS),) * 3
    assert np.abs(theirs[inner]).max() > 0.05
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=1e-5)
