"""``cryodask cluster`` as a user calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Call, Example


@contextmanager
def kept(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """``cryodask cluster start`` in a process of its own."""
    command = [sys.executable, "-m", "cryodask", "cluster", "start", "-o", str(folder), "--workers", "1", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            end = time.monotonic() + 60
            while not (folder / "cluster.json").exists():
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < end
                time.sleep(0.1)
            yield process
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_start_join_stop(call: Call, example: Example, tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    with kept(folder) as process:
        assert (folder / "cluster.json").stat().st_mode & 0o777 == 0o600
        record = json.loads((folder / "cluster.json").read_text())
        assert record["process_id"] == process.pid
        assert record["address"].startswith("tcp://127.0.0.1:")
        twice = call("cluster", "start", "-o", folder)
        assert (twice.exit_code, "belongs to a cluster already" in twice.err) == (2, True)
        joined = call("evaluate", example.picks, "--truth", example.data, "--scheduler", folder)
        assert joined.exit_code == 0, joined.err
        assert call("cluster", "describe", "--scheduler", folder).out == (
            f"the workers of the scheduler at {record['address']}\n"
        )
        stopped = call("cluster", "stop", folder)
        assert stopped.exit_code == 0, stopped.err
        assert process.wait(20) == 0
    assert not folder.exists()


@pytest.mark.slow
def test_a_terminated_cluster_cleans_up(tmp_path: Path, call: Call) -> None:
    folder = tmp_path / "cluster"
    with kept(folder) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
    assert not folder.exists()


def test_a_killed_cluster_is_told(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryodask.cluster import existing

    monkeypatch.setattr(existing, "CONNECT_SECONDS", 0.3)
    record = {"address": "tcp://127.0.0.1:1", "dashboard_link": None, "tls_folder": None, "process_id": 1}
    (tmp_path / "cluster.json").write_text(json.dumps(record))
    gone = call("cluster", "stop", tmp_path)
    assert (gone.exit_code, "no scheduler answered" in gone.err) == (4, True)
    assert not (tmp_path / "cluster.json").exists()
    assert call("cluster", "stop", tmp_path.parent).exit_code == 4


def test_describe(call: Call, tmp_path: Path) -> None:
    assert "2 worker processes" in call("cluster", "describe", "--workers", "2").out
    assert "without workers" in call("cluster", "describe", "--cluster", "sync").out
    site = tmp_path / "site.yaml"
    site.write_text("slurm: {partition: short}\nkubernetes: {gpus: 1}\n")
    sizes = ("--cluster-config", site, "--workers", "3", "--memory-limit", "2GiB")
    slurm = call("cluster", "describe", "--cluster", "slurm", *sizes)
    if slurm.exit_code == 0:
        assert "#SBATCH -p short" in slurm.out
    else:
        assert "cryodask[slurm]" in slurm.err
    manifest = yaml.safe_load(call("cluster", "describe", "--cluster", "kubernetes", *sizes).out)
    assert manifest["spec"]["worker"]["replicas"] == 3


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("start", "-o", "x", "--cluster", "sync"), 2, "cannot be kept"),
        (("start", "-o", "x", "--cluster", "slurm", "--host", "10.0.0.1"), 2, "only the scheduler of a local"),
        (("describe", "--cluster", "slurm"), 2, "--memory-limit"),
        (("describe", "--cluster-config", "site.yaml"), 2, "a local cluster has no settings"),
        (("describe", "--scheduler", "tcp://a:1", "--tls", "."), 2, "tls://"),
        (("stop", "nowhere"), 3, "no such file"),
    ],
)
def test_wrong_calls(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], exit_code: int, words: str
) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed; pip install 'cryodask[slurm]'")
    monkeypatch.chdir(tmp_path)
    answer = call("cluster", *arguments)
    assert (answer.exit_code, words in answer.err) == (exit_code, True), answer.err
