"""How many steps a second leader and scheduler get through, and what memory they take, when stages do nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.conftest import finish, start, wait_for

SCRIPT = Path(__file__).with_name("empty_batch.py")
LARGEST_BYTES = 2**30


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_ten_thousand_tomograms_of_four_empty_stages(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    cluster = start("cluster", "start", "-o", folder, "--workers", "2")
    try:
        wait_for((folder / "cluster.json").exists, cluster)
        done = subprocess.run(
            [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, timeout=800, check=False
        )
    finally:
        cluster.terminate()
        finish(cluster)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"{found['steps']} steps in {found['seconds']:.0f} s: {found['steps_per_second']:.0f} a second")
    for process in ("leader", "scheduler"):
        busy, peak = found[f"{process}_processor_seconds"], found[f"{process}_peak_bytes"] / 2**20
        print(f"{process}: {busy:.0f} s of processor time, {peak:.0f} MiB")
    assert found["tomograms"] == 10_000
    assert found["leader_peak_bytes"] < LARGEST_BYTES
    assert found["scheduler_peak_bytes"] < LARGEST_BYTES
    assert found["steps_per_second"] >= 300
