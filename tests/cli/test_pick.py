"""``pick``: every picker on the tiny data set and on files, and clear words for what cannot be picked."""

from __future__ import annotations

import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryodask.io.mrc import read_volume, write_volume
from cryodask.io.pick_files import read_picks
from cryodask.io.store import Store
from tests.cli.conftest import CLASSES, SYNC, Call, Example

MANY = ("--set", "picking.candidates_per_template=100000")
FFT = ("--set", "matching.engine=fft", "--angular-step", "60", *MANY)
NO_GOLD = ("--set", "picking.gold_threshold_z=1000")


def test_tm_and_tm_f_on_the_data_set(call: Call, example: Example) -> None:
    out = example.folder / "tm"
    assert call("pick", example.data, "--picker", "tm", "-o", out, *FFT, *SYNC).exit_code == 0
    tm = read_picks(out)
    record = json.loads((out / "job.json").read_text())
    counts = record["tomograms"]["model_000"]["picks_by_class"]
    assert record["picker"] == "tm"
    assert sum(counts.values()) + record["tomograms"]["model_000"]["beads"] == len(tm) > 0
    # By class, the largest first; within a class best first.
    order = [name for name in dict.fromkeys(tm.class_id) if name != "fiducial"]
    assert order == [name for name in reversed(CLASSES) if name in order]
    for name in order:
        scores = tm.score[tm.class_id == name]
        assert np.all(np.diff(scores) <= 0)
        assert np.all(np.abs(scores) <= 1)
    assert np.isfinite(tm.zxz_deg[tm.class_id != "fiducial"]).all()
    assert call("pick", example.data, "--picker", "tm-f", "-o", out, *FFT, *SYNC).exit_code == 0
    filtered = read_picks(out)
    places = {tuple(row) for row in tm.position_angstrom.round(3).tolist()}
    assert {tuple(row) for row in filtered.position_angstrom.round(3).tolist()} <= places
    radius = {name: Store(example.data).info(f"structures/{name}")["radius_angstrom"] for name in CLASSES}
    kept = filtered.take(filtered.class_id != "fiducial")
    for i in range(len(kept)):
        apart = np.linalg.norm(kept.position_angstrom[:i] - kept.position_angstrom[i], axis=1)
        assert np.all(apart >= [radius[kept.class_id[i]] + radius[name] for name in kept.class_id[:i]])


def test_both_hands_stand_for_one_class(call: Call, example: Example) -> None:
    out = example.folder / "hands"
    arguments = ("--set", "picking.both_hands=true", "--classes", CLASSES[0], *FFT, *SYNC)
    assert call("pick", example.data, "--picker", "tm", "-o", out, *arguments).exit_code == 0
    assert set(read_picks(out).class_id) <= {CLASSES[0], "fiducial"}
    names = {entry.path for entry in Store(out / "maps.zarr").groups()}
    assert f"model_000/scores/{CLASSES[0]}-mirrored" in names


def test_the_report_shows_what_was_found(call: Call, example: Example) -> None:
    out, page = example.folder / "reported", example.folder / "picks.html"
    arguments = ("--picker", "tm", "--report", page, "-o", out, *FFT, *SYNC)
    assert call("pick", example.data, *arguments).exit_code == 0
    text = page.read_text()
    found = read_picks(out)
    for name in set(found.class_id):
        assert f"<td>{name}</td><td>{int((found.class_id == name).sum())}</td>" in text
    # A gallery for each class that has a template, and nothing that the page would have to load.
    assert text.count('<img src="data:image/png') == len(set(found.class_id) & set(CLASSES))
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_gold_on_a_file_of_another_program(call: Call, example: Example) -> None:
    volume = np.random.default_rng(0).standard_normal((40, 60, 60)).astype(np.float32)
    axes = np.indices(volume.shape) - np.array([20, 30, 15]).reshape(3, 1, 1, 1)
    volume -= 8 * (np.sqrt((axes**2).sum(axis=0)) < 4)
    path = example.folder / "beads.mrc"
    write_volume(path, volume, 10.0)
    out = example.folder / "gold"
    assert call("pick", path, "--picker", "gold-log", "-o", out, *SYNC).exit_code == 0
    found = read_picks(out)
    assert found.class_id.tolist() == ["fiducial"]
    assert np.linalg.norm(found.voxels((40, 60, 60), 10.0)[0] - [20, 30, 15]) < 1
    bright = call("pick", path, "--picker", "gold-log", "--contrast", "bright", "-o", out, "--overwrite", *SYNC)
    assert bright.exit_code == 0
    assert len(read_picks(out)) == 0


