"""The check of a device: passes where a device computes rightly, and sees where one does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.workflows import device_check
from cryodask.workflows.device_check import PARTS, check_device
from tests.conftest import Namespace


def test_other_libraries_compute_as_the_host_does(arrays: Namespace) -> None:
    results = list(check_device(arrays.asarray, 16))
    assert [result.name for result in results] == list(PARTS)
    assert [str(result) for result in results if not result.ok] == []


def in_half_precision(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A device that keeps three digits."""
    if values.dtype.kind == "c":
        return np.asarray(in_half_precision(values.real) + 1j * in_half_precision(values.imag), values.dtype)
    return values.astype(np.float16).astype(values.dtype) if values.dtype.kind == "f" else values


def test_a_device_of_three_digits_is_seen() -> None:
    wrong = {result.name for result in check_device(in_half_precision, 16) if not result.ok}
    assert wrong >= {"Fourier transforms", "slab rotation", "multislice", "rotation of volumes", "search"}


def test_a_failure_is_told_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(move: Any, size: int) -> Any:  # noqa: ANN401
        if move is not np.asarray:
            raise MemoryError("out of\n memory")
        return [np.ones(3)]

    monkeypatch.setitem(device_check.PARTS, "camera", broken)
    results = {result.name: result for result in check_device(lambda x: np.array(x), 12)}
    assert str(results["camera"]) == "camera: FAILED: MemoryError: out of memory"
    assert results["peaks"].ok
    assert len(results) == len(PARTS)


def test_no_gpu_says_why() -> None:
    from cryodask.backend.devices import cuda_device
    from cryodask.errors import BackendError

    try:
        device, move = cuda_device()
    except BackendError as error:
        assert any(word in str(error) for word in ("cupy cannot be loaded", "no CUDA device"))  # noqa: PT017
    else:
        assert float(move(np.ones(3)).sum()) == 3, device
