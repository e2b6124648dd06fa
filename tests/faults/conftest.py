"""A batch to disturb, its undisturbed result, and the means of disturbance."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import psutil
import pytest

from cryodask.io.store import Store
from tests.tiny import assert_same_bits, contents

SMALL = (
    *("--set", "simulation.sample.box_voxels=[32,64,64]", "--set", "simulation.sample.particle_count=[2,2]"),
    *("--set", "simulation.acquisition.tilt_count=7", "--classes", "syn-0060-c1,syn-0150-c2"),
)
SEARCH = ("--set", "matching.angular_step_deg=40", "--set", "matching.rotations_per_task=32")
LIMIT_SECONDS = 200.0


@dataclass(frozen=True)
class Called:
    """A finished command."""

    exit_code: int
    output: str


@dataclass(frozen=True)
class Batch:
    """A manifest of simulated tilt series, and what comes of it when nothing is in the way."""

    manifest: Path
    undisturbed: Path

    @property
    def data(self) -> Path:
        return self.manifest.parent / "data.zarr"

    def check(self, run: Path, *, names: set[str] | None = None) -> None:
        """Every result of ``run`` is there and the same to the bit, of the tomograms called so or of all."""
        expected, found = results(self.undisturbed, names), results(run, names)
        assert expected
        assert_same_bits(expected, found)
        for name in {key.partition("/")[0] for key in expected}:
            picks = [folder / "tomograms" / name / "picks" / "picks.star" for folder in (self.undisturbed, run)]
            assert picks[0].read_text() == picks[1].read_text()


def results(run: Path, names: set[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Every array of the stores of the tomograms called so, or of all."""
    found: dict[str, npt.NDArray[Any]] = {}
    for folder in sorted((run / "tomograms").iterdir()):
        if names is not None and folder.name not in names:
            continue
        for store in (folder / "data.zarr", folder / "picks" / "maps.zarr"):
            if store.exists():
                found |= {f"{folder.name}/{store.name}/{key}": value for key, value in contents(Store(store)).items()}
    return found


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """A command in a process (and process group) of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "cryodask", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> Called:
    """Wait for a command; what it leaves running is killed."""
    try:
        output = process.communicate(timeout=LIMIT_SECONDS)[0]
    except subprocess.TimeoutExpired:
        kill(process.pid)
        pytest.fail(f"no end within {LIMIT_SECONDS} s: {process.communicate()[0]}")
    finally:
        for child in [p for p in psutil.process_iter(["pid"]) if _group(p.pid) == process.pid]:
            child.kill()
    return Called(process.returncode, output)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def call(*arguments: str | Path) -> Called:
    return finish(start(*arguments))


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes that a command has started."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "multiprocessing.spawn" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def kill(pid: int) -> None:
    """As the system does when memory runs out: no chance to tidy up."""
    os.kill(pid, signal.SIGKILL)


def wait_for(happened: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not happened():
        if process is not None and process.poll() is not None:
            pytest.fail(f"ended with {process.returncode} before: {process.communicate()[0]}")
        assert time.monotonic() < end
        time.sleep(0.05)


def events(run: Path) -> list[dict[str, Any]]:
    """What the journal has; a line that is being written is left out."""
    path = run / "journal.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def done(run: Path) -> list[tuple[str, str]]:
    return [(event["name"], event["stage"]) for event in events(run) if event["event"] == "done"]


@pytest.fixture(scope="session")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    folder = tmp_path_factory.mktemp("faults")
    made = call("simulate", "-o", folder / "data.zarr", "--models", "3", "--seed", "5", "--workers", "2", *SMALL)
    assert made.exit_code == 0, made.output
    (folder / "session.csv").write_text("tilt_series\ndata.zarr\n")
    run = call("batch", "run", folder / "session.csv", "-o", folder / "run", "--cluster", "sync", *SEARCH)
    assert run.exit_code == 0, run.output
    return Batch(folder / "session.csv", folder / "run")
