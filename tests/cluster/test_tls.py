"""TLS: made by default beyond loopback, with the right permissions, and refused without the right certificates."""

from __future__ import annotations

import gc
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from cryodask.cluster import ClusterSpec, connect, existing
from cryodask.cluster.tls import TlsFiles, is_loopback, make_certificates
from cryodask.errors import ClusterError, ConfigError

pytest.importorskip("cryptography", reason="cryptography is not installed")


def outer_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no network interface beside loopback")
        address: str = probe.getsockname()[0]
    if is_loopback(address):
        pytest.skip("this machine has no network interface beside loopback")
    return address


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("[::1]", True), ("0.0.0.0", False), ("10.1.2.3", False), ("n7", False)],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_certificates_are_for_their_owner_only(tmp_path: Path) -> None:
    files = make_certificates(tmp_path / "tls")
    assert Path(files.folder).stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in Path(files.folder).iterdir()) == ["ca.pem", "cert.pem", "key.pem"]
    assert {path.stat().st_mode & 0o777 for path in Path(files.folder).iterdir()} == {0o600}
    files.check()
    files.path("key.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        files.check()
    files.path("ca.pem").unlink()
    with pytest.raises(ConfigError, match=r"lacks ca\.pem"):
        files.check()


def test_a_scheduler_beyond_loopback_speaks_tls_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(existing, "CONNECT_SECONDS", 3.0)
    with connect(ClusterSpec(workers=1, memory_limit_bytes=2**29, host=outer_address())) as session:
        client: Any = session.client
        assert session.tls is not None
        address = session.scheduler_address
        assert address.startswith("tls://")
        assert client.submit(pow, 2, 5).result() == 32
        assert session.dashboard_link is not None
        with urllib.request.urlopen(session.dashboard_link, timeout=30) as answer:
            assert answer.status == 200
        outside = session.dashboard_link.replace("127.0.0.1", address[len("tls://") :].rpartition(":")[0])
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(outside, timeout=30)
        with connect(ClusterSpec(kind="existing", scheduler=address, tls=session.tls)) as joined:
            assert joined.client is not None
            assert joined.client.submit(pow, 2, 6).result() == 64
        strangers = make_certificates(tmp_path / "others")
        for wrong in (
            ClusterSpec(kind="existing", scheduler=address),
            ClusterSpec(kind="existing", scheduler=address, tls=strangers),
            ClusterSpec(kind="existing", scheduler=address.replace("tls://", "tcp://")),
        ):
            with pytest.raises(ClusterError, match=r"no scheduler answered at .*--tls"), connect(wrong):
                pass
            # A half-made client that is collected while another starts would stop both for good. By type: isinstance
            # would ask weak proxies, dead ones too, for the class of what they stand for.
            clients = [made for made in gc.get_objects() if issubclass(type(made), Client)]
            assert not [client for client in clients if client.status == "connecting"]
        kept = Path(session.tls.folder)
        assert kept.exists()
    assert not kept.exists()


def test_certificates_belong_to_tls_addresses() -> None:
    with pytest.raises(ConfigError, match="belong to a --scheduler at tls"):
        ClusterSpec(kind="existing", scheduler="tcp://a:1", tls=TlsFiles("x"))
    with pytest.raises(ConfigError, match="only the scheduler of a local cluster"):
        ClusterSpec(kind="slurm", host="10.0.0.1")
