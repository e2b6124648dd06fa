"""A cluster for the length of a command: opened, announced, and closed again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cryodask.cluster import ClusterSpec, Session, connect, performance_report


@contextmanager
def open_session(cluster: ClusterSpec, report: Path | None = None) -> Iterator[Session]:
    """``connect(cluster)`` that prints the dashboard's link to standard error and writes a performance report."""
    if not logging.getLogger("cryodask").isEnabledFor(logging.DEBUG):
        # Dask leaves one unread exception in its event loop for each future that an interrupted gather waited for, and
        # shows a traceback of its own when the scheduler is lost, beside our message.
        for name in ("asyncio", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with connect(cluster) as session:
        if session.dashboard_link is not None:
            click.echo(f"dashboard: {session.dashboard_link}", err=True)
        with performance_report(session, report):
            yield session
