"""Back-projection against volumes known in closed form, its laws, and its two implementations against each other."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import portable_only, to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.backprojection import LANES, backproject, backproject_bytes
from cryodask.kernels.fast import backprojection as compiled_path
from cryodask.kernels.ramp import angular_shares, filter_tilts
from tests.conftest import Namespace

Floats = npt.NDArray[np.float64]
SIXTY = np.arange(-60.0, 61.0, 2.0)


@dataclass(frozen=True)
class Blobs:
    """Isotropic Gaussians in one (z, x) plane: volume and line sums are known exactly."""

    x: Floats
    z: Floats
    sigma: Floats
    height: Floats

    @staticmethod
    def random(n_pixels: int, count: int = 25) -> Blobs:
        rng = np.random.default_rng(11)
        radius = 0.34 * n_pixels * np.sqrt(rng.random(count))
        angle = rng.uniform(0, 2 * np.pi, count)
        sigma = rng.uniform(1.8, 4.5, count)
        return Blobs(radius * np.cos(angle), radius * np.sin(angle), sigma, rng.uniform(0.5, 1.5, count))

    def density(self, nz: int, nx: int) -> Floats:
        z, x = centred(nz)[:, None, None] - self.z, centred(nx)[None, :, None] - self.x
        return np.asarray(np.sum(self.height * np.exp(-(x**2 + z**2) / (2 * self.sigma**2)), axis=-1))

    def tilts(self, tilt_deg: npt.ArrayLike, n_detector: int) -> Floats:
        theta = np.deg2rad(np.asarray(tilt_deg))[:, None, None]
        u = centred(n_detector)[None, :, None] - (self.x * np.cos(theta) + self.z * np.sin(theta))
        line = self.height * self.sigma * np.sqrt(2 * np.pi) * np.exp(-(u**2) / (2 * self.sigma**2))
        return np.asarray(np.sum(line, axis=-1))[:, None, :]


def centred(n: int) -> Floats:
    return np.arange(n, dtype=np.float64) - (n - 1) / 2


def in_wedge(plane: Floats, tilt_deg: Floats) -> Floats:
    """The part of a (z, x) plane that tilts over this range measure, each end covering half a step more."""
    last = int(np.argmax(np.abs(tilt_deg)))
    limit = np.deg2rad(abs(tilt_deg[last])) + angular_shares(tilt_deg)[last] / 2
    kz, kx = np.fft.fftfreq(2 * plane.shape[0])[:, None], np.fft.fftfreq(2 * plane.shape[1])[None, :]
    # Tilt theta measures the line of frequencies (kx, kz) = k (cos theta, sin theta).
    measured = np.abs(np.arctan2(kz, kx)) <= limit
    measured |= np.abs(np.arctan2(kz, kx)) >= np.pi - limit
    spectrum = np.fft.fft2(plane, s=(2 * plane.shape[0], 2 * plane.shape[1]))
    return np.asarray(np.fft.ifft2(spectrum * measured).real[: plane.shape[0], : plane.shape[1]])


def gain_and_error(result: Floats, truth: Floats) -> tuple[float, float]:
    """Least-squares factor and relative L2 distance, where every tilt's detector sees the voxel."""
    n = truth.shape[0]
    seen = np.hypot(centred(n)[:, None], centred(n)[None, :]) < 0.45 * n
    got, expected = result[seen], truth[seen]
    gain = float(got @ expected / (expected @ expected))
    return gain, float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def reconstruct(blobs: Blobs, tilt_deg: Floats, n: int, nz: int | None = None, oversampling: int = 1) -> Floats:
    filtered = filter_tilts(blobs.tilts(tilt_deg, n).astype(np.float32), oversampling=oversampling)
    volume = backproject(filtered, tilt_deg, shape=(nz or n, 1, n), oversampling=oversampling)
    return np.asarray(volume[:, 0, :], dtype=np.float64)


def random_tilts(shape: tuple[int, int, int], dtype: type = np.float32) -> npt.NDArray[Any]:
    return np.random.default_rng(5).standard_normal(shape).astype(dtype)


# Accuracy. N = 129 with 25 blobs of sigma 1.8 to 4.5 pixels stands for the published N = 257 with 60.


@pytest.mark.parametrize("n", [128, 129])
@pytest.mark.parametrize(("oversampling", "most_error"), [(1, 0.02), (2, 0.005)])
def test_a_half_turn_gives_the_density(n: int, oversampling: int, most_error: float) -> None:
    blobs = Blobs.random(n)
    volume = reconstruct(blobs, np.arange(-90.0, 90.0), n, oversampling=oversampling)
    gain, error = gain_and_error(volume, blobs.density(n, n))
    assert 0.98 <= gain <= 1.005
    assert error <= most_error


