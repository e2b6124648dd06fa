"""The report: one HTML file that needs no other, holds the evaluation's numbers and does with less than everything."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.errors import DataError
from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.kernels.optics import ctf_zeros
from cryodask.model.evaluation import Truth
from cryodask.model.particles import Particles
from cryodask.ops.evaluation import count_tomogram
from cryodask.ops.evaluation_result import finalise
from cryodask.workflows import report, report_figures
from cryodask.workflows.report import render_report, write_report
from cryodask.workflows.report_numbers import duration_text, mass_text, number_text, ratio_text
from cryodask.workflows.report_slices import MOST_SLICES
from cryodask.workflows.report_tomograms import expected_zeros, power_per_pixel, tomogram_sections

SHAPE = (16, 32, 32)
VOXEL_ANGSTROM = 10.0
RADIUS_VOXELS = 3
WEIGHTS_KDA = {"zeta": 50.0, "alpha": 900.0}
OPTICS = {"voltage_kv": 300.0, "defocus_um": 3.0, "spherical_aberration_mm": 2.7}
# z, y, x in voxels from the centre; all within the depth that is drawn on the central slice
CENTRES = np.array([[0, -8, -8], [1, -8, 8], [-2, 8, -8], [0, 8, 8], [2, 0, 0]], dtype=np.float64)
CLASSES = ["alpha", "alpha", "zeta", "zeta", "alpha"]

_VOID = {"meta", "img", "br", "link", "path", "use", "input"}


class Page(HTMLParser):
    """Elements of a page, and whether every one that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag


def put(
    store: Store,
    group: str,
    arrays: dict[str, npt.NDArray[Any]],
    attrs: dict[str, Any],
    tilt_deg: list[float] | None = None,
) -> None:
    """A complete group of volumes or, with ``tilt_deg``, of tilt images."""
    dims = ("z", "y", "x") if tilt_deg is None else ("tilt", "y", "x")
    variables = [
        Variable(name=name, dims=dims, shape=array.shape, dtype=str(array.dtype), chunks=array.shape)
        for name, array in arrays.items()
    ]
    coordinates = {} if tilt_deg is None else {"tilt_deg": (("tilt",), np.array(tilt_deg), {"units": "degree"})}
    spec = GroupSpec(
        kind="test", token="t", parameters={}, variables=tuple(variables), attrs=attrs, coordinates=coordinates
    )
    store.prepare(group, spec)
    for name, array in arrays.items():
        store.write(group, name, (0, 0, 0), array)
    store.mark_done(group, 0)
    store.finish(group)


def occupancy_mask() -> npt.NDArray[np.int32]:
    grid = np.indices(SHAPE) - (np.array(SHAPE)[:, None, None, None] - 1) / 2
    mask = np.zeros(SHAPE, dtype=np.int32)
    for number, centre in enumerate(CENTRES, start=1):
        mask[((grid - centre[:, None, None, None]) ** 2).sum(axis=0) <= RADIUS_VOXELS**2] = number
    return mask


def truth_particles(name: str) -> Particles:
    return Particles.create(CLASSES, CENTRES * VOXEL_ANGSTROM, tomogram=name)


def add_truth(store: Store, name: str) -> None:
    mask = occupancy_mask()
    attrs = {
        "voxel_size_angstrom": VOXEL_ANGSTROM,
        "classes": sorted(WEIGHTS_KDA),
        "radius_angstrom": dict.fromkeys(WEIGHTS_KDA, RADIUS_VOXELS * VOXEL_ANGSTROM),
        "mask_radius_angstrom": dict.fromkeys(WEIGHTS_KDA, RADIUS_VOXELS * VOXEL_ANGSTROM),
        "molecular_weight_kda": WEIGHTS_KDA,
    }
    put(store, f"{name}/truth", {"class_mask": (mask > 0).astype(np.uint8), "occupancy_mask": mask}, attrs)
    table = truth_particles(name).to_dataset()
    store.write_table(f"{name}/truth/particles", table, kind="particles", token="t", parameters={})


