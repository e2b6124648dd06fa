"""Multislice against the Gaussian beam, conservation of electrons, absorption, first order theory and a naive loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import portable_only, to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels import fourier
from cryodask.kernels.multislice import exit_wave, propagate_slices, propagator
from cryodask.kernels.optics import interaction_constant, wavelength_angstrom
from tests.conftest import Namespace

OPTIONS = {"pixel_size_angstrom": 5.0, "slice_thickness_angstrom": 50.0, "voltage_kv": 300.0}
ICE_ABSORPTION_V = 0.2041004


def random_slices(shape: tuple[int, int, int], dtype: type[Any], seed: int = 1) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).normal(0.0, 1.5, shape).astype(dtype)


def naive_wave(electrostatic: npt.NDArray[Any], absorption: npt.NDArray[Any]) -> npt.NDArray[np.complex128]:
    """The two formulas of the method, slice by slice, in double precision."""
    _, ny, nx = electrostatic.shape
    k2 = np.fft.fftfreq(ny, 5.0)[:, None] ** 2 + np.fft.fftfreq(nx, 5.0) ** 2
    wave = np.ones((ny, nx), np.complex128)
    for el, ab in zip(electrostatic.astype(float), absorption.astype(float), strict=True):
        wave = wave * np.exp(1j * interaction_constant(300.0) * (el + 1j * ab) * 50.0)
        wave = np.fft.ifft2(np.fft.fft2(wave) * np.exp(-1j * np.pi * wavelength_angstrom(300.0) * k2 * 50.0))
    return wave


@pytest.mark.parametrize(
    ("distance_um", "expected"), [(1.0, 0.97604314 - 0.15291478j), (3.5, 0.76883169 - 0.42157979j)]
)
def test_gaussian_beam(arrays: Namespace, distance_um: float, expected: complex) -> None:
    """A beam of waist 2 nm widens over the Rayleigh length 6.382922 um: psi(0, z) = 1 / (1 + i z / z_R)."""
    n, pixel = 512, 2.5
    r2 = (np.arange(n)[:, None] - n // 2) ** 2 + (np.arange(n) - n // 2) ** 2
    beam = arrays.asarray(np.exp(-r2 * pixel**2 / 20.0**2).astype(np.complex128))
    transfer = propagator((n, n), pixel, distance_um * 1e4, 300.0, beam)
    value = to_host(fourier.ifft2(fourier.fft2(beam) * transfer))[n // 2, n // 2]
    assert value == pytest.approx(expected, abs=1e-8)
    assert value == pytest.approx(1 / (1 + 1j * distance_um / 6.382922), abs=1e-7)


def test_propagation_is_additive() -> None:
    like = np.zeros(1)
    once, twice = (propagator((20, 30), 4.0, d, 200.0, like) for d in (50.0, 100.0))
    np.testing.assert_allclose(once**2, twice, atol=1e-13)


def test_single_precision_propagator_is_rounded_only_at_the_end() -> None:
    single, double = (propagator((8, 8), 0.5, 1e5, 300.0, np.zeros(1, t)) for t in (np.float32, np.float64))
    assert single.dtype == np.complex64
    np.testing.assert_array_equal(single, double.astype(np.complex64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_naive_loop(arrays: Namespace, dtype: type[Any]) -> None:
    el, ab = random_slices((4, 24, 18), dtype), np.abs(random_slices((4, 24, 18), dtype, 2))
    wave = propagate_slices(arrays.asarray(el), arrays.asarray(ab), **OPTIONS)
    assert to_host(wave).dtype == (np.complex64 if dtype is np.float32 else np.complex128)
    np.testing.assert_allclose(to_host(wave), naive_wave(el, ab), atol=2e-6 if dtype is np.float32 else 1e-12)


def test_fast_equals_portable() -> None:
    el, ab = random_slices((6, 40, 40), np.float32), np.abs(random_slices((6, 40, 40), np.float32, 2))
    fast = propagate_slices(el, ab, **OPTIONS)
    with portable_only():
        np.testing.assert_allclose(fast, propagate_slices(el, ab, **OPTIONS), atol=3e-6)


def test_electrons_are_conserved_without_absorption() -> None:
    wave = propagate_slices(random_slices((40, 128, 128), np.float32), None, **OPTIONS)
    assert np.mean(np.abs(wave.astype(np.complex128)) ** 2) == pytest.approx(1.0, abs=1e-6)


def test_ice_absorbs_exponentially(arrays: Namespace) -> None:
    """200 nm of amorphous ice with a mean free path of 375.3775 nm let 58.696 % of the electrons pass."""
    shape = (40, 8, 8)
    electrostatic = arrays.asarray(np.full(shape, 4.53, np.float32))
    absorption = arrays.asarray(np.full(shape, ICE_ABSORPTION_V, np.float32))
    intensity = np.abs(to_host(propagate_slices(electrostatic, absorption, **OPTIONS))) ** 2
    np.testing.assert_allclose(intensity, math.exp(-200 / 375.3775), rtol=3e-6)
    assert intensity.mean() == pytest.approx(0.58696, abs=1e-5)


def test_empty_space_leaves_the_plane_wave_alone(arrays: Namespace) -> None:
    wave = propagate_slices(arrays.asarray(np.zeros((3, 6, 8))), None, **OPTIONS)
    np.testing.assert_allclose(to_host(wave), np.ones((6, 8)), atol=1e-14)


@pytest.mark.parametrize("index", [0, 2, 4])
def test_slice_zero_is_met_first_and_the_last_is_left_behind(index: int) -> None:
    """A weak grating in slice i of n shows the phase of free propagation over the n - i slices that follow it."""
    n, count, m, strength = 64, 5, 7, 1e-4
    slices = np.zeros((count, 4, n))
    slices[index] = strength * np.cos(2 * np.pi * m * np.arange(n) / n)
    wave = propagate_slices(slices, None, **OPTIONS)
    k = m / (n * 5.0)
    sideband = np.fft.fft2(wave)[0, m] / (4 * n)
    travelled = np.exp(-1j * np.pi * wavelength_angstrom(300.0) * k**2 * 50.0 * (count - index))
    first_order = 0.5j * interaction_constant(300.0) * strength * 50.0 * travelled
    assert sideband == pytest.approx(first_order, rel=1e-5)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_exit_wave_averages_voxels(arrays: Namespace, dtype: type[Any]) -> None:
    rng = np.random.default_rng(3)
    potential = (rng.standard_normal((20, 10, 12)) + 1j * rng.uniform(0, 1, (20, 10, 12))).astype(dtype)
    wave = exit_wave(
        arrays.asarray(potential), voxel_size_angstrom=5.0, slice_thickness_angstrom=50.0, voltage_kv=300.0
    )
    slices = potential.reshape(2, 10, 10, 12).mean(axis=1)
    assert to_host(wave).dtype == dtype
    tolerance = 2e-6 if dtype is np.complex64 else 1e-12
    np.testing.assert_allclose(to_host(wave), naive_wave(slices.real, slices.imag), atol=tolerance)


def test_unfilled_last_slice_counts_as_empty_beyond_the_sample() -> None:
    rng = np.random.default_rng(4)
    potential = rng.standard_normal((7, 8, 8))
    options = {"voxel_size_angstrom": 10.0, "slice_thickness_angstrom": 50.0, "voltage_kv": 300.0}
    filled = np.concatenate([potential, np.zeros((3, 8, 8))])
    np.testing.assert_allclose(exit_wave(potential, **options), exit_wave(filled, **options), atol=1e-13)


def test_potential_is_not_changed() -> None:
    slices = random_slices((2, 8, 8), np.float32)
    before = slices.copy()
    first = propagate_slices(slices, slices, **OPTIONS)
    np.testing.assert_array_equal(slices, before)
    np.testing.assert_array_equal(propagate_slices(slices, slices, **OPTIONS), first)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"52\.0 angstrom is not a whole number of voxels of 5\.0"):
        exit_wave(np.zeros((4, 4, 4)), voxel_size_angstrom=5.0, slice_thickness_angstrom=52.0, voltage_kv=300.0)
    with pytest.raises(DataError, match=r"\(z, y, x\)"):
        exit_wave(np.zeros((4, 4)), voxel_size_angstrom=5.0, slice_thickness_angstrom=50.0, voltage_kv=300.0)
    with pytest.raises(DataError, match="same shape"):
        propagate_slices(np.zeros((4, 4, 4)), np.zeros((3, 4, 4)), **OPTIONS)
    with pytest.raises(DataError, match="complex128"):
        propagate_slices(np.zeros((4, 4, 4), complex), None, **OPTIONS)
    with pytest.raises(ConfigError, match="pixel_size_angstrom must be positive, got nan"):
        propagate_slices(np.zeros((4, 4, 4)), None, **{**OPTIONS, "pixel_size_angstrom": math.nan})
