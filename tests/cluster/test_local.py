"""Real worker processes, the calling process as a cluster, and schedulers that are or are not there."""

from __future__ import annotations

import logging
import os
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from dask.delayed import delayed

from cryodask.cluster import ClusterSpec, Session, connect, existing, local, performance_report
from cryodask.cluster.environment import MEMORY_LIMITS, SINGLE_THREADED
from cryodask.cluster.sizes import LEAST_MEMORY_BYTES
from cryodask.errors import ClusterError, ConfigError
from cryodask.workflows.plan import WORKER_BASELINE_BYTES

MEMORY = 400 * 2**20


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with connect(ClusterSpec(workers=2, memory_limit_bytes=MEMORY)) as opened:
        yield opened


def client_of(session: Session) -> Any:  # noqa: ANN401  (distributed's methods have no annotations)
    assert session.client is not None
    return session.client


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_work_is_done_in_two_other_processes(session: Session) -> None:
    assert session.workers == 2
    assert client_of(session).gather(client_of(session).map(pow, range(8), [2] * 8)) == [k * k for k in range(8)]
    pids = set(client_of(session).run(os.getpid).values())
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert delayed(pow)(3, 2).compute() == 9


def test_workers_are_single_threaded_and_limited(session: Session) -> None:
    for name in SINGLE_THREADED:
        assert set(client_of(session).run(os.getenv, name).values()) == {"1"}
    workers = client_of(session).scheduler_info()["workers"].values()
    assert [worker["nthreads"] for worker in workers] == [1, 1]
    assert [worker["memory_limit"] for worker in workers] == [MEMORY, MEMORY]


def test_a_worker_that_keeps_freed_memory_is_not_paused(session: Session) -> None:
    """It would look full for ever, and a batch stood still that way."""
    settings = set(client_of(session).run(memory_settings).values())
    assert settings == {(False, False, False, 0.95)}


def memory_settings(dask_worker: Any) -> tuple[object, ...]:  # noqa: ANN401
    manager = dask_worker.memory_manager
    terminate = dask.config.get("distributed.worker.memory.terminate")
    return (
        manager.memory_target_fraction,
        manager.memory_spill_fraction,
        manager.memory_pause_fraction,
        terminate,
    )


def test_the_dashboard_answers_on_loopback_only(session: Session) -> None:
    assert session.dashboard_link is not None
    assert session.dashboard_link.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(session.dashboard_link, timeout=30) as answer:
        assert answer.status == 200


def test_a_second_client_joins_by_address_and_leaves_the_cluster_running(session: Session) -> None:
    address = client_of(session).scheduler.address
    with connect(ClusterSpec(kind="existing", scheduler=address)) as joined:
        assert joined.workers == 2
        assert client_of(joined).submit(pow, 2, 5).result() == 32
    assert client_of(session).submit(pow, 2, 6).result() == 64


def test_performance_report_is_written(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with performance_report(session, path):
        client_of(session).submit(pow, 7, 2).result()
    assert "<html" in path.read_text(encoding="utf-8")
    with performance_report(session, None):
        pass


def test_closing_kills_running_tasks_at_once_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    started = 0.0
    pids: list[int] = []

    def open_and_fail() -> None:
        nonlocal started
        with connect(ClusterSpec(workers=1, memory_limit_bytes=MEMORY)) as opened:
            pids.extend(client_of(opened).run(os.getpid).values())
            assert set(client_of(opened).run(os.getenv, "OMP_NUM_THREADS").values()) == {"1"}
            long_task = client_of(opened).submit(time.sleep, 60)
            started = time.monotonic()
            while not any(client_of(opened).processing().values()) and time.monotonic() < started + 20:
                time.sleep(0.01)
            assert long_task.status == "pending"
            started = time.monotonic()
            raise KeyboardInterrupt

    with dask.config.set({"temporary-directory": str(tmp_path)}), pytest.raises(KeyboardInterrupt):
        open_and_fail()
    assert time.monotonic() - started < 10  # about 1 s on an idle machine; Dask's own way takes 4 s more
    assert not any(map(is_running, pids))
    assert list(tmp_path.iterdir()) == []
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "NUMBA_NUM_THREADS" not in os.environ


def test_an_occupied_default_dashboard_port_does_no_harm() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8787))
        except OSError:
            pass  # taken by somebody else, which serves as well
        else:
            taken.listen()
        with connect(ClusterSpec(workers=1, memory_limit_bytes=MEMORY)) as opened:
            assert opened.dashboard_link is not None
            assert ":8787" not in opened.dashboard_link


def test_sync_works_in_this_process() -> None:
    with connect(ClusterSpec(kind="sync")) as opened:
        assert opened == Session(client=None, workers=1, dashboard_link=None)
        assert delayed(os.getpid)().compute() == os.getpid()
        assert dask.config.get("scheduler") == "synchronous"
        with pytest.raises(ConfigError, match="--cluster local"), performance_report(opened, Path("report.html")):
            pass
    assert dask.config.get("scheduler", None) != "synchronous"


def test_defaults_share_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "processor_count", lambda: 8)
    monkeypatch.setattr(local, "available_memory_bytes", lambda: 5 * 2**30)
    assert local.size_up(ClusterSpec()) == (5, 2**30)  # fewer workers than processors rather than starved ones
    assert local.size_up(ClusterSpec(workers=2)) == (2, 5 * 2**29)
    assert local.size_up(ClusterSpec(memory_limit_bytes=2**31)) == (2, 2**31)
    monkeypatch.setattr(local, "available_memory_bytes", lambda: 64 * 2**30)
    assert local.size_up(ClusterSpec()) == (8, 8 * 2**30)


def test_too_little_memory_for_so_many_workers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "available_memory_bytes", lambda: 1000 * 2**20)
    assert local.size_up(ClusterSpec(workers=2)) == (2, 500 * 2**20)
    with pytest.raises(
        ConfigError, match=r"3 workers share the 1000 MiB.*333 MiB a worker: at least 384.*fewer --work"
    ):
        local.size_up(ClusterSpec(workers=3))


def test_the_least_memory_is_what_a_worker_needs_before_it_has_any_data() -> None:
    assert MEMORY_LIMITS["terminate"] * LEAST_MEMORY_BYTES > WORKER_BASELINE_BYTES


def test_a_cluster_that_does_not_start_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(local, "LocalCluster", broken)
    with (
        pytest.raises(ClusterError, match=r"3 worker processes.*no more processes.*--cluster sync"),
        connect(ClusterSpec(workers=3, memory_limit_bytes=MEMORY)),
    ):
        pass


def test_an_unreachable_scheduler_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(existing, "CONNECT_SECONDS", 0.3)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        started = time.monotonic()
        with (
            caplog.at_level(logging.WARNING),
            pytest.raises(ClusterError, match=rf"tcp://127\.0\.0\.1:{port}.*leave out --scheduler"),
            connect(ClusterSpec(kind="existing", scheduler=f"127.0.0.1:{port}")),
        ):
            pass
        assert time.monotonic() - started < 5