def add_tomogram(store: Store, name: str, variant: str = "tomogram") -> None:
    volume = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32) - (occupancy_mask() > 0)
    attrs = {"voxel_size_angstrom": VOXEL_ANGSTROM}
    put(store, f"{name}/{variant}/scale0", {"image": volume.astype(np.float32)}, attrs)


def add_tilt_series(store: Store, name: str, kinds: tuple[str, ...], optics: dict[str, float]) -> None:
    images = np.random.default_rng(2).poisson(40.0, (3, 64, 64)).astype(np.float32)
    attrs = {"pixel_size_angstrom": 5.0, **optics}
    put(store, f"{name}/tilt_series", dict.fromkeys(kinds, images), attrs, [-40.0, 2.0, 40.0])


def some_picks(name: str) -> Particles:
    """Two right, one of a wrong class, one beside every particle; two particles are missed."""
    position = np.vstack([CENTRES[:3] + 0.4, [[0.0, -1.0, 13.0]]]) * VOXEL_ANGSTROM
    return Particles.create(["alpha", "zeta", "zeta", "zeta"], position, tomogram=name, score=[4.0, 3.0, 2.0, 1.0])


def evaluate(picks: Particles, mode: str) -> dict[str, Any]:
    truth = Truth(
        name="model_000",
        particles=truth_particles("model_000"),
        occupancy=occupancy_mask(),
        shape=SHAPE,
        voxel_size_angstrom=VOXEL_ANGSTROM,
        class_ids=tuple(sorted(WEIGHTS_KDA)),
        radius_angstrom=dict.fromkeys(WEIGHTS_KDA, RADIUS_VOXELS * VOXEL_ANGSTROM),
    )
    counts = count_tomogram(truth, picks, mode=mode)
    return finalise(counts, molecular_weight_kda=WEIGHTS_KDA, notes=["a note about <this>"])


def whole_run() -> dict[str, Any]:
    structures = [
        {"id": name, "name": f"complex {name}", "source": "built in", "molecular_weight_kda": weight}
        for name, weight in WEIGHTS_KDA.items()
    ]
    return {
        "command": "cryodask benchmark -o run",
        "preset": "quick",
        "seed": 1,
        "parameters": {"simulation": {"sample": {"box_voxels": [16, 32, 32]}}},
        "structures": structures,
        "snr": {"model_000": 0.0321},
        "match": {"engine": "fft", "templates": ["alpha", "zeta"]},
        "seconds": {"sample": 30.0, "search": 95.0},
        "versions": {"numpy": "2.1"},
        "peak_memory_bytes_per_worker": 2**30,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("report") / "data.zarr").create()
    add_truth(store, "model_000")
    add_tomogram(store, "model_000")
    add_tomogram(store, "model_000", "tomogram_noise_free")
    add_tilt_series(store, "model_000", ("counts", "noise_free"), OPTICS)
    return store


@pytest.fixture(scope="module")
def evaluations() -> dict[str, dict[str, Any]]:
    return {mode: evaluate(some_picks("model_000"), mode) for mode in ("shrec21", "strict")}


@pytest.fixture(scope="module")
def page(data: Store, evaluations: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(path, data=data, picks=some_picks("model_000"), evaluations=evaluations, run=whole_run())
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


# -- the whole page ------------------------------------------------------------------------------------------------


def test_page_is_well_formed_and_asks_for_nothing_else(page: str) -> None:
    parsed = Page(page)
    assert parsed.open == []
    assert "://" not in page
    assert "@import" not in page
    assert "url(" not in page.replace("url(#", "")
    addresses = [v for _, attrs in parsed.elements for k, v in attrs.items() if k in ("src", "href", "xlink:href")]
    assert addresses
    assert all(value is not None and value.startswith(("data:image/png;base64,", "#")) for value in addresses)


def test_every_picture_says_what_it_shows(page: str) -> None:
    parsed = Page(page)
    images = [attrs for tag, attrs in parsed.elements if tag == "img"]
    drawings = [attrs for tag, attrs in parsed.elements if tag == "svg"]
    deep = np.ptp(CENTRES[:, 0]) + 2 * RADIUS_VOXELS + 1  # what the particles reach over, rounded to whole slices
    leafed, crops = min(round(deep), MOST_SLICES), 1 + 2  # one false positive, two misses
    assert len(images) == 5 + leafed + crops  # slices, marked slice, noise-free slice, two tilt images
    own = [attrs for attrs in drawings if "aria-hidden" not in attrs]
    assert len(drawings) - len(own) == leafed + 3  # circles on slices, and three in their legend
    # confusion, spectrum; cumulative F1, F1 by weight, precision and recall, distances, intervals
    assert len(own) == 2 + 5
    assert all(attrs["alt"] for attrs in images)
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in own)


