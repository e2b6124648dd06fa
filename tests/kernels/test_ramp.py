"""The ramp filter against its analytic response and a naive convolution, and the angular shares against arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryodask.backend import to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.ramp import RampWindow, angular_shares, filter_tilts
from tests.conftest import Namespace


def random_tilts(shape: tuple[int, int, int], dtype: type = np.float64) -> npt.NDArray[Any]:
    return np.random.default_rng(3).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("nx", [31, 32])
def test_ram_lak_is_the_convolution_with_the_band_limited_ramp(nx: int) -> None:
    tilts = random_tilts((2, 3, nx))
    distance = np.subtract.outer(np.arange(nx), np.arange(nx))
    odd = distance % 2 == 1
    kernel = np.where(distance == 0, 0.25, 0.0)
    kernel[odd] = -1 / (np.pi * distance[odd]) ** 2
    np.testing.assert_allclose(filter_tilts(tilts), tilts @ kernel, atol=1e-12)


def test_a_gaussian_line_is_filtered_as_the_integral_says() -> None:
    sigma = 4.0
    u = np.arange(257) - 128.0
    line = np.exp(-(u**2) / (2 * sigma**2))
    k = np.linspace(0, 0.5, 20001)
    spectrum = np.sqrt(2 * np.pi) * sigma * np.exp(-2 * (np.pi * sigma * k) ** 2)
    expected = 2 * np.trapezoid(k * spectrum * np.cos(2 * np.pi * np.outer(u, k)), k, axis=1)
    # The ramp's kink at k = 0 makes tails that fall as 1 / u^2; only the padding's periodicity would spoil them.
    np.testing.assert_allclose(filter_tilts(line[None, None, :])[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("window", "at_half_nyquist", "at_nyquist"),
    [
        ("ram-lak", 1, 1),
        ("shepp-logan", np.sin(np.pi / 4) / (np.pi / 4), 2 / np.pi),
        ("hamming", 0.54, 0.08),
        ("hann", 0.5, 0),
    ],
)
def test_windows_attenuate_by_their_definition(window: RampWindow, at_half_nyquist: float, at_nyquist: float) -> None:
    impulse = np.zeros((1, 1, 101))
    impulse[0, 0, 50] = 1
    plain = np.abs(np.fft.rfft(filter_tilts(impulse), n=4096))[0, 0]
    windowed = np.abs(np.fft.rfft(filter_tilts(impulse, window=window), n=4096))[0, 0]
    np.testing.assert_allclose((windowed / plain)[[1024, 2048]], [at_half_nyquist, at_nyquist], atol=3e-3)
    assert windowed[20] / plain[20] == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("nx", [40, 41])
@pytest.mark.parametrize("oversampling", [2, 3])
def test_oversampling_adds_samples_between_and_keeps_those_on_pixels(nx: int, oversampling: int) -> None:
    tilts = random_tilts((2, 3, nx))
    tilts -= tilts.mean(axis=2, keepdims=True)
    coarse = filter_tilts(tilts)
    fine = filter_tilts(tilts, oversampling=oversampling)
    assert fine.shape == (2, 3, oversampling * nx)
    np.testing.assert_allclose(fine[..., ::oversampling], coarse, atol=1e-12)


def test_oversampled_lines_follow_a_smooth_curve() -> None:
    def blob(position: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.exp(-((position - 30.3) ** 2) / 18)

    at_pixels = filter_tilts(blob(np.arange(64.0))[None, None, :], oversampling=2)[0, 0]
    # The same blob half a pixel further left, seen at whole pixels, is the first one seen at half pixels.
    between = filter_tilts(blob(np.arange(64.0) + 0.5)[None, None, :])[0, 0]
    np.testing.assert_allclose(at_pixels[1::2], between, atol=1e-9)


def test_every_library_gives_the_same_lines(arrays: Namespace) -> None:
    tilts = random_tilts((3, 4, 33), np.float32)
    result = filter_tilts(arrays.asarray(tilts), window="hann", oversampling=2)
    assert result.dtype == arrays.xp.float32
    expected = filter_tilts(tilts.astype(np.float64), window="hann", oversampling=2)
    np.testing.assert_allclose(to_host(result), expected, atol=2e-6)


@pytest.mark.parametrize("slab", [1, 5, 16])
def test_rows_are_filtered_alike_in_any_slab(slab: int) -> None:
    tilts = random_tilts((2, 37, 100), np.float32)
    slabs = [filter_tilts(tilts[:, first : first + slab], oversampling=2) for first in range(0, 37, slab)]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=1), filter_tilts(tilts, oversampling=2))


def test_input_is_left_alone() -> None:
    tilts = random_tilts((2, 3, 8))
    before = tilts.copy()
    filter_tilts(tilts)
    np.testing.assert_array_equal(tilts, before)


def test_filter_refuses_what_it_cannot_do() -> None:
    tilts = random_tilts((2, 3, 8))
    with pytest.raises(ConfigError, match=r"boxcar.*ram-lak"):
        filter_tilts(tilts, window="boxcar")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="oversampling"):
        filter_tilts(tilts, oversampling=0)
    with pytest.raises(DataError, match=r"\(3, 8\)"):
        filter_tilts(tilts[0])
    with pytest.raises(DataError, match="complex"):
        filter_tilts(tilts.astype(np.complex64))


@pytest.mark.parametrize(
    ("tilt_deg", "shares_deg"),
    [
        ([-60, -58, -56], [2, 2, 2]),
        ([0, 1, 3, 7], [1, 1.5, 3, 4]),
        ([3, 0, 7, 1], [3, 1, 4, 1.5]),
        ([-2, -2, 0, 2], [1, 1, 2, 2]),
        ([-2, -2.0004, 0, 2], [1.0001, 1.0001, 2.0001, 2]),
        ([0, 60, 120], [60, 60, 60]),
        ([-90, 0, 90], [45, 90, 45]),
        ([0, 100], [90, 90]),
        ([12], [180]),
        ([12, 12, 12], [60, 60, 60]),
    ],
    ids=["even", "uneven", "unsorted", "twice", "almost twice", "half turn", "both ends", "wide", "one", "one thrice"],
)
def test_angular_shares_by_hand(tilt_deg: list[float], shares_deg: list[float]) -> None:
    np.testing.assert_allclose(np.rad2deg(angular_shares(tilt_deg)), shares_deg, atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-70, 70), min_size=2, max_size=40), st.randoms(use_true_random=False))
def test_shares_follow_their_tilt_and_never_exceed_the_half_turn(tilt_deg: list[int], random: Any) -> None:  # noqa: ANN401
    shares = angular_shares(tilt_deg)
    order = list(range(len(tilt_deg)))
    random.shuffle(order)
    np.testing.assert_allclose(angular_shares([tilt_deg[n] for n in order]), shares[order])
    assert np.all(shares > 0)
    assert np.sum(shares) <= np.pi + 1e-12
    assert np.sum(shares) >= np.deg2rad(max(tilt_deg) - min(tilt_deg)) - 1e-12


@pytest.mark.parametrize("tilt_deg", [[], [0.0, float("nan")], [[0.0, 1.0]], [-91.0, 90.0]])
def test_shares_refuse_angles_that_make_no_series(tilt_deg: npt.ArrayLike) -> None:
    with pytest.raises(ConfigError, match="tilt angles"):
        angular_shares(tilt_deg)
