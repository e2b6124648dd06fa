"""An open cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Session:
    """An open cluster. Leaving ``connect``'s block closes it."""

    client: Client | None
    """Client of the cluster, also the default one for ``dask.compute``; None when the calling process does the work."""
    workers: int
    """Workers at the start; a cluster that scales itself may have none yet."""
    dashboard_link: str | None
    """Address of the Dask dashboard, None where there is none."""
