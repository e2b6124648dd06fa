"""What a thousand workers cost a scheduler: their heartbeats when nothing is done, and each empty step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import LocalCluster

from tests.benchmarks.empty_batch import processor_seconds

HERE = Path(__file__).parent
WORKERS, TOMOGRAMS, IDLE_SECONDS = 1000, 300, 20.0


@contextmanager
def many_workers(address: str) -> Iterator[None]:
    command = [sys.executable, str(HERE / "many_workers.py"), address, str(WORKERS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_a_scheduler_bears_a_thousand_workers(tmp_path: Path) -> None:
    options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    with LocalCluster(n_workers=0, **options) as cluster, many_workers(cluster.scheduler_address):
        (tmp_path / "cluster").mkdir()
        record = {"address": cluster.scheduler_address, "dashboard_link": None, "tls_folder": None}
        (tmp_path / "cluster" / "cluster.json").write_text(json.dumps({**record, "process_id": os.getpid()}))
        before = processor_seconds(os.getpid())
        time.sleep(IDLE_SECONDS)
        idle = (processor_seconds(os.getpid()) - before) / IDLE_SECONDS
        script = [
            sys.executable,
            str(HERE / "empty_batch.py"),
            str(tmp_path / "cluster"),
            "--tomograms",
            str(TOMOGRAMS),
        ]
        done = subprocess.run(script, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    each = (found["scheduler_processor_seconds"] - idle * found["seconds"]) / found["steps"]
    print(f"heartbeats of {WORKERS} workers: {100 * idle:.1f} % of a processor")
    print(f"each step: {1000 * each:.2f} ms of the scheduler, ", end="")
    print(f"{1000 * found['leader_processor_seconds'] / found['steps']:.2f} ms of the leader")
    print(f"scheduler: {found['scheduler_peak_bytes'] / 2**20:.0f} MiB")
    assert idle < 0.2
    assert each < 0.004
    assert found["scheduler_peak_bytes"] < 2**30
