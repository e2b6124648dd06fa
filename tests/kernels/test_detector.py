"""Detector model: the published curve values, moments of the counts, noise power and the signal to noise ratio."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels import spectrum
from cryodask.kernels.detector import CameraCurves, detect, expected_signal, k2_dqe, k2_mtf, k2_ntf
from tests.conftest import Namespace

DOSE, PIXEL = 110 / 61, 5.0
ELECTRONS = DOSE * PIXEL**2
OPTIONS: dict[str, Any] = {"dose_e_per_a2": DOSE, "pixel_size_angstrom": PIXEL}


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def grating(n: int, m: int, contrast: float) -> npt.NDArray[np.float64]:
    """Intensity 1 + contrast cos(2 pi m x / n)."""
    return np.tile(1 + contrast * np.cos(2 * np.pi * m * np.arange(n) / n), (n, 1))


def test_k2_curves() -> None:
    q = np.array([0.25, 0.5, 0.75])
    np.testing.assert_allclose(k2_dqe(q), [0.700, 0.536, 0.340], atol=6e-3)  # published points; the fit's rms is .0025
    assert k2_dqe(0.0) == 0.7539
    assert k2_dqe(1.0) == pytest.approx(0.1775)
    assert k2_mtf(0.0) == 0.9428
    assert k2_mtf(1.0) == pytest.approx(0.4669)
    np.testing.assert_allclose(k2_ntf(q) ** 2 * k2_dqe(q), k2_mtf(q) ** 2)


def test_curves_run_on_any_library(arrays: Namespace) -> None:
    q = np.linspace(0, 1, 5, dtype=np.float32)
    assert to_host(k2_mtf(arrays.asarray(q))).dtype == np.float32
    np.testing.assert_allclose(to_host(k2_ntf(arrays.asarray(q))), k2_ntf(q.astype(float)), rtol=1e-5)


def test_ideal_camera_counts_poisson(arrays: Namespace) -> None:
    intensity = arrays.asarray(np.full((128, 128), 0.6, np.float32))
    counts = to_host(detect(intensity, camera="ideal", generator=rng(1), **OPTIONS))
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts, np.round(counts))
    mean = 0.6 * ELECTRONS
    assert counts.mean() == pytest.approx(mean, abs=4 * (mean / counts.size) ** 0.5)
    assert counts.var() == pytest.approx(mean, rel=4 * (2 / counts.size) ** 0.5)


@pytest.mark.parametrize("oversampling", [1, 2])
def test_noise_power_follows_the_model(oversampling: int) -> None:
    """Noise power per pixel is dose * NTF^2 = dose * MTF^2 / DQE, ring by ring, and the mean is the dose."""
    n, width_pixels = 256, 16
    counts = detect(np.ones((n, n)), oversampling=oversampling, generator=rng(2), **OPTIONS)
    assert counts.mean() == pytest.approx(ELECTRONS, abs=4 * (ELECTRONS / counts.size) ** 0.5)
    power = spectrum.power_profile(counts, 1.0, width_pixels / n)
    k = power.k[1:]
    q = np.minimum(2 * k / oversampling, 1.0)
    expected = n**2 * ELECTRONS * k2_mtf(q) ** 2 / k2_dqe(q)
    independent = np.pi * k * n * width_pixels
    assert np.abs((power.values[1:] / expected - 1) * np.sqrt(independent)).max() < 4


@pytest.mark.parametrize(("m", "oversampling"), [(0, 2), (5, 2), (16, 2), (11, 1)])
def test_signal_follows_the_mtf(arrays: Namespace, m: int, oversampling: int) -> None:
    n = 32
    signal = to_host(expected_signal(arrays.asarray(grating(n, m, 0.1)), oversampling=oversampling, **OPTIONS))
    contrast = 0.1 * k2_mtf(2 * m / n / oversampling) if m else 0.1
    np.testing.assert_allclose(signal, ELECTRONS * grating(n, m, contrast), rtol=1e-12)


def test_output_snr_is_input_snr_times_dqe() -> None:
    """|mean F|^2 over the variance of F of many images of three gratings, against that of perfect counting."""
    n, repeats, contrast, waves = 32, 1000, 0.08, (4, 10, 15)
    intensity = 1 + sum(grating(n, m, contrast) - 1 for m in waves)
    generator = rng(3)
    rows = np.empty((repeats, len(waves)), complex)
    for i in range(repeats):
        image = detect(intensity, generator=generator, **OPTIONS)
        rows[i] = np.fft.fft(image.mean(axis=0))[list(waves)]
    snr = np.abs(rows.mean(axis=0)) ** 2 / rows.var(axis=0)
    perfect = (0.5 * contrast * n * ELECTRONS) ** 2 / (n * ELECTRONS / n)
    np.testing.assert_allclose(snr / perfect, [k2_dqe(m / n) for m in waves], rtol=0.12)


def test_noisy_minus_noise_free_has_mean_zero() -> None:
    intensity = np.clip(1 + 0.2 * rng(4).standard_normal((24, 24)), 0.2, None)
    generator = rng(5)
    repeats = 400
    mean = sum(detect(intensity, generator=generator, **OPTIONS) for _ in range(repeats)) / repeats
    residual = mean - expected_signal(intensity, **OPTIONS)
    assert np.abs(residual).max() < 5 * (1.3 * ELECTRONS / repeats) ** 0.5
    assert abs(residual.mean()) < 4 * (ELECTRONS / repeats / residual.size) ** 0.5


def test_negative_expectation_counts_as_zero() -> None:
    """One bright pixel on black: the filter undershoots around it, which no Poisson mean may do."""
    intensity = np.zeros((32, 32))
    intensity[16, 16] = 100.0
    counts = detect(intensity, oversampling=1, generator=rng(6), **OPTIONS)
    assert np.all(np.isfinite(counts))
    assert counts[16, 16] > 10 * ELECTRONS


def test_same_generator_state_gives_the_same_bits() -> None:
    intensity = (1 + 0.1 * rng(7).standard_normal((20, 20))).astype(np.float32)
    first, second, other = (detect(intensity, generator=rng(seed), **OPTIONS) for seed in (8, 8, 9))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_every_library_gives_the_same_counts(arrays: Namespace) -> None:
    intensity = 1 + 0.1 * rng(10).standard_normal((24, 20))
    expected = detect(intensity, generator=rng(11), **OPTIONS)
    counts = to_host(detect(arrays.asarray(intensity), generator=rng(11), **OPTIONS))
    np.testing.assert_allclose(counts, expected, rtol=1e-10)


def test_refusals() -> None:
    image = np.ones((4, 4))
    with pytest.raises(ConfigError, match="unknown camera 'k3'"):
        detect(image, camera="k3", generator=rng(0), **OPTIONS)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="dose_e_per_a2 must be positive, got 0"):
        expected_signal(image, dose_e_per_a2=0.0, pixel_size_angstrom=5.0)
    with pytest.raises(ConfigError, match="oversampling"):
        expected_signal(image, oversampling=0, **OPTIONS)
    with pytest.raises(DataError, match="real image"):
        expected_signal(image[0], **OPTIONS)


def sampled_k2() -> CameraCurves:
    q = np.linspace(0, 1, 401)
    return CameraCurves(q=tuple(q), mtf=tuple(k2_mtf(q)), dqe=tuple(k2_dqe(q)))


def test_a_k2_given_by_its_points_is_a_k2(arrays: Namespace) -> None:
    intensity = arrays.asarray(1 + 0.2 * rng(3).standard_normal((32, 48)))
    for own, given in (
        (
            detect(intensity, **OPTIONS, generator=rng(1)),
            detect(intensity, **OPTIONS, camera=sampled_k2(), generator=rng(1)),
        ),
        (expected_signal(intensity, **OPTIONS), expected_signal(intensity, **OPTIONS, camera=sampled_k2())),
    ):
        np.testing.assert_allclose(to_host(given), to_host(own), rtol=0, atol=0.5)
        assert np.corrcoef(to_host(given).ravel(), to_host(own).ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    "wrong",
    [
        {"q": (0.0, 0.5)},
        {"q": (0.1, 1.0)},
        {"q": (1.0, 0.0)},
        {"q": (0.0,), "mtf": (1.0,), "dqe": (1.0,)},
        {"mtf": (1.0, 0.0)},
        {"mtf": (1.2, 0.5)},
        {"dqe": (0.8, float("nan"))},
        {"dqe": (0.8, 0.7, 0.6)},
    ],
)
def test_curves_that_no_camera_has_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="camera's"):
        CameraCurves(**{"q": (0.0, 1.0), "mtf": (1.0, 0.5), "dqe": (0.8, 0.4), **wrong})
