"""Fixtures that all tests share: array namespaces, and the folder of real structures and format examples."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import array_api_compat.numpy
import array_api_strict
import numpy as np
import numpy.typing as npt
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Namespace:
    """An array library and a device: what a kernel test needs to make and read arrays."""

    name: str
    xp: Any
    device: Any

    def asarray(self, values: npt.ArrayLike) -> Any:  # noqa: ANN401
        """``values`` on this namespace's device."""
        return self.xp.asarray(np.asarray(values), device=self.device)


def _make_namespace(name: str) -> Namespace:
    if name == "numpy":
        return Namespace(name, array_api_compat.numpy, "cpu")
    if name == "strict":
        # A device that is not the default one refuses numpy calls and forgotten device= arguments, as a GPU would.
        return Namespace(name, array_api_strict, array_api_strict.Device("device1"))
    module = pytest.importorskip(f"array_api_compat.{name}", exc_type=ImportError, reason=f"{name} is not installed")
    if name == "cupy" and not module.cuda.is_available():
        pytest.skip("no CUDA device")
    return Namespace(name, module, "cpu" if name == "torch" else None)


@pytest.fixture(params=["numpy", "strict", "torch", pytest.param("cupy", marks=pytest.mark.gpu)])
def arrays(request: pytest.FixtureRequest) -> Namespace:
    """Every array library in turn."""
    return _make_namespace(request.param)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real structures and format fixtures beside the checkout; tests that need it skip without it."""
    folder = Path(os.environ.get("CRYODASK_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder} (set CRYODASK_TEST_DATA)")
    return folder