def test_ids_are_unique(page: str) -> None:
    ids = [attrs["id"] for tag, attrs in Page(page).elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_page_has_the_numbers_of_the_evaluation(page: str, evaluations: dict[str, dict[str, Any]]) -> None:
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    strict = evaluations["strict"]
    assert f"F1 = {strict['localization']['F1']:.3f}" in text
    assert f"macro F1 = {strict['classification']['macro_f1']:.3f}" in text
    assert "1 tomogram with 5 true particles of 2 classes returned 4 picks" in text
    for evaluation in evaluations.values():
        own = evaluation["localization"]
        row = f"{evaluation['mode']} picks {own['RR']} {own['TP']} {own['FP']} {own['FN']} {own['MH']} {own['AD']:.3f}"
        assert row in text
        assert f"{evaluation['mode']} truth (ceiling) 5 5 0 0 0" in text
    assert "0.0321" in text
    assert "2 min 05 s" in text
    assert "simulation.sample.box_voxels 16, 32, 32" in text
    assert "peak memory per worker 1.00 GiB" in text
    assert "cryodask benchmark -o run" in text
    assert text.count("a note about &lt;this&gt;") == 2


def test_classes_and_confusion_are_ordered_by_molecular_weight(page: str) -> None:
    table = page[page.index("<h2>Classes") : page.index("<h2>Confusion")]
    assert table.index("zeta") < table.index("alpha")
    figure = page[page.index("<h2>Confusion") : page.index("<h2>Figures")]
    names = re.findall(r">(zeta|alpha|not found|nothing there)</text>", figure)
    assert names == ["zeta", "alpha", "not found", "zeta", "alpha", "nothing there"]


def test_marked_slice_agrees_with_the_strict_evaluation(page: str, evaluations: dict[str, dict[str, Any]]) -> None:
    own = evaluations["strict"]["localization"]
    assert f"circles: {own['TP']} found, {own['FN']} missed, {own['FP']} false positive" in page


def test_spectrum_names_the_zeros_of_the_transfer_function(page: str) -> None:
    zeros = [k for k in ctf_zeros(count=20, **OPTICS) if k <= 0.1]
    assert len(zeros) > 3
    assert "expected CTF zeros (1/nm): " + ", ".join(f"{10 * k:.2f}" for k in zeros) in page


def test_same_numbers_give_the_same_bytes(data: Store, page: str, evaluations: dict[str, dict[str, Any]]) -> None:
    again = render_report(data=data, picks=some_picks("model_000"), evaluations=evaluations, run=whole_run())
    assert again == page


# -- less than everything ------------------------------------------------------------------------------------------


def test_report_of_an_empty_data_set(tmp_path: Path) -> None:
    store = Store(tmp_path / "data.zarr").create()
    text = render_report(data=store, picks=Particles.create([], []), evaluations={}, run={})
    assert Page(text).open == []
    assert "returned 0 picks; the picks were not evaluated" in " ".join(text.split())
    assert "<table" not in text
    assert "<figure" not in text


def test_an_evaluation_with_nothing_in_it_shows_dashes(tmp_path: Path) -> None:
    store = Store(tmp_path / "data.zarr").create()
    picks = Particles.create([], [])
    text = render_report(
        data=store, picks=picks, evaluations={"strict": evaluate(picks, "strict"), "shrec21": {}}, run={"snr": None}
    )
    assert "F1 = 0.000" in text
    assert "–" in text


def test_what_a_tomogram_lacks_is_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path / "data.zarr").create()
    add_tomogram(store, "model_000")
    add_tilt_series(store, "model_001", ("counts",), {"voltage_kv": 300.0})
    sections, n_tomograms = tomogram_sections(store, some_picks("model_000"), limit=4)
    assert n_tomograms == 2
    assert [section.name for section in sections] == ["model_000", "model_001"]
    assert [len(section.pictures) for section in sections] == [2, 2]
    spectrum, image = sections[1].pictures
    assert "expected CTF zeros (1/nm): unknown" in spectrum.markup
    assert "Recorded image at a tilt of 2.0°" in image.caption


