"""A machine that seems to have GPUs: the management library that dask-cuda asks is a stand-in of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("stand_in_nvml.c")


@pytest.fixture(scope="session")
def two_gpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of processes that are to see two GPUs."""
    pytest.importorskip("dask_cuda", reason="dask-cuda is not installed (pip install '.[cuda-check]'; needs no GPU)")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the stand-in of the management library")
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    warnings = ("-Wall", "-Wextra", "-Werror")
    subprocess.run([compiler, "-shared", "-fPIC", *warnings, "-o", str(library), str(SOURCE)], check=True)
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "STAND_IN_GPUS": "2"}
