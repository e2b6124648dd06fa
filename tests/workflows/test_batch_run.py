"""Batches: the same bits as the single commands whatever the way, failures recorded, nothing done twice."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pytest
from distributed import Client

from cryodask.errors import StoreError
from cryodask.io.pick_files import read_picks
from cryodask.io.store import Store
from cryodask.model.progress import NullProgress
from cryodask.workflows import batch_stages
from cryodask.workflows.batch_journal import Journal, open_journal, read_state
from cryodask.workflows.batch_lanes import LEAST_AHEAD, HereLane, Lane, SpreadLane, WholeLane
from cryodask.workflows.batch_manifest import Entry
from cryodask.workflows.batch_run import BatchResult, run_batch
from cryodask.workflows.batch_stages import BatchSettings, Outcome, fingerprints, run_step
from cryodask.workflows.batch_status import summarise
from tests.tiny import PARAMETERS, RecordedProgress, assert_same_bits, contents
from tests.workflows.conftest import Reference


def entries_of(reference: Reference, names: Sequence[str]) -> list[Entry]:
    stages = ("reconstruct", "match", "evaluate")
    return [Entry(name=n, stages=stages, tilt_series=reference.store.path, model="model_000") for n in names]


def settings_for(folder: Path) -> BatchSettings:
    return BatchSettings(folder=str(folder), parameters=PARAMETERS)


def run(
    folder: Path, entries: Sequence[Entry], *, client: Client | None = None, lane: Lane | None = None
) -> BatchResult:
    with open_journal(folder) as journal:
        return run_batch(journal, entries, settings_for(folder), client=client, progress=NullProgress(), lane=lane)


def lane_called(way: str, request: pytest.FixtureRequest, settings: BatchSettings) -> tuple[Client | None, Lane]:
    if way == "here":
        return None, HereLane(settings)
    client: Client = request.getfixturevalue("two_workers")
    return client, WholeLane(client, settings) if way == "whole" else SpreadLane(client, settings)


def results(folder: Path, name: str) -> dict[str, npt.NDArray[Any]]:
    """Arrays of a tomogram's stores, under the names that the single commands give them."""
    made = contents(Store(folder / "tomograms" / name / "data.zarr"))
    made |= contents(Store(folder / "tomograms" / name / "picks" / "maps.zarr"))
    return {key.replace(f"{name}/", "model_000/", 1): values for key, values in made.items()}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["here", "whole", "spread"])
def test_the_way_changes_no_bit_and_the_commands_give_the_same(
    reference: Reference, request: pytest.FixtureRequest, tmp_path: Path, way: str
) -> None:
    settings = settings_for(tmp_path)
    client, lane = lane_called(way, request, settings)
    done = run(tmp_path, entries_of(reference, ["one", "two"]), client=client, lane=lane)
    assert (done.tomograms, done.done, done.failed) == (2, 2, 0)
    expected = {
        key: values
        for key, values in contents(reference.store).items()
        if "/scores/" in key or "/search/" in key or "/tomogram/" in key
    }
    for name in ("one", "two"):
        assert_same_bits(expected, results(tmp_path, name))
        picks = read_picks(tmp_path / "tomograms" / name / "picks" / "picks.star", shape=(32, 64, 64))
        assert len(picks) == reference.result.record["picks"]
        assert set(picks.tomogram) <= {name}
        assert (tmp_path / "tomograms" / name / "evaluation.json").exists()


def test_a_second_run_does_nothing_and_a_changed_input_is_looked_at(reference: Reference, tmp_path: Path) -> None:
    entries = entries_of(reference, ["one"])
    run(tmp_path, entries)
    before = read_state(tmp_path).done["one", "match"]["t"]
    run(tmp_path, entries)
    assert read_state(tmp_path).done["one", "match"]["t"] == before
    scored = replace(entries[0], truth=reference.store.path)
    run(tmp_path, [scored])
    state = read_state(tmp_path)
    assert state.done["one", "match"]["t"] == before
    assert state.done["one", "evaluate"]["token"] == fingerprints(scored, settings_for(tmp_path))["evaluate"]


def broken(name: str) -> Entry:
    return Entry(name=name, stages=("match", "evaluate"), tomogram=f"/nowhere/{name}.mrc")


@pytest.mark.parametrize("way", ["here", "whole", "spread"])
def test_a_tomogram_that_fails_is_recorded_and_the_rest_goes_on(
    reference: Reference, request: pytest.FixtureRequest, tmp_path: Path, way: str
) -> None:
    settings = settings_for(tmp_path)
    client, lane = lane_called(way, request, settings)
    entries = [broken("bad"), *entries_of(reference, ["good"])]
    progress = RecordedProgress()
    with open_journal(tmp_path) as journal:
        done = run_batch(journal, entries, settings, client=client, progress=progress, lane=lane)
    assert (done.tomograms, done.done, done.failed) == (2, 1, 1)
    assert progress.done == {"tomograms": 2}
    found = summarise(read_state(tmp_path))
    (failure,) = found["failures"]
    assert (failure["name"], failure["stage"]) == ("bad", "match")
    assert "/nowhere/bad.mrc" in failure["reason"]
    assert found["stages"]["match"] | {"per_hour": 0, "mean_seconds": 0} == {
        "tomograms": 2,
        "done": 1,
        "failed": 1,
        "pending": 0,
        "per_hour": 0,
        "mean_seconds": 0,
    }
    assert run(tmp_path, entries).failed == 1  # left alone by the next run


