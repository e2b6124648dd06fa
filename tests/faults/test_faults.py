"""The fault campaign: a batch loses workers, its leader, its scheduler, its disk, its inputs.

In each case the final results are those of an undisturbed run to the bit, or the failing tomogram is named and nothing
else is lost. What takes long repeats its fault once by default and many times with ``-m campaign``.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cryodask.io.mrc import write_volume
from tests.cluster.slurm_machine import running_slurm, why_not
from tests.faults.conftest import SEARCH, Batch, call, done, events, finish, kill, start, wait_for, workers_of

TWO_WORKERS = ("--workers", "2", "--memory-limit", "600MiB")
STAGES = 6
"""Of the undisturbed batch: three tomograms, reconstruct and match."""

ONCE_OR_OFTEN = pytest.mark.parametrize(
    "times",
    [pytest.param(1, marks=pytest.mark.slow), pytest.param(6, marks=pytest.mark.campaign)],
    ids=["once", "often"],
)


@ONCE_OR_OFTEN
def test_workers_are_killed(batch: Batch, tmp_path: Path, times: int) -> None:
    """kill -9 of a random worker every two seconds."""
    run, chance = tmp_path / "run", random.Random(7)
    process = start("batch", "run", batch.manifest, "-o", run, *TWO_WORKERS, *SEARCH)
    wait_for(lambda: done(run), process)
    killed = 0
    while process.poll() is None and killed < times:
        workers = workers_of(process)
        if workers:
            kill(chance.choice(workers).pid)
            killed += 1
        time.sleep(2 if times > 1 else 0)
    ended = finish(process)
    assert killed >= 1
    assert ended.exit_code == 0, ended.output
    batch.check(run)


@ONCE_OR_OFTEN
def test_the_leader_is_killed_and_the_same_command_goes_on(batch: Batch, tmp_path: Path, times: int) -> None:
    """kill -9 of the client, which is the parent of scheduler and workers too; nothing that was done is done again."""
    run, chance = tmp_path / "run", random.Random(3)
    for _ in range(times):
        before = len(done(run))
        process = start("batch", "run", batch.manifest, "-o", run, *TWO_WORKERS, *SEARCH)
        wait_for(lambda before=before: len(done(run)) > before, process)  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.4))
        kill(process.pid)
        finish(process)
        if len(done(run)) == STAGES:
            break
    ended = call("batch", "run", batch.manifest, "-o", run, *TWO_WORKERS, *SEARCH)
    assert ended.exit_code == 0, ended.output
    assert sorted(set(done(run))) == sorted(done(run))
    batch.check(run)


@contextmanager
def cluster(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = start("cluster", "start", "-o", folder, *TWO_WORKERS)
    try:
        wait_for((folder / "cluster.json").exists, process)
        yield process
    finally:
        if process.poll() is None:
            kill(process.pid)
        finish(process)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.campaign
def test_the_scheduler_is_killed_and_the_same_command_goes_on(batch: Batch, tmp_path: Path) -> None:
    """kill -9 of a scheduler that the batch joined: exit code 4, and a new scheduler finishes the work."""
    run = tmp_path / "run"
    for turn in range(2):
        with cluster(tmp_path / f"cluster-{turn}") as scheduler:
            before = len(done(run))
            process = start(
                "batch", "run", batch.manifest, "-o", run, "--scheduler", tmp_path / f"cluster-{turn}", *SEARCH
            )
            wait_for(lambda before=before: len(done(run)) > before, process)  # type: ignore[misc]
            kill(scheduler.pid)
            ended = finish(process)
            if len(done(run)) == STAGES:
                break
            assert ended.exit_code == 4, ended.output
            assert "the scheduler was lost; run the same command again to resume" in ended.output
            assert "Traceback" not in ended.output
    with cluster(tmp_path / "last"):
        ended = call("batch", "run", batch.manifest, "-o", run, "--scheduler", tmp_path / "last", *SEARCH)
    assert ended.exit_code == 0, ended.output
    assert sorted(set(done(run))) == sorted(done(run))
    batch.check(run)


@pytest.mark.campaign
def test_a_leaders_tasks_outlive_it_and_its_successor_waits_for_them(batch: Batch, tmp_path: Path) -> None:
    """The scheduler lives on and so do the tasks that run; what they are writing is left in peace."""
    run = tmp_path / "run"
    with cluster(tmp_path / "cluster"):
        arguments = ("batch", "run", batch.manifest, "-o", run, "--scheduler", tmp_path / "cluster", *SEARCH)
        process = start(*arguments)
        wait_for(lambda: done(run), process)
        kill(process.pid)
        finish(process)
        ended = call(*arguments)
    assert ended.exit_code == 0, ended.output
    batch.check(run)


@pytest.mark.campaign
def test_slurm_cancels_jobs(batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """scancel of one job after the other while they work: each is replaced, the batch ends as if nothing had been."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    run, site = tmp_path / "run", tmp_path / "site.yaml"
    site.write_text(f"slurm: {{memory: 600MiB, interface: lo, tls_folder: {tmp_path / 'tls'}}}\n")
    with running_slurm(tmp_path / "slurm") as slurm:
        for name in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(name, slurm.environment[name])
        options = ("--cluster", "slurm", "--cluster-config", site, "--workers", "2")
        process = start("batch", "run", batch.manifest, "-o", run, *options, *SEARCH)
        cancelled: set[str] = set()
        wait_for(lambda: done(run), process)
        while process.poll() is None and len(cancelled) < 3:
            for job in slurm.jobs()[:1]:
                slurm.call("scancel", job)
                cancelled.add(job)
            time.sleep(2)
        ended = finish(process)
    assert cancelled
    assert ended.exit_code == 0, ended.output
    batch.check(run)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system in memory of that size."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mount") is None, reason="there is no mount command")
