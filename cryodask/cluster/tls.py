"""Certificates of one cluster: whoever holds them may run code on its workers, nobody else may talk to it."""

from __future__ import annotations

import ipaddress
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryodask.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from distributed.security import Security

CA, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"


@dataclass(frozen=True)
class TlsFiles:
    """A folder with ``ca.pem``, ``cert.pem`` and ``key.pem``, used by scheduler, workers and clients alike."""

    folder: str

    def check(self) -> None:
        """ConfigError if a file is missing, or if others than the owner may read the key."""
        missing = [name for name in (CA, CERTIFICATE, KEY) if not self.path(name).is_file()]
        if missing:
            raise ConfigError(f"{self.folder} lacks {', '.join(missing)}: give the folder of `cryodask cluster start`")
        key = self.path(KEY)
        if key.stat().st_mode & 0o077:
            raise ConfigError(f"{key} can be read by others than its owner; run: chmod 600 {key}")

    def path(self, name: str) -> Path:
        """One of the files."""
        return Path(self.folder, name)

    def security(self) -> Security:
        """Dask's description of these files; encryption is required of all connections."""
        from distributed.security import Security

        files: dict[str, str] = {"tls_ca_file": str(self.path(CA))}
        for role in ("client", "scheduler", "worker"):
            files |= {f"tls_{role}_cert": str(self.path(CERTIFICATE)), f"tls_{role}_key": str(self.path(KEY))}
        return Security(require_encryption=True, **files)


def make_certificates(folder: Path) -> TlsFiles:
    """New certificates, valid for a year, in ``folder`` (0700), each file readable by its owner only (0600).

    Raises ClusterError where the package cryptography is missing or the folder cannot be written.
    """
    try:
        from distributed.security import Security

        made = Security.temporary()
    except ImportError as error:
        raise ClusterError(
            "certificates need the package cryptography: pip install cryptography, or give --tls FOLDER"
        ) from error
    texts = {CA: made.tls_ca_file, CERTIFICATE: made.tls_scheduler_cert, KEY: made.tls_scheduler_key}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        for name, text in texts.items():
            path = folder / name
            path.unlink(missing_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
    except OSError as error:
        raise ClusterError(f"cannot write certificates into {folder}: {error.strerror or error}") from error
    return TlsFiles(str(folder.absolute()))


def remove_certificates(files: TlsFiles) -> None:
    """Take the folder away again; what is gone is gone."""
    shutil.rmtree(files.folder, ignore_errors=True)


def is_loopback(host: str) -> bool:
    """Whether nobody outside this machine can reach what listens at ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
