"""What a ClusterSpec accepts, and the defaults that this machine fills in."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from cryodask.cluster import ClusterSpec, machine, parse_size
from cryodask.cluster.spec import checked_address
from cryodask.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4GiB", 4 * 2**30), ("4gib", 4 * 2**30), ("500 MB", 500_000_000), ("1.5 TiB", 3 * 2**39), ("64kB", 64_000)],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "4", "GiB", "-4GiB", "4 G", "4 parsecs", "1e3MB", "nan GiB"])
def test_sizes_without_a_unit_or_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="4GiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp://10.0.0.1:8786", "tcp://10.0.0.1:8786"),
        ("node-17.cluster:8786", "tcp://node-17.cluster:8786"),
        ("tls://[fe80::1]:1", "tls://[fe80::1]:1"),
    ],
)
def test_addresses(text: str, expected: str) -> None:
    assert checked_address(text) == expected
    assert ClusterSpec(kind="existing", scheduler=text).scheduler == expected


@pytest.mark.parametrize(
    "text", ["", "host", "tcp://host", "host:0", "host:65536", "file:///etc/passwd", "http://host:80", "a b:1", "x:1;y"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="tcp://HOST:PORT"):
        ClusterSpec(kind="existing", scheduler=text)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"kind": "lokal"}, "lokal"),
        ({"kind": "existing"}, "address"),
        ({"kind": "local", "scheduler": "h:1"}, "existing"),
        ({"kind": "existing", "scheduler": "h:1", "workers": 2}, "own workers"),
        ({"workers": 0}, "at least 1"),
        ({"kind": "sync", "workers": 2}, "calling process"),
        ({"memory_limit_bytes": 383 * 2**20}, "383 MiB a worker: at least 384 MiB"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        ClusterSpec(**values)


def test_a_spec_travels() -> None:
    spec = ClusterSpec(workers=3, memory_limit_bytes=2**30)
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_container_limits_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    free = machine.available_memory_bytes()
    assert free > 0
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert machine.processor_count() == 1
    assert machine.available_memory_bytes() == 600_000
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.processor_count() >= 1
    assert machine.available_memory_bytes() > 600_000
