"""The cluster of a scheduler that already runs."""

from __future__ import annotations

import gc
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
    if spec.tls is not None:
        spec.tls.check()
    client = _client(spec)
    if isinstance(client, str):
        # A client whose start failed is still there until it is collected, and stops its event loop then, which takes a
        # lock. If that came to pass while the next client starts its own loop, which holds the lock, both would wait.
        gc.collect()
        raise ClusterError(
            f"no scheduler answered at {spec.scheduler} within {CONNECT_SECONDS:g} s ({client}); "
            "check that it runs, that this machine can reach it and, for tls://, that --tls names its certificates; "
            "or leave out --scheduler to work locally"
        )
    with client:
        workers = len(client.scheduler_info()["workers"])
        if not workers:
            logger.warning("the scheduler at %s has no workers yet; the work starts when one joins", spec.scheduler)
        yield Session(client=client, workers=workers, dashboard_link=client.dashboard_link, tls=spec.tls)


def _client(spec: ClusterSpec) -> Client | str:
    """A client of the scheduler, or why there is none; without the error itself, whose frames would keep the client."""
    try:
        security = None if spec.tls is None else spec.tls.security()
        return Client(spec.scheduler, timeout=CONNECT_SECONDS, security=security)
    except ConfigError:
        raise
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        return str(error)
