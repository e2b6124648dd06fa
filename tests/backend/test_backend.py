"""Namespaces, devices and capabilities: the same answers from every array library."""

from __future__ import annotations

import sys
import threading
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage
import scipy.special

from cryodask.backend import (
    DEVICE_VARIABLE,
    as_device_array,
    capabilities,
    common_namespace,
    device_of,
    fast_path,
    namespace,
    portable_only,
    to_host,
    worker_array,
)
from cryodask.errors import BackendError
from tests.conftest import Namespace


def random(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
    return np.random.default_rng(2).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.int32, np.bool_])
def test_an_array_goes_to_the_device_and_comes_back(arrays: Namespace, dtype: type) -> None:
    values: npt.NDArray[Any] = random((3, 4)).astype(dtype)
    like = arrays.asarray(np.zeros(2, np.float32))
    there = as_device_array(values, like)
    assert namespace(there) is namespace(like)
    assert device_of(there) == device_of(like)
    back = to_host(there)
    assert type(back) is np.ndarray
    assert back.dtype == values.dtype
    assert np.array_equal(back, values)


def test_host_arrays_are_not_copied() -> None:
    values = random((2, 2))
    assert to_host(values) is values


def test_libraries_do_not_mix(arrays: Namespace) -> None:
    one, other = arrays.asarray(np.zeros(2)), arrays.asarray(np.ones(2))
    assert common_namespace(one, other) is namespace(one)
    if arrays.name != "numpy":
        with pytest.raises(TypeError):
            common_namespace(one, np.zeros(2))


def test_only_numpy_has_a_compiled_path(arrays: Namespace) -> None:
    expected = "numba" if arrays.name == "numpy" else "portable"
    x = arrays.asarray(np.zeros(2))
    assert fast_path(x, x) == expected
    assert fast_path(np.zeros(2), x) == expected
    with portable_only():
        assert fast_path(x) == "portable"
        with portable_only():
            assert fast_path(x) == "portable"
        assert fast_path(x) == "portable"
    assert fast_path(x) == expected


def test_the_portable_path_is_for_the_one_who_asked() -> None:
    seen = []
    with portable_only():
        thread = threading.Thread(target=lambda: seen.append(fast_path(np.zeros(1))))
        thread.start()
        thread.join()
    assert seen == ["numba"]


def test_the_portable_path_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), portable_only():
        _ = 1 / 0
    assert fast_path(np.zeros(1)) == "numba"


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_affine_transform_is_scipys(arrays: Namespace, order: Literal[1, 3], dtype: type) -> None:
    volume = random((6, 7, 8), dtype)
    matrix, offset = random((3, 3)) * 0.2 + np.eye(3), np.array([0.5, -0.3, 1.0])
    x = arrays.asarray(volume)
    moved = capabilities(x).affine_transform(
        x, arrays.asarray(matrix), arrays.asarray(offset), (5, 6, 9), order, prefilter=True
    )
    expected = scipy.ndimage.affine_transform(
        volume.astype(np.float64), matrix, offset, output_shape=(5, 6, 9), order=order, mode="constant"
    )
    assert moved.dtype == x.dtype
    assert device_of(moved) == device_of(x)
    np.testing.assert_allclose(to_host(moved), expected, atol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("axis", [0, 2])
def test_spline_filter_interpolates(arrays: Namespace, axis: int) -> None:
    x = arrays.asarray(random((5, 6, 7)))
    coefficients = np.moveaxis(to_host(capabilities(x).spline_filter1d(x, axis)), axis, 0)
    # A cubic B-spline at its knots: (c[i-1] + 4 c[i] + c[i+1]) / 6, mirrored about the last sample.
    around = np.concatenate([coefficients[1:2], coefficients, coefficients[-2:-1]])
    values = (around[:-2] + 4 * around[1:-1] + around[2:]) / 6
    np.testing.assert_allclose(np.moveaxis(values, 0, axis), to_host(x), atol=1e-12)


def test_error_function_is_scipys(arrays: Namespace) -> None:
    values = np.linspace(-3, 3, 13)
    x = arrays.asarray(values)
    np.testing.assert_allclose(to_host(capabilities(x).erf(x)), scipy.special.erf(values), atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_library_draws_the_counts_of_the_host(arrays: Namespace, dtype: type) -> None:
    mean = (3 + np.abs(random((50, 50)))).astype(dtype)
    x = arrays.asarray(mean)
    counts = capabilities(x).poisson(x, np.random.default_rng(5))
    assert counts.dtype == x.dtype
    assert np.array_equal(to_host(counts), np.random.default_rng(5).poisson(mean))


def test_labels_join_across_corners(arrays: Namespace) -> None:
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    x = arrays.asarray(mask)
    labels, count = capabilities(x).label(x)
    host = to_host(labels)
    assert host.dtype == np.int32
    assert count == 2
    assert host[0, 0, 0] == host[1, 1, 1] == 1
    assert host[3, 3, 3] == 2
    assert np.array_equal(host > 0, mask)


def test_maximum_filter_takes_the_cube(arrays: Namespace) -> None:
    values = random((4, 5, 6))
    x = arrays.asarray(values)
    padded = np.pad(values, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3))
    assert np.array_equal(to_host(capabilities(x).maximum_filter(x, 3)), windows.max(axis=(3, 4, 5)))


def test_a_gpu_worker_without_cupy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE_VARIABLE, "cuda")
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendError, match=r"CRYODASK_DEVICE=cuda.*cryodask\[cuda\]"):
        worker_array()
