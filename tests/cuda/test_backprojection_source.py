"""The CUDA kernel of back-projection: its numbers, run on the host, and that it compiles for GPUs of today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import portable_only
from cryodask.kernels.backprojection import backproject
from cryodask.kernels.detector_lines import line_geometry
from cryodask.kernels.fast.cuda_backprojection import backproject_on_device, source
from cryodask.kernels.ramp import angular_shares
from tests.cuda import host, nvrtc

TILTS = np.array([-60.0, -22.5, 0.0, 1.5, 48.0])

needs_compiler = pytest.mark.skipif(host.COMPILER is None, reason=host.WHY_NOT)


@needs_compiler
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "samples"), [((9, 5, 34), 2 * 34), ((40, 9, 21), 2 * 13), ((1, 1, 1), 2)])
def test_the_source_gives_what_the_other_paths_give(
    tmp_path: Path, dtype: type[Any], shape: tuple[int, int, int], samples: int
) -> None:
    tilts = np.random.default_rng(0).standard_normal((len(TILTS), shape[1], samples)).astype(dtype)
    geometry = line_geometry(TILTS, samples, shape=shape, oversampling=2)
    ours = backproject_on_device(tilts, angular_shares(TILTS), geometry, shape, host.HostLauncher(tmp_path))
    tolerance = 2e-6 if dtype == np.float32 else 1e-12
    compiled = backproject(tilts, TILTS, shape=shape, oversampling=2)
    with portable_only():
        portable = backproject(tilts, TILTS, shape=shape, oversampling=2)
    for other in (compiled, portable):
        np.testing.assert_allclose(ours, other, atol=tolerance * max(1.0, float(np.abs(other).max())))


@needs_compiler
def test_rows_of_a_slab_have_the_bits_of_the_whole(tmp_path: Path) -> None:
    tilts = np.random.default_rng(1).standard_normal((len(TILTS), 11, 40)).astype(np.float32)
    launch = host.HostLauncher(tmp_path)

    def made(rows: slice) -> npt.NDArray[np.float32]:
        part = np.ascontiguousarray(tilts[:, rows])
        shape = (12, part.shape[1], 20)
        geometry = line_geometry(TILTS, 40, shape=shape, oversampling=2)
        made_of: npt.NDArray[np.float32] = backproject_on_device(part, angular_shares(TILTS), geometry, shape, launch)
        return made_of

    whole = made(slice(None))
    for rows in (slice(0, 3), slice(3, 11)):
        np.testing.assert_array_equal(made(rows), whole[:, rows])


@pytest.mark.parametrize("real", ["float", "double"])
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
def test_it_compiles_for(architecture: str, real: str) -> None:
    compiler = nvrtc.library()
    if compiler is None:
        pytest.skip(nvrtc.WHY_NOT)
    size, log = nvrtc.compile_for(compiler, source(), architecture, f"-DREAL={real}", "--std=c++14")
    assert size > 0, log
    broken, log = nvrtc.compile_for(compiler, source(), architecture, "--std=c++14")
    assert broken == 0
    assert "REAL" in log