def test_doubling_the_samples_quarters_the_error() -> None:
    """All that is left in the middle of a half turn is linear interpolation, which is of second order."""
    blobs = Blobs.random(96)
    truth = blobs.density(96, 96)
    errors = [
        gain_and_error(reconstruct(blobs, np.arange(-90.0, 90.0), 96, oversampling=n), truth)[1] for n in (1, 2, 4)
    ]
    assert 3.5 <= errors[0] / errors[1] <= 4.5
    assert 3.5 <= errors[1] / errors[2] <= 4.5


@pytest.mark.parametrize("n", [128, 129])
@pytest.mark.parametrize("oversampling", [1, 2])
def test_a_limited_range_gives_the_density_within_its_wedge(n: int, oversampling: int) -> None:
    blobs = Blobs.random(n)
    gain, error = gain_and_error(
        reconstruct(blobs, SIXTY, n, oversampling=oversampling), in_wedge(blobs.density(n, n), SIXTY)
    )
    assert 0.98 <= gain <= 1.005
    assert error <= 0.055


@pytest.mark.parametrize(
    "tilt_deg",
    [
        np.delete(np.arange(-60.0, 60.1, 1.5), [7, 8, 31, 52]),
        np.rad2deg(np.arcsin(np.linspace(-0.866, 0.866, 75))),
        np.concatenate([np.arange(-60.0, 60.1, 1.5), [0.0, 0.0, 15.0]]),
    ],
    ids=["excluded", "even in sine", "repeated"],
)
def test_uneven_series_keep_their_gain_by_angular_shares(tilt_deg: Floats) -> None:
    blobs = Blobs.random(129)
    shuffled = np.random.default_rng(0).permutation(tilt_deg)
    truth = in_wedge(blobs.density(129, 129), tilt_deg)
    gain, error = gain_and_error(reconstruct(blobs, shuffled, 129), truth)
    assert 0.98 <= gain <= 1.005
    assert error <= 0.06


def test_a_flat_disc_keeps_its_mean() -> None:
    """The band-limited ramp has the right response at frequency 0; one sampled in Fourier space darkens the disc."""
    n, radius = 129, 40.0
    u = centred(n)
    chord = 2 * np.sqrt(np.maximum(radius**2 - u**2, 0)).astype(np.float32)
    tilt_deg = np.arange(-90.0, 90.0)
    tilts = np.broadcast_to(chord, (180, 1, n)).copy()
    plane = backproject(filter_tilts(tilts, window="hann"), tilt_deg, shape=(n, 1, n))[:, 0, :]
    distance = np.hypot(u[:, None], u[None, :])
    assert np.mean(plane[distance < 30]) == pytest.approx(1, abs=2e-3)
    assert np.mean(plane[(distance > 50) & (distance < 60)]) == pytest.approx(0, abs=2e-3)


def test_a_point_is_longer_along_the_beam() -> None:
    blobs = Blobs(np.array([0.0]), np.array([0.0]), np.array([2.0]), np.array([1.0]))
    plane = reconstruct(blobs, SIXTY, 129)

    def width(profile: Floats) -> float:
        above = np.flatnonzero(profile > profile.max() / 2)
        left, right = above[0], above[-1]
        half = profile.max() / 2
        start = left - (profile[left] - half) / (profile[left] - profile[left - 1])
        stop = right + (profile[right] - half) / (profile[right] - profile[right + 1])
        return float(stop - start)

    assert 1.4 <= width(plane[:, 64]) / width(plane[64]) <= 1.75


# Geometry.


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize(("n_detector", "shape"), [(33, (20, 1, 33)), (32, (21, 1, 40)), (32, (9, 1, 31))])
def test_voxels_lie_where_the_convention_says(n_detector: int, shape: tuple[int, int, int], portable: bool) -> None:
    """A ramp of detector positions, back-projected from one tilt, is u = x cos + z sin in every voxel."""
    theta = np.deg2rad(35.0)
    with portable_only() if portable else nullcontext():
        volume = backproject(centred(n_detector)[None, None, :], [35.0], shape=shape, weights=[1.0])
    u = centred(shape[2])[None, :] * np.cos(theta) + centred(shape[0])[:, None] * np.sin(theta)
    inside = np.abs(u) <= (n_detector - 1) / 2
    assert inside.any()
    np.testing.assert_allclose(volume[:, 0, :][inside], u[inside], atol=1e-12)
    assert not volume[:, 0, :][np.abs(u) >= (n_detector + 1) / 2].any()


