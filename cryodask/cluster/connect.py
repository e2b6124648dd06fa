"""The one way from a specification to an open cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from cryodask.cluster.session import Session
from cryodask.cluster.spec import ClusterSpec
from cryodask.errors import ConfigError


@contextmanager
def performance_report(session: Session, path: Path | None) -> Iterator[None]:
    """Write Dask's report of the block's tasks to the HTML file ``path``, readable offline; None writes nothing."""
    if path is None:
        yield
        return
    if session.client is None:
        raise ConfigError(f"no performance report ({path}) without workers: use --cluster local, or leave it out")
    import distributed

    with distributed.performance_report(filename=str(path), mode="inline"):
        yield


@contextmanager
def connect(spec: ClusterSpec) -> Iterator[Session]:
    """Open the cluster that ``spec`` describes, for the length of a ``with`` block.

    Raises ClusterError, naming address and remedy, when it cannot be started or reached. Local workers are started
    by spawning, so a script that calls this must do so under ``if __name__ == "__main__":``.
    """
    if spec.kind == "sync":
        from dask import config

        with config.set(scheduler="synchronous"):
            yield Session(client=None, workers=1, dashboard_link=None)
    else:
        module = import_module(f"cryodask.cluster.{spec.kind}")
        with getattr(module, f"open_{spec.kind}")(spec) as session:
            yield session