def test_only_the_first_tomograms_are_shown(
    tmp_path: Path, data: Store, monkeypatch: pytest.MonkeyPatch, evaluations: dict[str, dict[str, Any]]
) -> None:
    monkeypatch.setattr(report, "SHOWN_TOMOGRAMS", 0)
    text = render_report(data=data, picks=some_picks("model_000"), evaluations=evaluations, run={})
    assert "The first 0 of 1 tomograms are shown" in text


def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    store = Store(tmp_path / "data.zarr").create()
    run = {"preset": "<b>x</b>", "command": "<script>alert(1)</script>", "parameters": {"a": "<i>"}}
    text = render_report(data=store, picks=Particles.create([], []), evaluations={}, run=run)
    assert "<b>x" not in text
    assert "<script>alert" not in text
    assert "<i>" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "data.zarr").create()
    nothing: dict[str, Any] = {"data": store, "picks": Particles.create([], []), "evaluations": {}, "run": {}}
    with pytest.raises(DataError, match=r"missing/report\.html"):
        write_report(tmp_path / "missing" / "report.html", **nothing)
    folder = tmp_path / "report.html"
    folder.mkdir()
    with pytest.raises(DataError, match=r"cannot write .*report\.html"):
        write_report(folder, **nothing)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data.zarr", "report.html"]


# -- parts ---------------------------------------------------------------------------------------------------------


def test_white_noise_has_its_variance_as_power_in_every_ring() -> None:
    image = np.random.default_rng(5).normal(7.0, 3.0, (128, 96)).astype(np.float32)
    profile = power_per_pixel(image, 5.0)
    assert profile.k[-1] == pytest.approx(0.1)
    np.testing.assert_allclose(profile.values[8:-1].mean(), 9.0, rtol=0.03)
    assert profile.values[0] < 9.0


def test_zeros_need_all_optics_and_end_at_nyquist() -> None:
    assert expected_zeros({"voltage_kv": 300.0}, 0.1) == []
    assert expected_zeros({**OPTICS, "defocus_um": 0.0, "spherical_aberration_mm": 0.0}, 0.1) == []
    few = expected_zeros(OPTICS, 0.05)
    assert few == ctf_zeros(count=len(few), **OPTICS)
    assert max(few) <= 0.05 < ctf_zeros(count=len(few) + 1, **OPTICS)[-1]


def test_binning_takes_means_of_whole_blocks() -> None:
    image = np.arange(7 * 10, dtype=np.float64).reshape(7, 10)
    small, factor = report_figures.binned(image, max_pixels=5)
    assert (factor, small.shape) == (2, (3, 5))
    assert small[1, 2] == image[2:4, 4:6].mean()
    same, factor = report_figures.binned(image, max_pixels=10)
    assert factor == 1
    np.testing.assert_array_equal(same, image)


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_images_without_contrast_can_be_drawn(fill: float) -> None:
    assert report_figures.single_image(np.full((8, 40), fill, dtype=np.float32), 10.0, "an <image>").startswith("<img")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ratio_text(0.12345), "0.123"),
        (ratio_text(None), "–"),
        (number_text(12345), "12345"),
        (number_text(0.032149), "0.0321"),
        (mass_text(559.96), "560.0"),
        (mass_text(None), "–"),
        (duration_text(4.23), "4.2 s"),
        (duration_text(59.97), "1 min 00 s"),
        (duration_text(3599.7), "1 h 00 min"),
        (duration_text(3725.0), "1 h 02 min"),
    ],
)
def test_numbers_as_text(text: str, expected: str) -> None:
    assert text == expected