@pytest.mark.parametrize(("z", "x"), [(9.0, 0.0), (0.0, 9.0), (-7.0, 4.0)])
def test_points_come_back_on_their_own_side(z: float, x: float) -> None:
    blobs = Blobs(np.array([x]), np.array([z]), np.array([2.0]), np.array([1.0]))
    plane = reconstruct(blobs, SIXTY, 61, nz=41)
    peak = np.unravel_index(np.argmax(plane), plane.shape)
    assert (float(peak[0] - 20), float(peak[1] - 30)) == (z, x)


def test_rows_stay_rows() -> None:
    tilts = np.zeros((3, 5, 16), dtype=np.float32)
    tilts[:, 3, :] = 1
    volume = backproject(tilts, [-10, 0, 10], shape=(4, 5, 16))
    assert volume[:, 3].all()
    assert not np.delete(volume, 3, axis=1).any()


def test_values_fall_off_beyond_the_detector() -> None:
    volume = backproject(np.ones((1, 1, 4)), [0.0], shape=(1, 1, 9), weights=[1.0])
    np.testing.assert_allclose(volume[0, 0], [0, 0, 0.5, 1, 1, 1, 0.5, 0, 0])


# Laws.


def naive_projection(volume: Floats, tilt_deg: Sequence[float], n_detector: int) -> Floats:
    """Each voxel spread over its two nearest detector pixels, voxel by voxel."""
    nz, ny, nx = volume.shape
    tilts = np.zeros((len(tilt_deg), ny, n_detector + 2))
    for tilt, angle in enumerate(np.deg2rad(tilt_deg)):
        for z, depth in enumerate(centred(nz)):
            for x, across in enumerate(centred(nx)):
                position = across * np.cos(angle) + depth * np.sin(angle) + (n_detector - 1) / 2 + 1
                lower = int(np.floor(position))
                for pixel, share in ((lower, 1 - (position - lower)), (lower + 1, position - lower)):
                    if 0 <= pixel < n_detector + 2:
                        tilts[tilt, :, pixel] += share * volume[z, :, x]
    return tilts[:, :, 1:-1]


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize(("n_detector", "nz", "nx"), [(24, 9, 24), (15, 20, 31)])
def test_back_projection_is_the_adjoint_of_projection(n_detector: int, nz: int, nx: int, portable: bool) -> None:
    tilt_deg = [-63.0, -20.5, 0.0, 41.0, 70.0]
    volume = np.random.default_rng(1).standard_normal((nz, 3, nx))
    tilts = random_tilts((5, 3, n_detector))
    with portable_only() if portable else nullcontext():
        back = backproject(tilts, tilt_deg, shape=(nz, 3, nx), weights=np.ones(5))
    projected = naive_projection(volume, tilt_deg, n_detector)
    scale = np.linalg.norm(projected) * np.linalg.norm(tilts)
    assert abs(np.vdot(projected, tilts) - np.vdot(volume, back)) <= 1e-6 * scale


def test_back_projection_is_linear() -> None:
    a, b = random_tilts((6, 3, 20), np.float64), random_tilts((6, 3, 20), np.float64)[::-1]
    tilt_deg = [-50, -30, -10, 10, 30, 50]
    separate = 2 * backproject(a, tilt_deg, shape=(8, 3, 20)) - 3 * backproject(b, tilt_deg, shape=(8, 3, 20))
    np.testing.assert_allclose(backproject(2 * a - 3 * b, tilt_deg, shape=(8, 3, 20)), separate, atol=1e-12)


def test_weights_replace_the_angular_shares() -> None:
    tilts = random_tilts((4, 2, 16), np.float64)
    tilt_deg = [-30.0, 0.0, 10.0, 40.0]
    shares = angular_shares(tilt_deg)
    given = backproject(tilts * shares[:, None, None], tilt_deg, shape=(5, 2, 16), weights=np.ones(4))
    np.testing.assert_allclose(backproject(tilts, tilt_deg, shape=(5, 2, 16)), given, atol=1e-12)


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("slab", [1, 5, 32, 70])
def test_slabs_of_rows_have_the_bits_of_the_whole(slab: int, portable: bool) -> None:
    rows = 70
    tilts = random_tilts((7, rows, 45))
    tilt_deg = np.linspace(-57, 60, 7)
    with portable_only() if portable else nullcontext():
        whole = backproject(tilts, tilt_deg, shape=(11, rows, 45))
        for first in range(0, rows, slab):
            part = tilts[:, first : first + slab, :]
            volume = backproject(part, tilt_deg, shape=(11, part.shape[1], 45))
            np.testing.assert_array_equal(volume, whole[:, first : first + slab, :])


