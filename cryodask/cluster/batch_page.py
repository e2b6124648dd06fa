"""A page of the Dask dashboard, and Prometheus metrics, that show how a batch gets on.

The leader sends a summary now and then (``publish``); the scheduler keeps the last one and serves it. What runs on the
scheduler is imported there, so a scheduler that knows no cryodask simply has no such page.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from cryodask.cluster.session import Session

if TYPE_CHECKING:
    from bokeh.document import Document
    from distributed import Scheduler

PAGE = "/cryodask"
KEPT = "cryodask_batch"
"""Attribute of the scheduler that holds the last summary."""
STATES = ("done", "failed", "pending")
COLOURS = ("#2f7d4f", "#c0392b", "#c9ced6")
FAILURES_SHOWN = 100
LEAST_SECONDS = 2.0
REFRESH_MILLISECONDS = 1000

Summary = Mapping[str, Any]

logger = logging.getLogger(__name__)


def publisher(session: Session) -> Callable[[Callable[[], Summary], bool], None]:
    """A function that sends a summary to the scheduler, every ``LEAST_SECONDS`` at most unless it is the last.

    It takes the summary as a function, since making one is work too. Without a scheduler, or with one that lacks
    cryodask or a dashboard, it does nothing.
    """
    client: Any = session.client
    sent = -LEAST_SECONDS
    usable = client is not None

    def publish(summarise: Callable[[], Summary], last: bool) -> None:
        nonlocal sent, usable
        now = time.monotonic()
        if not usable or (now - sent < LEAST_SECONDS and not last):
            return
        sent = now
        summary = {**summarise()}
        summary["failures"] = summary["failures"][-FAILURES_SHOWN:]
        try:
            client.run_on_scheduler(keep, summary)
        except Exception:
            usable = False
            logger.info("the scheduler shows no page of the batch", exc_info=True)

    return publish


def page_link(dashboard_link: str | None) -> str | None:
    """Where the page is, given the dashboard's own first page."""
    return None if dashboard_link is None else dashboard_link.removesuffix("/status") + PAGE


# -- on the scheduler ----------------------------------------------------------------------------------------------


def keep(summary: Summary, dask_scheduler: Scheduler | None = None) -> None:
    """Keep ``summary``; the first one brings the page and the metrics."""
    scheduler: Any = dask_scheduler
    first = not hasattr(scheduler, KEPT)
    setattr(scheduler, KEPT, summary)
    if first:
        _add_page(scheduler)
        _add_metrics(scheduler)


def _add_page(scheduler: Any) -> None:  # noqa: ANN401  (distributed's server has no public type for this)
    from distributed.dashboard.core import BokehApplication
    from tornado.ioloop import IOLoop

    prefix = scheduler.http_application.__dict__.get("prefix", "") or ""
    application = BokehApplication({PAGE: _make_document}, scheduler, prefix=prefix)
    scheduler.http_application.add_application(application)
    application.initialize(IOLoop.current())
    application.start()


def _make_document(scheduler: Any, _: Any, document: Document) -> None:  # noqa: ANN401
    """The page: a line of text, bars of tomograms by stage, and a table of failures; renewed every second."""
    from bokeh.models import ColumnDataSource, DataRange1d, FactorRange
    from bokeh.models.widgets.markups import Div
    from bokeh.models.widgets.tables import DataTable, TableColumn
    from bokeh.plotting import figure

    text = Div(sizing_mode="stretch_width", styles={"font-size": "1.2em"})
    bars = ColumnDataSource({"stage": [], **{state: [] for state in STATES}})
    failures = ColumnDataSource({"name": [], "stage": [], "reason": []})
    names = FactorRange()
    plot = figure(
        y_range=names,
        x_range=DataRange1d(start=0),
        height=220,
        sizing_mode="stretch_width",
        title="tomograms by stage",
        toolbar_location=None,
    )
    plot.hbar_stack(
        list(STATES), y="stage", height=0.7, color=list(COLOURS), source=bars, legend_label=[*STATES[:2], "to do"]
    )
    plot.add_layout(plot.legend[0], "right")
    table = DataTable(
        source=failures,
        columns=[
            TableColumn(field="name", title="tomogram", width=160),
            TableColumn(field="stage", title="stage", width=100),
            TableColumn(field="reason", title="why it failed", width=900),
        ],
        sizing_mode="stretch_width",
        height=320,
        index_position=None,
    )

    def renew() -> None:
        summary: Summary = getattr(scheduler, KEPT)
        stages = summary["stages"]
        names.factors = list(stages)[::-1]
        bars.data = {"stage": list(stages), **{state: [stages[name][state] for name in stages] for state in STATES}}
        columns = ("name", "stage", "reason")
        failures.data = {column: [failure[column] for failure in summary["failures"]] for column in columns}
        text.text = escape(headline(summary))

    renew()
    document.title = "cryodask: batch"
    for part in (text, plot, table):
        document.add_root(part)
    document.add_periodic_callback(renew, REFRESH_MILLISECONDS)


def headline(summary: Summary) -> str:
    """The whole batch in one line."""
    parts = [f"{summary['done']} of {summary['tomograms']} tomograms done"]
    if summary["failed"]:
        parts.append(f"{summary['failed']} failed")
    rates = [stage["per_hour"] for stage in summary["stages"].values() if stage["per_hour"]]
    if rates and summary["pending"]:
        parts.append(f"{min(rates):.3g} an hour")
    if summary["pending"] and summary["remaining_seconds"]:
        parts.append(f"about {summary['remaining_seconds'] / 60:.0f} min left")
    return ", ".join(parts)


def _add_metrics(scheduler: Any) -> None:  # noqa: ANN401
    try:
        from prometheus_client import REGISTRY
    except ImportError:
        return
    known = getattr(_Collector, "registered", None)
    if known is not None:  # of an earlier scheduler in this process
        known.scheduler = scheduler
        return
    _Collector.registered = _Collector(scheduler)
    REGISTRY.register(_Collector.registered)


class _Collector:
    """Counts of the batch beside Dask's own metrics at /metrics, made when they are asked for."""

    registered: _Collector | None = None

    def __init__(self, scheduler: Any) -> None:  # noqa: ANN401
        self.scheduler = scheduler

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        summary: Summary = getattr(self.scheduler, KEPT)
        tomograms = GaugeMetricFamily("cryodask_batch_tomograms", "Tomograms of the batch by state", labels=["state"])
        stages = GaugeMetricFamily(
            "cryodask_batch_stage_tomograms", "Tomograms by stage and state", labels=["stage", "state"]
        )
        for state in STATES:
            tomograms.add_metric([state], summary[state])
            for name, stage in summary["stages"].items():
                stages.add_metric([name, state], stage[state])
        yield tomograms
        yield stages
