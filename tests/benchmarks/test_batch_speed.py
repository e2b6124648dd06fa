"""What workers buy, and what Dask costs: eight tomograms of the quick preset on one worker, on two, and in a loop."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pytest

from cryodask.cluster import ClusterSpec, connect
from cryodask.model.progress import NullProgress
from cryodask.params import RunParameters, load_parameters
from cryodask.workflows.batch_journal import open_journal
from cryodask.workflows.batch_lanes import WholeLane
from cryodask.workflows.batch_manifest import read_manifest
from cryodask.workflows.batch_run import run_batch
from cryodask.workflows.batch_stages import BatchSettings
from tests.faults.conftest import call

TOMOGRAMS = 8
CLASSES = "syn-0240-c1"
"""One of the six of the preset, to keep the benchmark short: the tasks are as large as with all."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speed")
    made = call("simulate", "--preset", "quick", "--models", "1", "--classes", CLASSES, "-o", folder / "data.zarr")
    assert made.exit_code == 0, made.output
    path = folder / "session.csv"
    rows = "".join(f"t{index},data.zarr\n" for index in range(TOMOGRAMS))  # the same images, eight times
    path.write_text(f"name,tilt_series\n{rows}")
    return path


@dataclass(frozen=True)
class Taken:
    """By a whole batch; the start of workers and the loading of their modules left out."""

    wall_seconds: float
    processor_seconds: float
    """Of leader, scheduler and workers together: other work on the machine changes it little."""


def processor_seconds() -> float:
    """Of this process and of all that it has started and that still run."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def measure(manifest: Path, folder: Path, workers: int | None) -> Taken:
    parameters = load_parameters(RunParameters, preset="quick")
    folder.mkdir()
    settings = BatchSettings(folder=str(folder), parameters=parameters, keep_maps=False)
    spec = ClusterSpec(kind="sync") if workers is None else ClusterSpec(workers=workers, memory_limit_bytes=2 * 2**30)
    with connect(spec) as session, open_journal(folder) as journal:
        lane = None
        if session.client is not None:
            session.client.run(warm)
            lane = WholeLane(session.client, settings)
        else:
            warm()
        started, busy = time.perf_counter(), processor_seconds()
        done = run_batch(
            journal, read_manifest(manifest), settings, client=session.client, progress=NullProgress(), lane=lane
        )
        taken = Taken(time.perf_counter() - started, processor_seconds() - busy)
    assert (done.done, done.failed) == (TOMOGRAMS, 0)
    return taken


def warm() -> None:
    """Load what the first task would load."""
    import cryodask.kernels.fast.backprojection
    import cryodask.kernels.fast.correlation
    import cryodask.workflows.batch_stages  # noqa: F401


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_two_workers_against_one_and_one_against_a_loop(manifest: Path, tmp_path: Path) -> None:
    taken = {
        "loop": measure(manifest, tmp_path / "loop", None),
        "one": measure(manifest, tmp_path / "one", 1),
        "two": measure(manifest, tmp_path / "two", 2),
    }
    print(json.dumps({name: asdict(value) for name, value in taken.items()}))
    loop, one, two = taken["loop"], taken["one"], taken["two"]
    print(f"two workers are {one.wall_seconds / two.wall_seconds:.2f} times as fast as one")
    print(
        f"one worker takes {100 * (one.wall_seconds / loop.wall_seconds - 1):.1f} % more time than a loop, and ", end=""
    )
    print(f"{100 * (one.processor_seconds / loop.processor_seconds - 1):.1f} % more of processors")
    assert one.wall_seconds / two.wall_seconds >= 1.7
    assert one.wall_seconds / loop.wall_seconds <= 1.1
