"""One tiny data set, made once without workers, that the tests of the workflows compare with and copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dask.delayed import Delayed
from distributed import Client

from cryodask.cluster import ClusterSpec, connect
from cryodask.io.store import Store
from cryodask.workflows import aligned_images, densities, execution, match, reconstruct, simulate
from cryodask.workflows.match import MatchResult
from tests.tiny import RecordedProgress, keys_of, run_chain


@dataclass(frozen=True)
class Reference:
    """A finished run: its store (not to be changed), its search and the stages it went through."""

    store: Store
    result: MatchResult
    progress: RecordedProgress
    keys: dict[str, set[str]]
    """Names of the calls in the graphs of each stage, as they were handed over for execution."""

    def copy(self, folder: Path) -> Store:
        shutil.copytree(self.store.path, folder / "copy.zarr")
        return Store(folder / "copy.zarr")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The tiny chain, run in this process and undisturbed."""
    store = Store(tmp_path_factory.mktemp("reference") / "data.zarr")
    progress = RecordedProgress()
    with recorded_keys() as keys:
        result = run_chain(store, progress=progress)
    return Reference(store, result, progress, keys)


@contextmanager
def recorded_keys() -> Iterator[dict[str, set[str]]]:
    """Keeps the keys of all graphs that the workflows execute within the block."""
    found: dict[str, set[str]] = {}

    def record(tasks: Sequence[Delayed], *, stage: str, **others: Any) -> list[Any]:  # noqa: ANN401
        found[stage] = keys_of(tasks)
        return execution.execute(tasks, stage=stage, **others)

    with pytest.MonkeyPatch.context() as patch:
        for module in (densities, simulate, aligned_images, reconstruct, match):
            patch.setattr(module, "execute", record)
        yield found


@pytest.fixture(scope="session")
def two_workers() -> Iterator[Client]:
    """A client of two worker processes."""
    with connect(ClusterSpec(workers=2, memory_limit_bytes=2**30)) as session:
        assert session.client is not None
        yield session.client
