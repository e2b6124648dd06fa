"""An open cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from distributed import Client

    from cryodask.cluster.tls import TlsFiles


@dataclass(frozen=True)
class Session:
    """An open cluster. Leaving ``connect``'s block closes it."""

    client: Client | None
    """Client of the cluster, also the default one for ``dask.compute``; None when the calling process does the work."""
    workers: int
    """Workers at the start; a cluster that scales itself may have none yet."""
    dashboard_link: str | None
    """Address of the Dask dashboard, None where there is none."""
    tls: TlsFiles | None = None
    """Certificates that another client needs to join; None where anybody on this machine may."""

    @property
    def scheduler_address(self) -> str:
        """Where other clients may join; there must be a client."""
        client: Any = self.client
        return str(client.scheduler.address)


def loopback_link(client: Client) -> str | None:
    """Where the dashboard of a scheduler in this process is: on loopback, whatever Dask makes of its host."""
    if client.dashboard_link is None:
        return None
    parts = urlsplit(str(client.dashboard_link))
    return str(urlunsplit(parts._replace(netloc=f"127.0.0.1:{parts.port}")))
