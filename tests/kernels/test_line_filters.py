"""The SIRT-like filter against SIRT itself, the exact one against its definition and the ramp that it becomes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.errors import ConfigError
from cryodask.kernels.backprojection import backproject
from cryodask.kernels.line_filters import exact_response, sirt_like_response
from cryodask.kernels.ramp import angular_shares, filter_tilts, padded_length, ramp_response
from tests.kernels.test_backprojection import Blobs, centred, naive_projection

Floats = npt.NDArray[np.float64]
N = 40
HALF_TURN = np.arange(-90.0, 90.0, 3.0)


def sirt(lines: Floats, tilt_deg: Floats, rounds: int) -> Floats:
    """x += A^T (b - A x) / (pi N), the sum over tilts by their angular shares."""
    volume = np.zeros((N, 1, N))
    for _ in range(rounds):
        rest = lines - naive_projection(volume, tilt_deg.tolist(), N)
        volume = volume + backproject(rest, tilt_deg, shape=(N, 1, N)) / (math.pi * N)
    return volume[:, 0]


@pytest.mark.parametrize("rounds", [2, 4, 12, 30])
def test_as_many_rounds_of_sirt(rounds: int) -> None:
    blobs = Blobs.random(N, count=9)
    lines = blobs.tilts(HALF_TURN, N)
    filtered = filter_tilts(lines, response=sirt_like_response(N, rounds))
    like = backproject(filtered, HALF_TURN, shape=(N, 1, N))[:, 0]
    inner = np.hypot(centred(N)[:, None], centred(N)[None, :]) < 0.35 * N
    expected = sirt(lines, HALF_TURN, rounds)[inner]
    assert np.linalg.norm(like[inner] - expected) < 0.07 * np.linalg.norm(expected)
    assert np.corrcoef(like[inner], expected)[0, 1] > 0.995


def test_rounds_without_end_are_the_ramp() -> None:
    many = sirt_like_response(N, 1_000_000)[0]
    np.testing.assert_allclose(many, ramp_response(padded_length(N)), rtol=1e-9)
    few, more = (sirt_like_response(N, rounds)[0] for rounds in (3, 30))
    assert np.all(few[2:] < more[2:])
    assert np.all(more[2:] < many[2:])


def test_exact_weights_are_what_they_are_defined_as() -> None:
    tilts, thickness = [-41.0, -3.0, 10.0, 11.5, 60.0], 17.0
    response = exact_response(N, tilts, thickness)
    k = np.fft.rfftfreq(padded_length(N))
    shares = angular_shares(tilts)
    for i, theta in enumerate(tilts):
        for at, frequency in enumerate(k):
            overlap = sum(
                max(0.0, 1 - thickness * frequency * abs(math.sin(math.radians(theta - other)))) for other in tilts
            )
            assert response[i, at] * shares[i] * thickness == pytest.approx(1 / overlap, rel=1e-12)


def test_many_even_tilts_make_exact_weights_a_ramp() -> None:
    tilts = np.arange(-90.0, 90.0, 0.25)
    response = exact_response(256, tilts, 64.0)
    k = np.fft.rfftfreq(padded_length(256))
    used = (k > 3 / 64) & (k < 0.3)
    np.testing.assert_allclose(response[:, used] / k[used], 1, atol=0.02)


def test_crowded_tilts_share_their_weight() -> None:
    """Of seven tilts, three almost the same: together they weigh about as much as one that is alone."""
    tilts = np.array([-60.0, -40.0, -20.0, -0.01, 0.0, 0.01, 30.0])
    weights = exact_response(N, tilts, 20.0) * angular_shares(tilts)[:, None]
    high = weights[:, -1]
    np.testing.assert_allclose(high[3:6].sum(), high[0], rtol=0.02)


def test_rows_of_tilts_have_their_own_response() -> None:
    lines = np.random.default_rng(0).standard_normal((3, 2, N))
    response = exact_response(N, [-30.0, 0.0, 31.0], 12.0)
    together = filter_tilts(lines, oversampling=2, response=response)
    for tilt in range(3):
        alone = filter_tilts(lines[tilt : tilt + 1], oversampling=2, response=response[tilt : tilt + 1])
        np.testing.assert_array_equal(together[tilt : tilt + 1], alone)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 iteration"):
        sirt_like_response(N, 0)
    with pytest.raises(ConfigError, match="thickness of the sample"):
        exact_response(N, [0.0, 1.0], 0.0)
    with pytest.raises(ConfigError, match="does not fit 3 tilts"):
        filter_tilts(np.zeros((3, 1, N)), response=np.ones((2, padded_length(N) // 2 + 1)))
