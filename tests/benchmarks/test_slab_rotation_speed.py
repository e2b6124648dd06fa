"""Speed of tilting and slicing on one core, against scipy's spline rotation of the same volume, for the same result.

All in one run, processor time. Both sides get spline coefficients that were fitted before, as every tilt shares them.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage

from cryodask.kernels.slab_rotation import PADDING_VOXELS, rotate_slab, slab_height_voxels, spline_coefficients
from cryodask.ops.projection import SLAB_VOXELS

pytestmark = pytest.mark.benchmark

DEPTH, ROWS, WIDTH, SLICE = 180, SLAB_VOXELS, 512, 10


def seconds(call: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def by_scipy(coefficients: npt.NDArray[np.float32], tilt_deg: float) -> npt.NDArray[np.float32]:
    """Rotation about y of the whole volume (z, y, x) by ``affine_transform``, then the mean over each slice."""
    height = slab_height_voxels(DEPTH, WIDTH, tilt_deg, SLICE)
    c, s = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
    matrix = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    centre = np.array([(height - 1) / 2, 0.0, (WIDTH - 1) / 2])
    sample_centre = np.array([(DEPTH - 1) / 2 + PADDING_VOXELS, 0.0, (WIDTH - 1) / 2 + PADDING_VOXELS])
    offset = sample_centre - matrix @ centre
    rotated = scipy.ndimage.affine_transform(
        coefficients,
        matrix,
        offset,
        output_shape=(height, ROWS, WIDTH),
        output=np.float32,
        order=3,
        prefilter=False,
    )
    means: npt.NDArray[np.float32] = rotated.reshape(-1, SLICE, ROWS, WIDTH).mean(axis=1)
    return means


@pytest.mark.parametrize("tilt_deg", [30.0, 60.0])
def test_against_scipy(tilt_deg: float) -> None:
    volume = np.random.default_rng(0).standard_normal((DEPTH, ROWS, WIDTH), dtype=np.float32)
    ours_input = spline_coefficients(volume)
    theirs = np.ascontiguousarray(ours_input.transpose(1, 2, 0))
    # Along y, which the rotation leaves alone, scipy expects coefficients of a spline too.
    scipy_input = scipy.ndimage.spline_filter1d(theirs, axis=1, output=np.float32, mode="mirror")
    ours = rotate_slab(ours_input, tilt_deg, slice_voxels=SLICE)
    peer = by_scipy(scipy_input, tilt_deg)
    inner = slice(2, -2)  # scipy reads beyond the first and last y-plane, we do not
    assert np.abs(ours - peer)[:, inner].max() < 1e-5 * np.ptp(volume)
    our_time = seconds(lambda: rotate_slab(ours_input, tilt_deg, slice_voxels=SLICE), 7)
    peer_time = seconds(lambda: by_scipy(scipy_input, tilt_deg), 3)
    print(f"{tilt_deg:.0f} degrees: ours {our_time:.4f} s, scipy {peer_time:.2f} s: {peer_time / our_time:.0f} times")
    assert peer_time > 100 * our_time
