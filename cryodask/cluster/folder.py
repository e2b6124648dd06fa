"""The folder by which others find a cluster that ``cryodask cluster start`` keeps: its address and certificates."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryodask.cluster.session import Session
from cryodask.cluster.tls import TlsFiles
from cryodask.errors import ClusterError

RECORD = "cluster.json"


@dataclass(frozen=True, kw_only=True)
class RunningCluster:
    """Where a cluster is, and what it takes to join it."""

    address: str
    dashboard_link: str | None
    tls: TlsFiles | None
    process_id: int


def is_cluster_folder(path: Path) -> bool:
    """Whether a cluster was, or is, kept by this folder."""
    return (path / RECORD).is_file()


def read_cluster_folder(path: Path) -> RunningCluster:
    """The cluster of a folder; ClusterError if there is none or its record is damaged."""
    try:
        values = json.loads((path / RECORD).read_text(encoding="utf-8"))
        return RunningCluster(
            address=str(values["address"]),
            dashboard_link=values["dashboard_link"],
            tls=None if values["tls_folder"] is None else TlsFiles(str(values["tls_folder"])),
            process_id=int(values["process_id"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClusterError(f"{path} is no folder of a running cluster ({error}): start one there first") from error


def write_cluster_folder(path: Path, session: Session) -> None:
    """Leave address and certificates of ``session`` in ``path``, readable by the owner only."""
    record = {
        "address": session.scheduler_address,
        "dashboard_link": session.dashboard_link,
        "tls_folder": None if session.tls is None else session.tls.folder,
        "process_id": os.getpid(),
    }
    partial = path / f".{RECORD}.partial"
    try:
        path.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2)
        partial.replace(path / RECORD)
    except OSError as error:
        raise ClusterError(f"cannot write {path / RECORD}: {error.strerror or error}") from error


def remove_cluster_folder(path: Path) -> None:
    """Take the record away; the folder too if nothing else is in it."""
    (path / RECORD).unlink(missing_ok=True)
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