# Implementations.


def test_every_library_gives_the_same_volume(arrays: Namespace) -> None:
    tilts = random_tilts((5, 3, 42))
    tilt_deg = [-60, -30, 0, 30, 60]
    volume = backproject(arrays.asarray(tilts), tilt_deg, shape=(9, 3, 25), oversampling=2)
    assert volume.dtype == arrays.xp.float32
    assert volume.shape == (9, 3, 25)
    expected = backproject(tilts.astype(np.float64), tilt_deg, shape=(9, 3, 25), oversampling=2)
    np.testing.assert_allclose(to_host(volume), expected, atol=2e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-13)])
@pytest.mark.parametrize("shape", [(9, 37, 70), (1, 1, 1), (40, 3, 33)])
@pytest.mark.parametrize("n_tilts", [1, 4, 9])
def test_compiled_and_portable_path_agree(
    dtype: type, tolerance: float, shape: tuple[int, int, int], n_tilts: int
) -> None:
    tilts = random_tilts((n_tilts, shape[1], 34), dtype)
    tilt_deg = np.linspace(-75, 60, n_tilts)
    compiled = backproject(tilts, tilt_deg, shape=shape)
    with portable_only():
        portable = backproject(tilts, tilt_deg, shape=shape)
    assert compiled.dtype == portable.dtype == dtype
    assert compiled.flags.c_contiguous
    np.testing.assert_allclose(compiled, portable, atol=tolerance * max(1.0, float(np.abs(portable).max())))


def test_strided_tilts_are_read_as_they_are() -> None:
    tilts = random_tilts((5, 16, 20))
    view = tilts.transpose(0, 2, 1)[:, ::2]
    copied = backproject(view.copy(), [-20, -10, 0, 10, 20], shape=(4, 10, 16))
    np.testing.assert_array_equal(backproject(view, [-20, -10, 0, 10, 20], shape=(4, 10, 16)), copied)


def test_planned_and_compiled_number_of_rows_agree() -> None:
    assert compiled_path.LANES == LANES
    assert compiled_path.TILT_GROUP <= 4, "backproject_bytes counts on three tilts that fill up a group"


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("rows", [3, LANES, 100])
def test_memory_stays_below_what_is_foretold(rows: int, portable: bool) -> None:
    tilts = random_tilts((11, rows, 2 * 60))
    tilt_deg = np.linspace(-60, 60, 11)
    with portable_only() if portable else nullcontext():
        backproject(tilts[:, :1], tilt_deg, shape=(2, 1, 64), oversampling=2)
        tracemalloc.start()
        try:
            volume = backproject(tilts, tilt_deg, shape=(50, rows, 64), oversampling=2)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    foretold = backproject_bytes(11, rows, 60, 50, 64, oversampling=2)
    assert volume.nbytes < peak <= foretold
    assert foretold < 100 * 2**20


# Refusals.


def test_arguments_that_do_not_fit_are_refused() -> None:
    tilts = random_tilts((3, 4, 16))
    good: dict[str, Any] = {"tilt_deg": [-10, 0, 10], "shape": (5, 4, 16)}

    def call(**changes: Any) -> None:  # noqa: ANN401
        backproject(tilts, **(good | changes))

    call()
    with pytest.raises(ConfigError, match="3 tilts need one angle each"):
        call(tilt_deg=[0, 10])
    with pytest.raises(ConfigError, match="finite"):
        call(tilt_deg=[0, float("nan"), 10])
    with pytest.raises(ConfigError, match="3 tilts need one finite weight each"):
        call(weights=[1.0, 1.0])
    with pytest.raises(ConfigError, match="finite weight"):
        call(weights=[1.0, float("inf"), 1.0])
    with pytest.raises(ConfigError, match="5 rows does not fit tilts of 4"):
        call(shape=(5, 5, 16))
    with pytest.raises(ConfigError, match=r"\(0, 4, 16\)"):
        call(shape=(0, 4, 16))
    with pytest.raises(ConfigError, match="16 samples"):
        call(oversampling=3)
    with pytest.raises(DataError, match=r"\(4, 16\)"):
        backproject(tilts[0], **good)
    for dtype in (np.int32, np.float16, ">f4"):
        with pytest.raises(DataError, match=np.dtype(dtype).name if dtype != ">f4" else ">f4"):
            backproject(tilts.astype(dtype), **good)
