"""GPU workers: what is asked of dask-cuda, and clear words where there is no GPU."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from cryodask.cluster import ClusterSpec, connect
from cryodask.cluster.cuda import options_of, visible_gpus
from cryodask.cluster.site import CudaSite
from cryodask.errors import ClusterError


class FakeNvmlError(Exception):
    pass


def fake_nvml(count: int | None) -> ModuleType:
    module: Any = ModuleType("pynvml")

    def start() -> None:
        if count is None:
            raise FakeNvmlError("Driver Not Loaded")

    module.NVMLError, module.nvmlInit, module.nvmlDeviceGetCount = FakeNvmlError, start, lambda: count
    found: ModuleType = module
    return found


@pytest.mark.parametrize(
    ("count", "devices", "words"), [(None, None, "Driver Not Loaded.*--cluster local"), (0, None, "has no NVIDIA GPU")]
)
def test_no_gpu_is_told(monkeypatch: pytest.MonkeyPatch, count: int | None, devices: str | None, words: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(count))
    with pytest.raises(ClusterError, match=words), connect(ClusterSpec(kind="cuda", site=CudaSite(devices=devices))):
        pass


def test_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(ClusterError, match=r"cryodask\[cuda\]"):
        visible_gpus(CudaSite())
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(2))
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with pytest.raises(ClusterError, match="dask-cuda"), connect(ClusterSpec(kind="cuda")):
        pass


def test_one_worker_and_one_thread_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(4))
    site = CudaSite(device_memory_limit="14GiB")
    assert visible_gpus(site) == ["0", "1", "2", "3"]
    options = options_of(ClusterSpec(kind="cuda", workers=3, memory_limit_bytes=2**30), site, ["0", "1", "2", "3"], "x")
    assert options["CUDA_VISIBLE_DEVICES"] == "0,1,2"
    assert (options["n_workers"], options["threads_per_worker"], options["resources"]) == (3, 1, {"GPU": 1})
    assert (options["memory_limit"], options["device_memory_limit"]) == (2**30, "14GiB")
    assert options["host"] == "127.0.0.1"
    more = options_of(ClusterSpec(kind="cuda", workers=9, memory_limit_bytes=2**30), CudaSite(), ["5"], "x")
    assert (more["n_workers"], more["CUDA_VISIBLE_DEVICES"]) == (1, "5")
    assert "rmm_pool_size" not in more
