"""The page of a batch on the dashboard and its metrics: served by a real scheduler, seen by a real browser."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cryodask.cluster import ClusterSpec, Session, batch_page, connect
from cryodask.cluster.batch_page import headline, page_link, publisher
from tests.browser import CHROMIUM, WHY_NOT, opened


def summary(failures: int = 1) -> dict[str, Any]:
    stage = {"tomograms": 10, "done": 6, "failed": failures, "pending": 3, "mean_seconds": 4.0, "per_hour": 360.0}
    return {
        "tomograms": 10,
        "done": 6,
        "failed": failures,
        "pending": 3,
        "remaining_seconds": 120.0,
        "stages": {"reconstruct": stage, "match": {**stage, "done": 5, "pending": 4}},
        "failures": [
            {"name": f"tomo_{i}", "stage": "match", "reason": f"<b>no such file</b> {i}"} for i in range(failures)
        ],
    }


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with connect(ClusterSpec(workers=1, memory_limit_bytes=2**29)) as opened:
        yield opened


def read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def test_one_line_says_it_all() -> None:
    assert headline(summary()) == "6 of 10 tomograms done, 1 failed, 360 an hour, about 2 min left"
    through = {**summary(0), "done": 10, "pending": 0}
    assert headline(through) == "10 of 10 tomograms done"


def test_summaries_are_sent_now_and_then_and_at_the_end(session: Session) -> None:
    publish, made = publisher(session), []

    def summarise() -> dict[str, Any]:
        made.append(1)
        return summary(300)

    for _ in range(5):
        publish(summarise, False)
    assert len(made) == 1
    publish(summarise, True)
    assert len(made) == 2
    client: Any = session.client
    kept = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.cryodask_batch)
    assert len(kept["failures"]) == batch_page.FAILURES_SHOWN
    assert kept["failures"][-1]["name"] == "tomo_299"


def test_metrics_stand_beside_dasks_own(session: Session) -> None:
    pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")
    publisher(session)(summary, True)
    text = read(str(session.dashboard_link).replace("/status", "/metrics"))
    assert 'cryodask_batch_tomograms{state="done"} 6.0' in text
    assert 'cryodask_batch_stage_tomograms{stage="match",state="pending"} 4.0' in text
    assert "dask_scheduler_workers" in text


def test_without_workers_or_page_the_batch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    publisher(Session(client=None, workers=1, dashboard_link=None))(summary, True)
    assert page_link(None) is None

    class Broken:
        calls = 0

        def run_on_scheduler(self, *_: object) -> None:
            self.calls += 1
            raise ModuleNotFoundError("No module named 'cryodask'")

    client: Any = Broken()
    publish = publisher(Session(client=client, workers=1, dashboard_link=None))
    publish(summary, True)
    publish(summary, True)
    assert client.calls == 1


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)
def test_a_browser_shows_the_page_and_sees_it_change(session: Session, tmp_path: Path) -> None:
    publisher(session)(summary, True)
    link = page_link(session.dashboard_link)
    assert link is not None
    with opened(link, tmp_path / "profile") as page:
        page.wait_for("window.Bokeh && Bokeh.documents.length == 1 && Bokeh.documents[0].is_idle")
        roots = "Bokeh.documents[0].roots()"
        assert page.evaluate(f"{roots}.map(root => root.type)") == ["Div", "Figure", "DataTable"]
        assert page.evaluate(f"{roots}[0].text").startswith("6 of 10 tomograms done, 1 failed")
        assert page.evaluate(f"{roots}[1].y_range.factors") == ["match", "reconstruct"]
        assert page.evaluate(f"Array.from({roots}[2].source.data.name)") == ["tomo_0"]
        # Texts of failures come from files: they are shown, not run.
        assert page.evaluate("document.querySelectorAll('b').length") == 0
        page.picture(tmp_path / "page.png")
        publisher(session)(lambda: {**summary(3), "done": 7}, True)
        page.wait_for(f"{roots}[0].text.startsWith('7 of 10 tomograms done, 3 failed')")
        assert page.evaluate(f"{roots}[2].source.data.name.length") == 3
