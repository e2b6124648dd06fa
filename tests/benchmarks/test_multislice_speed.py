"""Speed of the exit wave on one core: against its Fourier transforms alone, and against abTEM with FFTW.

All in one run, processor time, median of five. The full size of the benchmark: 1024 x 1024 pixels, 40 slices.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft

from cryodask.kernels.multislice import propagate_slices

pytestmark = [pytest.mark.benchmark, pytest.mark.filterwarnings("ignore")]

SLICES, SIZE, PIXEL, THICKNESS = 40, 1024, 5.0, 50.0


def seconds(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(5):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def slices() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((SLICES, SIZE, SIZE), dtype=np.float32)


def our_seconds(potential: npt.NDArray[np.float32]) -> float:
    absorption = np.full_like(potential, 0.2)
    options = {"pixel_size_angstrom": PIXEL, "slice_thickness_angstrom": THICKNESS, "voltage_kv": 300.0}
    return seconds(lambda: propagate_slices(potential, absorption, **options))


def test_against_its_transforms_alone() -> None:
    wave = slices()[0].astype(np.complex64)

    def transforms() -> None:
        for _ in range(SLICES):
            scipy.fft.ifft2(scipy.fft.fft2(wave, workers=1), workers=1)

    ours, floor = our_seconds(slices()), seconds(transforms)
    print(f"exit wave {ours:.3f} s, {2 * SLICES} transforms {floor:.3f} s: ratio {ours / floor:.2f}")
    assert ours < 3.5 * floor


def test_against_abtem() -> None:
    if os.environ.get("OMP_NUM_THREADS") != "1":
        pytest.skip("compare one thread with one thread: set OMP_NUM_THREADS=1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        abtem = pytest.importorskip("abtem", reason="the extra `peers` is not installed")
        pytest.importorskip("pyfftw", reason="the extra `peers` is not installed")
    potential = slices()
    settings = {
        "device": "cpu",
        "fft": "fftw",
        "fftw.threads": 1,
        "precision": "float32",
        "diagnostics.progress_bar": False,
    }
    with abtem.config.set(settings):
        projected = abtem.potentials.iam.PotentialArray(
            potential * THICKNESS, slice_thickness=THICKNESS, extent=(SIZE * PIXEL, SIZE * PIXEL)
        )
        wave = abtem.PlaneWave(energy=300e3)
        peer = seconds(lambda: wave.multislice(projected, lazy=False))
    ours = our_seconds(potential)
    print(f"exit wave {ours:.3f} s (with absorption), abTEM {peer:.3f} s: {peer / ours:.2f} times faster")
    assert peer > 1.5 * ours
