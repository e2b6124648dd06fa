"""Exit wave against an independent package: abTEM, with its antialiasing switched off."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.ndimage

from cryodask.kernels.multislice import propagate_slices

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what a peer's imports warn of is not ours to mend
    abtem = pytest.importorskip("abtem", reason="the extra `peers` is not installed")

SLICES, SIZE, PIXEL, THICKNESS = 20, 128, 5.0, 50.0


@pytest.mark.filterwarnings("ignore")
def test_exit_wave_is_that_of_abtem() -> None:
    """Relative L2 difference of I - 1 for a strong smooth phase object, 100 nm thick."""
    generator = np.random.default_rng(3)
    noise = generator.standard_normal((SLICES, SIZE, SIZE))
    potential = 60 * scipy.ndimage.gaussian_filter(noise, (0, 2, 2), mode="wrap").astype(np.float32)
    settings = {
        "device": "cpu",
        "precision": "float32",
        "antialias.cutoff": 1.5,  # of the Nyquist frequency: 1 would still cut the corners
        "antialias.taper": 0.0,
        "diagnostics.progress_bar": False,
    }
    with abtem.config.set(settings):
        projected = abtem.potentials.iam.PotentialArray(
            potential * THICKNESS, slice_thickness=THICKNESS, extent=(SIZE * PIXEL, SIZE * PIXEL)
        )
        peer = np.asarray(abtem.PlaneWave(energy=300e3).multislice(projected, lazy=False).array)
    ours = propagate_slices(
        potential, None, pixel_size_angstrom=PIXEL, slice_thickness_angstrom=THICKNESS, voltage_kv=300.0
    )
    contrast, expected = np.abs(ours) ** 2 - 1, np.abs(peer) ** 2 - 1
    assert contrast.std() > 0.02
    assert np.linalg.norm(contrast - expected) < 1e-3 * np.linalg.norm(expected)
