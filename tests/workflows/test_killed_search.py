"""A search that is killed in its middle goes on with the next tile of the next template, and no bit tells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cryodask.errors import StoreError
from cryodask.io.store import Store
from cryodask.kernels.rotations import rotation_set
from cryodask.model.images import Tomogram
from cryodask.model.progress import NullProgress
from cryodask.model.source import ArraySource
from cryodask.ops.templates import TemplateSource
from cryodask.params.schema import MatchingParameters
from cryodask.workflows.match import MatchJob, match
from cryodask.workflows.search_inputs import NamedTemplate, tomogram_in_memory
from tests.conftest import REPOSITORY
from tests.tiny import RecordedProgress, assert_same_bits, contents, gaussian

TILES, NAMES = 4, ("a", "b")
GROUPS = tuple(f"m/scores/{name}" for name in NAMES)
RUN = """
import sys
from cryodask.cluster import ClusterSpec, connect
from cryodask.io.store import Store
from tests.workflows.test_killed_search import search

if __name__ == "__main__":
    with connect(ClusterSpec(kind=sys.argv[3], workers=1)) as session:
        search(Store(sys.argv[1]), sys.argv[2], client=session.client)
"""


def search(store: Store, engine: str, **how: object) -> object:
    """Two templates in a tomogram of four tiles."""
    noise = np.random.default_rng(1).standard_normal((16, 128, 128)).astype(np.float32)
    image = xr.Dataset({"image": (("z", "y", "x"), noise)}, attrs={"voxel_size_angstrom": 10.0})
    templates = tuple(
        NamedTemplate(
            source=TemplateSource(
                template_id=name,
                density=ArraySource(gaussian((13, 13, 13), (6, 5, 4), 1.5) + gaussian((13, 13, 13), centre, 1.5)),
                voxel_size_angstrom=10.0,
                radius_angstrom=40.0,
            ),
            token=name,
        )
        for name, centre in zip(NAMES, ((8, 8, 6), (4, 7, 9)), strict=True)
    )
    parameters = MatchingParameters(
        engine=engine,  # type: ignore[arg-type]
        angular_step_deg=40.0 if engine == "fft" else 20.0,
        threshold_z=3.0,
        rotations_per_task=64,
    )
    job = MatchJob(
        tomograms=(tomogram_in_memory(Tomogram.parse(image), "m"),), templates=templates, parameters=parameters
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryodask.ops.matching.TILE_VOXELS", 64)
        options = {"client": None, "progress": NullProgress(), **how}
        return match(store, job, **options).picks  # type: ignore[arg-type]


def pending(store: Store) -> int:
    """Tiles still to be searched, of both templates."""
    try:
        return sum(len(store.pending(group)) for group in GROUPS)
    except StoreError:
        return TILES * len(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "kind"), [("fft", "local"), ("low-rank", "sync")])
def test_a_killed_search_is_resumed_to_the_same_bits(engine: str, kind: str, tmp_path: Path) -> None:
    whole = Store(tmp_path / "whole.zarr")
    picks = search(whole, engine)
    store, program = Store(tmp_path / "killed.zarr"), tmp_path / "run.py"
    program.write_text(RUN)
    process = subprocess.Popen(
        [sys.executable, str(program), store.path, engine, kind],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 120
        while pending(store) > TILES * len(NAMES) - 3:
            assert process.poll() is None, "the search ended before it could be killed"
            assert time.monotonic() < until, "no tile was searched"
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    left = pending(store)
    assert 0 < left < TILES * len(NAMES)

    progress = RecordedProgress()
    again = search(store, engine, progress=progress)
    assert progress.done["m search"] == left
    assert_same_bits(contents(store), contents(whole))
    for ours, theirs in zip(again.to_dataset().values(), picks.to_dataset().values(), strict=True):  # type: ignore[attr-defined]
        np.testing.assert_array_equal(ours, theirs)
    assert len(rotation_set(40.0)) > 64  # several batches a tile
