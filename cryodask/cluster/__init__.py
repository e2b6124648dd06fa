"""From a ClusterSpec to workers: on this machine, in this process, or at the address of a running scheduler."""

from cryodask.cluster.connect import connect, performance_report
from cryodask.cluster.session import Session
from cryodask.cluster.spec import ClusterSpec, parse_size

__all__ = ["ClusterSpec", "Session", "connect", "parse_size", "performance_report"]
