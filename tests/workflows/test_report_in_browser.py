"""Reports as a reader sees them: opened in Chromium without a network, on a desk, on a telephone and on paper."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cryodask.cli import main
from cryodask.io.pick_files import read_picks, write_star
from cryodask.io.store import Store
from cryodask.model.particles import concatenate

sync_api = pytest.importorskip("playwright.sync_api", reason='playwright is not installed; pip install -e ".[test]"')

SYNC = ("--cluster", "sync")
REAL = ("1bxn", "1qvr", "3cf3", "4v5a_50S", "1u6g")
SMALL = (
    *("--set", "simulation.sample.box_voxels=[64,128,128]", "--set", "simulation.sample.particle_count=[5,5]"),
    *("--set", "simulation.acquisition.tilt_count=11", "--set", "matching.angular_step_deg=60"),
)
PHONE = 390


def chromium() -> str:
    """The browser's program; skips the test where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CRYODASK_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium: install it (apt-get install chromium), or name it in CRYODASK_CHROMIUM")
    return found


@dataclass
class Opened:
    """A page and everything it said or asked for."""

    page: Any
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def count(self, selector: str) -> int:
        return int(self.page.locator(selector).count())

    def run(self, script: str) -> Any:  # noqa: ANN401  (whatever the script returns)
        return self.page.evaluate(script)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = chromium()
    with sync_api.sync_playwright() as playwright:
        # Without a sandbox, because tests in containers run as root; the page is our own.
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser: Any, path: Path, width: int = 1280) -> Opened:  # noqa: ANN401
    page = browser.new_page(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    own = Opened(page)
    page.on("console", lambda message: own.messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: own.messages.append(f"error: {error}"))
    page.on("request", lambda request: own.requests.append(request.url))
    page.goto(path.as_uri(), wait_until="load")
    return own


@pytest.fixture(scope="module", params=["synthetic", pytest.param("real", marks=pytest.mark.slow)])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of picks in three tomograms, some of them wrong, beside the paper's submissions."""
    chromium()
    folder = tmp_path_factory.mktemp(f"browser_{request.param}")
    structures: tuple[str, ...] = ("--classes", "syn-0360-d2,syn-0600-c6")
    if request.param == "real":
        shared: Path = request.getfixturevalue("shared_data")
        structures = ("--structures", str(shared / "structures"), "--classes", ",".join(REAL))
    run = folder / "run"
    assert main(["benchmark", "--preset", "quick", *structures, "--models", "3", *SMALL, *SYNC, "-o", str(run)]) == 0
    store = Store(run / "data.zarr")
    source = store.source("model_000/truth", "occupancy_mask")
    nz, ny, nx = source.shape
    # Picks of one tomogram called as if they were of another are wrong ones.
    picks = read_picks(run / "picks")
    strangers = picks.of_tomogram("model_001")
    strangers.tomogram[:] = "model_000"
    star, page = folder / "picks.star", folder / "report.html"
    kept = concatenate([picks.of_tomogram("model_000"), strangers])
    write_star(star, kept, shape=(nz, ny, nx), voxel_size_angstrom=10.0)
    command = ["evaluate", str(star), "--truth", str(run / "data.zarr"), "--compare", str(run), "--compare", "paper"]
    assert main([*command, "--report", str(page), *SYNC]) == 0
    return page


@pytest.fixture(scope="module")
def desk(browser: Any, report: Path) -> Opened:  # noqa: ANN401
    return opened(browser, report)


def test_nothing_is_complained_about_and_nothing_asked_for(desk: Opened, report: Path) -> None:
    desk.page.wait_for_timeout(300)
    assert desk.messages == []
    assert [url for url in desk.requests if not url.startswith("data:")] == [report.as_uri()]


def test_every_figure_is_drawn_and_says_what_it_shows(desk: Opened) -> None:
    images = desk.run("[...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt.length, i.naturalWidth])")
    assert len(images) >= 3 * 5
    assert all(drawn and words for drawn, words, _ in images)
    drawings = desk.run(
        "[...document.querySelectorAll('svg[role=img]')].map(s => { const b = s.getBoundingClientRect();"
        " return [b.width, b.height, s.querySelectorAll('path').length, s.getAttribute('aria-label').length]; })"
    )
    # confusion, cumulative F1, F1 by weight, precision and recall, distances, orientations, intervals; and spectra
    assert len(drawings) >= 7 + 3
    assert all(w > 150 and h > 80 and paths > 10 and words > 20 for w, h, paths, words in drawings)
    headings = desk.page.locator("h2").all_inner_texts()
    for title in ("Comparison", "Classes", "Confusion of classes", "Figures", "Missed particles, heaviest first"):
        assert title in headings
    assert sum(title.startswith("Tomogram model_") for title in headings) == 3


def test_tables_sort_both_ways(desk: Opened) -> None:
    tables = desk.page.locator("table.sortable")
    assert tables.count() >= 4
    for index in range(tables.count()):
        table = tables.nth(index)
        heads = table.locator("thead th")
        for column in range(heads.count()):
            shown = []
            for direction in ("ascending", "descending"):
                heads.nth(column).locator("button").click()
                assert heads.nth(column).get_attribute("aria-sort") == direction
                rows = table.evaluate(
                    "(t, c) => [...t.tBodies[0].rows].map(r => r.cells[c].dataset.value ?? r.cells[c].innerText)",
                    column,
                )
                shown.append([value for value in rows if value != ""])
                assert rows == shown[-1] + [""] * (len(rows) - len(shown[-1]))  # nothing stays last
            rising, falling = ([number_or_text(value) for value in values] for values in shown)
            if all(isinstance(value, float) for value in rising):
                assert rising == sorted(rising)
                assert falling == sorted(rising, reverse=True)
            else:
                assert rising == list(reversed(falling)) or len(set(rising)) < len(rising)


def number_or_text(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def test_slices_can_be_leafed_through_and_circles_hidden(desk: Opened) -> None:
    assert desk.count(".viewer") == 3
    viewer = desk.page.locator(".viewer").first
    slider = viewer.locator("input[type=range]")
    last = int(slider.get_attribute("max"))
    assert last >= 4
    labels = set()
    for value in (0, last // 2, last):
        slider.fill(str(value))
        shown = [frame for frame in range(last + 1) if viewer.locator(".frame").nth(frame).is_visible()]
        assert shown == [value]
        labels.add(viewer.locator("output").inner_text())
    assert len(labels) == 3
    assert all(label.startswith("z = ") for label in labels)
    circles = desk.run("[...document.querySelectorAll('.viewer')].map(v => v.querySelectorAll('circle').length)")
    assert min(circles) > 3
    slider.fill(str(last // 2))
    marks = viewer.locator(".frame:not([hidden]) svg.marks")
    assert marks.is_visible()
    viewer.locator("input[type=checkbox]").click()
    assert not marks.is_visible()
    viewer.locator("input[type=checkbox]").click()
    assert marks.is_visible()


def test_a_telephone_shows_everything_without_scrolling_sideways(browser: Any, report: Path) -> None:  # noqa: ANN401
    phone = opened(browser, report, PHONE)
    assert phone.run("document.documentElement.scrollWidth") <= PHONE
    assert phone.messages == []
    sizes = phone.run("[...document.querySelectorAll('body, td, figcaption')].map(e => getComputedStyle(e).fontSize)")
    assert min(float(size.removesuffix("px")) for size in sizes) >= 12
    phone.page.close()


def test_it_prints_open_and_without_controls(browser: Any, report: Path) -> None:  # noqa: ANN401
    paper = opened(browser, report)
    paper.page.emulate_media(media="print")
    assert not paper.page.locator(".controls input").first.is_visible()
    printed = paper.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") > 2
    assert paper.run("[...document.querySelectorAll('details')].every(d => d.open)")
    paper.page.close()
