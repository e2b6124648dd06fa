"""The cluster of a scheduler that already runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client

from cryodask.cluster.session import Session
from cryodask.cluster.spec import ClusterSpec
from cryodask.errors import ClusterError, ConfigError

CONNECT_SECONDS = 10.0

logger = logging.getLogger(__name__)


@contextmanager
def open_existing(spec: ClusterSpec) -> Iterator[Session]:
    """A client of the scheduler at ``spec.scheduler``; the cluster is left running. ClusterError if unreachable."""
    address = spec.scheduler
    try:
        if spec.tls is not None:
            spec.tls.check()
        security = None if spec.tls is None else spec.tls.security()
        client = Client(address, timeout=CONNECT_SECONDS, security=security)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ClusterError(
            f"no scheduler answered at {address} within {CONNECT_SECONDS:g} s ({error}); "
            "check that it runs, that this machine can reach it and, for tls://, that --tls names its certificates; "
            "or leave out --scheduler to work locally"
        ) from error
    with client:
        workers = len(client.scheduler_info()["workers"])
        if not workers:
            logger.warning("the scheduler at %s has no workers yet; the work starts when one joins", address)
        yield Session(client=client, workers=workers, dashboard_link=client.dashboard_link, tls=spec.tls)
