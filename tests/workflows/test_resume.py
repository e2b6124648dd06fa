"""A run that is killed or interrupted goes on where it stopped, and no bit tells that it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.errors import StoreError
from cryodask.io.store import Store
from cryodask.model.progress import NullProgress
from cryodask.workflows import layout
from cryodask.workflows.simulate import simulate
from tests.conftest import REPOSITORY
from tests.tiny import RecordedProgress, assert_same_bits, contents, job, run_chain, with_tilts
from tests.workflows.conftest import Reference

TILTS = 31
GROUP = layout.tilt_series_group("model_000")
RUN = """
import sys
from cryodask.cluster import ClusterSpec, connect
from cryodask.io.store import Store
from cryodask.model.progress import NullProgress
from cryodask.workflows.simulate import simulate
from tests.tiny import job, with_tilts

if __name__ == "__main__":
    with connect(ClusterSpec(kind=sys.argv[2], workers=1)) as session:
        simulate(Store(sys.argv[1]), job(with_tilts(int(sys.argv[3]))), client=session.client, progress=NullProgress())
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, npt.NDArray[Any]]:
    store = Store(tmp_path_factory.mktemp("undisturbed") / "data.zarr")
    simulate(store, job(with_tilts(TILTS)), client=None, progress=NullProgress())
    return contents(store)


def pending_tilts(store: Store) -> int:
    """Tilts still to be made; all of them before there is a group, or a data set."""
    try:
        return len(store.pending(GROUP))
    except StoreError:
        return TILTS


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "local"])
def test_a_killed_run_is_resumed_to_the_same_bits(
    undisturbed: dict[str, npt.NDArray[Any]], tmp_path: Path, kind: str
) -> None:
    store, program = Store(tmp_path / "data.zarr"), tmp_path / "run.py"
    program.write_text(RUN)
    process = subprocess.Popen(
        [sys.executable, str(program), store.path, kind, str(TILTS)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 60
        while pending_tilts(store) > TILTS - 4:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < until, "no tilt was made"
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    left = pending_tilts(store)
    assert 0 < left < TILTS

    progress = RecordedProgress()
    simulate(store, job(with_tilts(TILTS)), client=None, progress=progress)
    assert {name: done for name, done in progress.done.items() if done} == {"model_000 tilt series": left}
    assert_same_bits(contents(store), undisturbed)
    assert not list(Path(store.path).rglob("*.partial"))


def interrupted_after(writes: int) -> Callable[..., None]:
    """``Store.write`` that lets so many writes happen and then behaves like a Ctrl-C in the middle of a block."""
    left = [writes]

    def write(store: Store, *arguments: Any) -> None:  # noqa: ANN401
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        WRITE(store, *arguments)

    return write


WRITE = Store.write


def test_interruptions_in_every_stage_change_no_bit(reference: Reference, tmp_path: Path) -> None:
    store = Store(tmp_path / "data.zarr")
    interruptions = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            # An odd number, so that potentials, masks, images and maps are all left half-written once.
            patch.setattr(Store, "write", interrupted_after(7))
            try:
                result = run_chain(store)
            except KeyboardInterrupt:
                interruptions += 1
                assert interruptions < 30, "the runs make no progress"
                continue
        break
    assert interruptions >= 4
    assert_same_bits(contents(store), contents(reference.store))
    assert np.array_equal(result.picks.score, reference.result.picks.score)


def test_a_search_killed_between_its_filter_and_the_end_goes_on(reference: Reference, tmp_path: Path) -> None:
    """The filter is recorded with the end of the group: a process killed just before has done its block for nothing."""
    store = reference.copy(tmp_path)
    file = Path(store.path, layout.search_group("model_000"), "zarr.json")
    metadata = json.loads(file.read_text(encoding="utf-8"))
    del metadata["attributes"]["whitening"], metadata["attributes"]["voxel_size_angstrom"]
    metadata["attributes"]["cryodask"]["complete"] = False
    file.write_text(json.dumps(metadata), encoding="utf-8")
    assert store.pending(layout.search_group("model_000")) == []
    run_chain(store)
    assert_same_bits(contents(reference.store), contents(store))
