"""Speed of back-projection on one core, alone and beside other packages, in giga voxel x tilt updates a second.

Processor time is measured, not wall time, so that a busy machine disturbs little. The floors are far below what is
usual; they catch a loop that lost its vector instructions, not a slow machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.kernels.backprojection import LANES, backproject
from cryodask.kernels.ramp import angular_shares, filter_tilts
from cryodask.kernels.sheared_backprojection import backproject_sheared, halo_rows

pytestmark = pytest.mark.benchmark

TILT_DEG = np.arange(-60.0, 61.0, 2.0)
DETECTOR = 512
DEPTH = 200


def seconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of several runs, after one that compiles."""
    call()
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return min(times)


def slab(rows: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((TILT_DEG.size, rows, DETECTOR), dtype=np.float32)


def our_rate(rows: int, oversampling: int = 1) -> float:
    lines = np.repeat(slab(rows), oversampling, axis=2)
    shape = (DEPTH, rows, DETECTOR)
    taken = seconds(lambda: backproject(lines, TILT_DEG, shape=shape, oversampling=oversampling))
    return TILT_DEG.size * DEPTH * rows * DETECTOR / taken / 1e9


@pytest.mark.parametrize("oversampling", [1, 2])
@pytest.mark.parametrize("rows", [LANES, 2 * LANES])
def test_compiled_back_projection(rows: int, oversampling: int, record_property: Callable[[str, object], None]) -> None:
    rate = our_rate(rows, oversampling)
    record_property("giga_updates_per_second", rate)
    print(f"{rows} rows, oversampling {oversampling}: {rate:.1f} giga updates/s")
    assert rate > 2


def test_back_projection_with_an_x_tilt() -> None:
    x_tilts = np.full(TILT_DEG.size, 1.0)
    halo = halo_rows(x_tilts, DEPTH)
    lines = np.repeat(slab(LANES + 2 * halo), 2, axis=2)
    shape, weights = (DEPTH, LANES, DETECTOR), angular_shares(TILT_DEG)
    taken = seconds(
        lambda: backproject_sheared(lines, TILT_DEG, x_tilts, shape=shape, halo=halo, weights=weights, oversampling=2)
    )
    rate = TILT_DEG.size * DEPTH * LANES * DETECTOR / taken / 1e9
    print(f"x tilt of 1 degree: {rate:.1f} giga updates/s")
    assert rate > 0.7


@pytest.mark.parametrize("oversampling", [1, 2])
def test_filtering_takes_a_fraction_of_the_time(oversampling: int) -> None:
    tilts = slab(LANES)
    filtering = seconds(lambda: filter_tilts(tilts, oversampling=oversampling))
    projecting = TILT_DEG.size * DEPTH * LANES * DETECTOR / our_rate(LANES, oversampling) / 1e9
    print(f"oversampling {oversampling}: filter {filtering * 1e3:.0f} ms, back-projection {projecting * 1e3:.0f} ms")
    assert filtering < 2 * projecting


def test_beside_scikit_image() -> None:
    transform = pytest.importorskip("skimage.transform")
    sinogram = np.ascontiguousarray(slab(1)[:, 0, :].T)
    taken = seconds(lambda: transform.iradon(sinogram, TILT_DEG, filter_name=None, circle=True), repeats=2)
    theirs = TILT_DEG.size * DETECTOR**2 / taken / 1e9
    ours = our_rate(LANES)
    print(f"scikit-image {theirs:.2f}, cryodask {ours:.1f} giga updates/s")
    assert ours > 4 * theirs


def test_beside_astra() -> None:
    astra = pytest.importorskip("astra")
    sinogram = np.ascontiguousarray(slab(1)[:, 0, :])
    plane = astra.create_vol_geom(DEPTH, DETECTOR)
    lines = astra.create_proj_geom("parallel", 1.0, DETECTOR, np.deg2rad(TILT_DEG))
    projector = astra.create_projector("linear", lines, plane)
    try:
        taken = seconds(lambda: astra.create_backprojection(sinogram, projector), repeats=2)
    finally:
        astra.clear()
    theirs = TILT_DEG.size * DEPTH * DETECTOR / taken / 1e9
    ours = our_rate(LANES)
    print(f"ASTRA linear {theirs:.2f}, cryodask {ours:.1f} giga updates/s")
    assert ours > 20 * theirs