def test_the_disk_fills_up_and_gets_room_again(batch: Batch, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "600k"):
        run = disk / "run"
        arguments = ("batch", "run", batch.manifest, "-o", run, *TWO_WORKERS, *SEARCH)
        full = call(*arguments)
        assert full.exit_code == 3, full.output
        assert "No space left on device" in full.output
        assert "run the same command again" in full.output
        assert [event for event in events(run) if event["event"] == "failed"] == []
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        ended = call(*arguments)
        assert ended.exit_code == 0, ended.output
        batch.check(run)


@pytest.mark.slow
def test_a_damaged_input_is_named_and_costs_one_tomogram(batch: Batch, tmp_path: Path) -> None:
    data, run = tmp_path / "data.zarr", tmp_path / "run"
    shutil.copytree(batch.data, data)
    manifest = tmp_path / "session.csv"
    shutil.copy(batch.manifest, manifest)
    chunk = next(path for path in (data / "model_002" / "tilt_series" / "counts" / "c").rglob("*") if path.is_file())
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-40] + bytes([whole[-40] ^ 0x10]) + whole[-39:])
    ended = call("batch", "run", manifest, "-o", run, *TWO_WORKERS, *SEARCH)
    assert ended.exit_code == 5, ended.output
    assert "3 tomograms: 2 done, 1 failed" in ended.output
    assert "failed: model_002, reconstruct: " in ended.output
    assert "counts" in ended.output
    batch.check(run, names={"model_000", "model_001"})
    chunk.write_bytes(whole)
    mended = call("batch", "retry", run, *TWO_WORKERS)
    assert mended.exit_code == 0, mended.output
    batch.check(run)


@pytest.mark.campaign
def test_a_tomogram_too_large_for_the_workers_is_named(batch: Batch, tmp_path: Path) -> None:
    """The memory hog: workers die at it, again and again; the other tomograms are done all the same."""
    run, hog = tmp_path / "run", tmp_path / "hog.mrc"
    write_volume(hog, np.random.default_rng(0).normal(size=(320, 320, 320)).astype(np.float32), 10.0)
    manifest = tmp_path / "session.csv"
    manifest.write_text(f"name,tilt_series,tomogram\nhog,,{hog}\n,{batch.data},\n")
    limit = ("--workers", "2", "--memory-limit", "400MiB", "--templates", batch.data)
    ended = call("batch", "run", manifest, "-o", run, *limit, *SEARCH)
    assert ended.exit_code == 5, ended.output
    assert "4 tomograms: 3 done, 1 failed" in ended.output
    assert "failed: hog, match: hog, match: workers died repeatedly at this tomogram" in ended.output
    batch.check(run, names={f"model_{index:03}" for index in range(3)})