class FakeLane:
    """Gives the outcomes it was made with, in turn."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = list(outcomes)
        self.closed = False

    def room(self) -> int:
        return 1

    def start(self, entry: Entry, steps: Sequence[tuple[str, str]]) -> None:
        pass

    def collect(self, seconds: float) -> list[Outcome]:
        return [self.outcomes.pop(0)]

    def close(self) -> None:
        self.closed = True


def test_a_full_disk_stops_the_batch_and_blames_no_tomogram(tmp_path: Path) -> None:
    full = Outcome(name="bad", stage="match", token="t", reason="cannot write x", disk_full=True)
    lane = FakeLane([full])
    with pytest.raises(StoreError, match=r"bad, match: cannot write x.*free some space.*resume"):
        run(tmp_path, [broken("bad")], lane=lane)
    assert lane.closed
    assert read_state(tmp_path).failed == {}


def test_a_full_disk_is_told_from_other_faults(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, settings = entries_of(reference, ["one"])[0], settings_for(tmp_path)

    def refuse(*_: object) -> dict[str, object]:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise StoreError("cannot write it") from error

    def divide(*_: object) -> dict[str, object]:
        return {"x": 1 // 0}

    monkeypatch.setitem(batch_stages._STAGES, "match", refuse)
    assert run_step(entry, "match", "t", settings).disk_full
    monkeypatch.setitem(batch_stages._STAGES, "match", divide)
    failed = run_step(entry, "match", "t", settings)
    assert (failed.disk_full, failed.reason) == (False, "ZeroDivisionError: integer division or modulo by zero")
    assert run_step(entry, "evaluate", "t", settings, failed) is failed


# -- the lane of whole tomograms, with work that only pretends ------------------------------------------------------


def pretend(entry: Entry, stage: str, token: str, settings: BatchSettings, before: Outcome | None = None) -> Outcome:
    """Leaves a mark; dies with its worker if the tomogram is called so; otherwise takes a moment."""
    import os
    import signal

    if before is not None and before.reason is not None:
        return before
    Path(settings.folder, f"{entry.name}-{stage}-{time.monotonic_ns()}").touch()
    if entry.name.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return Outcome(name=entry.name, stage=stage, token=token)


@contextmanager
def killed_once() -> Iterator[None]:
    """A task is given up the first time that its worker dies."""
    import dask

    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        yield


@pytest.mark.slow
def test_a_poisonous_tomogram_is_named_and_its_neighbours_are_not(tmp_path: Path) -> None:
    from cryodask.cluster import ClusterSpec, connect

    entries = [Entry(name=f"t{i}", stages=("match", "evaluate"), tomogram="x.mrc") for i in range(8)]
    entries.insert(2, Entry(name="deadly", stages=("match", "evaluate"), tomogram="x.mrc"))
    settings = settings_for(tmp_path)
    with killed_once(), connect(ClusterSpec(workers=2, memory_limit_bytes=2**29)) as session:
        assert session.client is not None
        lane = WholeLane(session.client, settings, pretend)
        with open_journal(tmp_path) as journal:
            done = run_batch(journal, entries, settings, client=session.client, progress=NullProgress(), lane=lane)
    assert (done.done, done.failed) == (8, 1)
    failure = read_state(tmp_path).failed["deadly"]
    assert failure.stage == "match"
    assert "workers died repeatedly" in failure.reason


def test_the_number_in_flight_is_bounded_and_early_tomograms_end_first(two_workers: Client, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    lane = WholeLane(two_workers, settings, pretend)
    entries = [Entry(name=f"t{i:02}", stages=("match", "evaluate"), tomogram="x.mrc") for i in range(90)]
    most = 0
    started: list[str] = []
    start = lane.start

    def counted(entry: Entry, steps: Sequence[tuple[str, str]]) -> None:
        nonlocal most
        start(entry, steps)
        started.append(entry.name)
        most = max(most, len(lane._in_flight))

    lane.start = counted  # type: ignore[method-assign]
    with open_journal(tmp_path) as journal:
        run_batch(journal, entries, settings, client=two_workers, progress=NullProgress(), lane=lane)
    assert most == LEAST_AHEAD == 64
    assert started == [entry.name for entry in entries]
    marks = sorted(tmp_path.glob("t*-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    order = [path.name[:3] for path in marks]
    assert len(order) == 180
    # Depth first: on average a tomogram ends soon after its turn; stage by stage it would end 60 tasks late.
    late = [max(i for i, name in enumerate(order) if name == entry.name) - 2 * k for k, entry in enumerate(entries)]
    assert sum(late) / len(late) < 20, order


def test_fields_of_a_journal_that_a_status_needs(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        fill(journal)
    found = summarise(read_state(tmp_path))
    assert (found["tomograms"], found["done"], found["failed"], found["pending"]) == (4, 2, 0, 2)
    assert found["stages"]["match"]["per_hour"] == pytest.approx(360)  # one every ten seconds
    assert found["remaining_seconds"] == pytest.approx(20)


def fill(journal: Journal) -> None:
    for i in range(4):
        journal.write("entry", name=f"t{i}", entry=broken(f"t{i}").to_dict() | {"stages": ["match"]})
    for i in range(2):
        journal.write("done", name=f"t{i}", stage="match", token="t", seconds=4.0, numbers={})
        journal.state.done[f"t{i}", "match"]["t"]
    path = Path(str(journal._file.name))
    lines = path.read_text().splitlines()
    for i, line in enumerate(lines):
        if '"done"' in line:
            _, _, rest = line.partition(",")
            lines[i] = f'{{"t":{1000.0 + 10 * i},{rest}'
    path.write_text("\n".join(lines) + "\n")
