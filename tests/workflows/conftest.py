"""One tiny data set, made once without workers, that the tests of the workflows compare with and copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from distributed import Client

from cryodask.cluster import ClusterSpec, connect
from cryodask.io.store import Store
from cryodask.workflows.match import MatchResult
from tests.tiny import RecordedProgress, run_chain


@dataclass(frozen=True)
class Reference:
    """A finished run: its store (not to be changed), its search and the stages it went through."""

    store: Store
    result: MatchResult
    progress: RecordedProgress

    def copy(self, folder: Path) -> Store:
        shutil.copytree(self.store.path, folder / "copy.zarr")
        return Store(folder / "copy.zarr")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The tiny chain, run in this process and undisturbed."""
    store = Store(tmp_path_factory.mktemp("reference") / "data.zarr")
    progress = RecordedProgress()
    return Reference(store, run_chain(store, progress=progress), progress)


@pytest.fixture(scope="session")
def two_workers() -> Iterator[Client]:
    """A client of two worker processes."""
    with connect(ClusterSpec(workers=2, memory_limit_bytes=2**30)) as session:
        assert session.client is not None
        yield session.client
