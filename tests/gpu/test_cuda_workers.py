"""The real LocalCUDACluster and the real ``dask cuda worker``, on a machine that only seems to have two GPUs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from cryodask.cluster import ClusterSpec
from cryodask.cluster.kubernetes import dask_cluster
from cryodask.cluster.site import KubernetesSite, SlurmSite
from cryodask.cluster.slurm import job_script

SCRIPT = Path(__file__).with_name("cuda_cluster.py")
ROOT = Path(__file__).resolve().parents[2]


def cuda_cluster(environment: dict[str, str], *devices: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.cuda_cluster", *devices],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_each_gpu_has_a_worker_with_one_thread(two_gpus: dict[str, str]) -> None:
    found = cuda_cluster(two_gpus)
    assert found["workers"] == 2
    assert found["dashboard"].startswith("http://127.0.0.1:")
    # The first of the visible devices is the worker's own; dask-cuda turns the list for each.
    assert sorted(e["CUDA_VISIBLE_DEVICES"] for e in found["environments"]) == ["0,1", "1,0"]
    assert {e["CRYODASK_DEVICE"] for e in found["environments"]} == {"cuda"}
    assert {e["OMP_NUM_THREADS"] for e in found["environments"]} == {"1"}
    assert (found["threads"], found["resources"]) == ([1, 1], [{"GPU": 1}] * 2)
    assert found["memory"] == [2**30] * 2
    assert found["device_memory"] == 16 * 2**30

    # Whatever optimisation makes of a graph, a GPU has one task at a time, and no GPU is left idle.
    spans = defaultdict(list)
    for process, start, end in found["spans"]:
        spans[process].append((start, end))
    assert len(spans) == 2
    for times in spans.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(sorted(times)))

    # Blocks of tasks go to cupy, which finds that there is no driver behind these devices.
    assert re.match(r"cryodask.errors: this worker's GPU cannot be used \(.*driver", found["device"])


@pytest.mark.slow
def test_the_site_chooses_among_the_gpus(two_gpus: dict[str, str]) -> None:
    found = cuda_cluster(two_gpus, "1")
    assert [e["CUDA_VISIBLE_DEVICES"] for e in found["environments"]] == ["1"]


@contextmanager
def joined(command: list[str], environment: dict[str, str], client: Client) -> Iterator[None]:
    """While a worker runs that is started by ``command``."""
    worker = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        end = time.monotonic() + 60
        while not client.nthreads():
            if worker.poll() is not None or time.monotonic() > end:
                worker.kill()
                pytest.fail(str(worker.communicate()[0]))
            time.sleep(0.1)
        yield
    finally:
        worker.terminate()
        worker.communicate(timeout=30)


def variables(dask_worker: Any) -> tuple[dict[str, float], int, str, str, float | None]:  # noqa: ANN401
    import os

    state, environment = dask_worker.state, os.environ
    names = "CUDA_VISIBLE_DEVICES", "CRYODASK_DEVICE"
    return state.total_resources, state.nthreads, *(environment[name] for name in names), dask_worker.lifetime


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slurm", "kubernetes"])
def test_the_command_of_jobs_and_pods_starts_a_gpu_worker(two_gpus: dict[str, str], kind: str, tmp_path: Path) -> None:
    environment = {**two_gpus, "CUDA_VISIBLE_DEVICES": "1"}  # as SLURM and the device plug-in set it
    bin_folder = Path(sys.executable).parent
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster, Client(cluster) as client:
        if kind == "slurm":
            pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
            site = SlurmSite(gpus=1, tls=False, scratch=str(tmp_path))
            script = job_script(ClusterSpec(kind="slurm", site=site, workers=1, memory_limit_bytes=2**30))
            command = ["bash", "-c", script.replace("tcp://SCHEDULER:PORT", cluster.scheduler_address)]
        else:
            pods = KubernetesSite(gpus=1)
            made = dask_cluster(ClusterSpec(kind="kubernetes", site=pods, workers=1, memory_limit_bytes=2**30))
            (container,) = made["spec"]["worker"]["spec"]["containers"]
            environment |= {variable["name"]: variable["value"] for variable in container["env"]}
            environment |= {"DASK_SCHEDULER_ADDRESS": cluster.scheduler_address}
            words = [
                word.replace("$(DASK_WORKER_NAME)", "w").replace("/scratch", str(tmp_path))
                for word in container["args"]
            ]
            command = [str(bin_folder / words[0]), *words[1:]]
        with joined(command, environment, client):
            (found,) = client.run(variables).values()
    assert found[:-1] == ({"GPU": 1}, 1, "1", "cuda")
    if kind == "slurm":
        assert found[-1] == pytest.approx(4 * 3600 * 0.9, abs=4 * 3600 * 0.05)  # a worker ends itself before its job
