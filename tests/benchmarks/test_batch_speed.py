"""What workers buy, and what Dask costs: eight tomograms of the quick preset on one worker, on two, and in a loop."""

from __future__ import annotations

import json
import time
from pathlib import Path

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


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speed")
    made = call("simulate", "--preset", "quick", "--models", str(TOMOGRAMS), "-o", folder / "data.zarr")
    assert made.exit_code == 0, made.output
    path = folder / "session.csv"
    path.write_text("tilt_series\ndata.zarr\n")
    return path


def seconds(manifest: Path, folder: Path, workers: int | None) -> float:
    """Wall time of the whole batch; the start of workers and the loading of their modules left out."""
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
        started = time.perf_counter()
        done = run_batch(
            journal, read_manifest(manifest), settings, client=session.client, progress=NullProgress(), lane=lane
        )
        taken = time.perf_counter() - started
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
        "loop": seconds(manifest, tmp_path / "loop", None),
        "one": seconds(manifest, tmp_path / "one", 1),
        "two": seconds(manifest, tmp_path / "two", 2),
    }
    print(json.dumps({name: round(value, 1) for name, value in taken.items()}))
    print(f"two workers are {taken['one'] / taken['two']:.2f} times as fast as one")
    print(f"one worker takes {100 * (taken['one'] / taken['loop'] - 1):.1f} % more than a loop")
    assert taken["one"] / taken["two"] >= 1.7
    assert taken["one"] / taken["loop"] <= 1.1