def test_difference_of_gaussians_needs_no_reference(call: Call, example: Example) -> None:
    volume = np.random.default_rng(1).standard_normal((40, 60, 60)).astype(np.float32)
    for centre in ((20, 20, 20), (22, 44, 40)):
        axes = np.indices(volume.shape) - np.array(centre).reshape(3, 1, 1, 1)
        volume -= 4 * (np.sqrt((axes**2).sum(axis=0)) < 5)
    path, out = example.folder / "blobs.mrc", example.folder / "dog"
    write_volume(path, volume, 10.0)
    arguments = ("--picker", "dog", "--set", "picking.diameter_angstrom=100", *NO_GOLD, "-o", out, *SYNC)
    answer = call("pick", path, "--classes", "1bxn", *arguments)
    assert answer.exit_code == 0
    assert "--classes not used" in answer.err
    voxels = read_picks(out).voxels((40, 60, 60), 10.0)[:2]
    assert sorted(map(tuple, voxels.round().astype(int).tolist())) == [(20, 20, 20), (22, 44, 40)]


def test_picks_join_the_data_set(call: Call, example: Example, tmp_path: Path) -> None:
    import shutil

    data = tmp_path / "data.zarr"
    shutil.copytree(example.data, data)
    assert call("pick", data, "--picker", "gold-log", "-o", data, *NO_GOLD, *SYNC).exit_code == 0
    assert Store(data).is_complete("model_000/particles/gold-log")
    # The picks of the matching lie beside them, and evaluate takes both.
    assert call("check", data).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--picker", "tmc"), 2, "did you mean tm-c?"),
        (("--picker", "tm-c", "--classes", "nothing"), 2, "has no class 'nothing'"),
        (("--picker", "tm-c", "--structures", "not-there"), 3, "no structure file or folder not-there"),
        (("--picker", "tm", "--defocus-um", "30000"), 2, "expected micrometres"),
        (("--picker", "tm-c", "--expected-count", "-3"), 2, "--expected-count"),
        (("--picker", "dog", "--set", "picking.diameter_angstrom=5000"), 2, "at least 2 and at most half"),
    ],
)
def test_what_cannot_be_done_is_said(
    call: Call, example: Example, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    out = tmp_path / "out"
    answer = call("pick", example.data, *arguments, *SYNC, "-o", out)
    assert answer.exit_code == code, answer.err
    assert words in answer.err
    assert not out.exists()


@pytest.mark.filterwarnings("ignore:Data array contains NaN")
def test_a_tomogram_with_holes_is_refused(call: Call, example: Example, tmp_path: Path) -> None:
    values, _ = read_volume(example.tomogram)
    holed = values.copy()
    holed[:4] = np.nan
    path, out = tmp_path / "holed.mrc", tmp_path / "out"
    with mrcfile.new(path, data=holed) as file:
        file.voxel_size = 10.0
    for name in ("tm", "tm-c", "gold-log", "dog"):
        arguments = ("--templates", example.templates, "-o", out, *SYNC)
        answer = call("pick", path, "--picker", name, *arguments)
        assert answer.exit_code == 3, answer.err
        assert "NaN" in answer.err or "not finite" in answer.err
    wrong = call("pick", example.tomogram, "--picker", "tm-c", "--voxel-size", "0.5", "--templates", example.templates,
                 "-o", out, *SYNC)  # fmt: skip
    assert wrong.exit_code == 3
    assert "check the voxel sizes" in wrong.err
