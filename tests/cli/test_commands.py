"""Every command on a data set of seconds, as a user would call it, one after the other."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryodask.cli import _main
from cryodask.io.pick_files import read_picks, write_star
from cryodask.io.store import Store
from cryodask.model.particles import Particles
from tests.cli.conftest import CLASSES, COARSE, SYNC, TINY, Call, Example

EVERYTHING = (slice(None),) * 3


def truth_of(example: Example) -> Particles:
    return Particles.from_dataset(Store(example.data).read_table("model_000/truth/particles"))


def written_at(folder: Path) -> dict[str, int]:
    """When each chunk of a data set was written; metadata may be written again."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "zarr.json")
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in files}


def test_simulate_makes_a_data_set_and_does_it_once(call: Call, example: Example) -> None:
    complete = {entry.path for entry in Store(example.data).groups() if entry.complete}
    assert {"model_000/grand_model", "model_000/truth", "model_000/tilt_series", "structures/syn-0060-c1"} <= complete
    before = written_at(example.data)
    done = call("simulate", "-o", example.data, *TINY)
    assert done.exit_code == 0
    assert done.out == f"{example.data}: 1 tilt series of 2 classes\n"
    assert written_at(example.data) == before


def test_simulate_takes_the_tilts_of_a_recorded_series(call: Call, tmp_path: Path) -> None:
    taken = {-3.0: "15:24:00", 0.0: "15:20:00", 3.0: "15:22:00"}  # the order of an .mdoc's sections is another
    mdoc = tmp_path / "a.mdoc"
    mdoc.write_text(
        "PixelSpacing = 2.5\nImageFile = a.mrc\n\n"
        + "".join(
            f"[ZValue = {index}]\nTiltAngle = {tilt}\nDateTime = 30-Nov-15  {time}\n\n"
            for index, (tilt, time) in enumerate(taken.items())
        )
    )
    listed = tmp_path / "a.rawtlt"
    listed.write_text("0\n3\n-3\n")
    series = []
    for file in (mdoc, listed):
        data = file.with_suffix(".zarr")
        assert call("simulate", "-o", data, *TINY, "--tilt-angles", file).exit_code == 0
        series.append(Store(data).open("model_000/tilt_series").load())
        shutil.rmtree(data)
    one, other = series
    assert one.equals(other)
    assert one.tilt_deg.values.tolist() == [-3, 0, 3]
    assert one.acquisition_order.values.tolist() == [2, 0, 1]


def test_reconstruct_into_another_data_set_gives_the_same_tomogram(
    call: Call, example: Example, tmp_path: Path
) -> None:
    other = tmp_path / "other.zarr"
    assert call("reconstruct", example.data, "-o", other, *SYNC).exit_code == 0
    one, two = (
        Store(path).source("model_000/tomogram/scale0", "image").read(EVERYTHING) for path in (example.data, other)
    )
    assert np.array_equal(one, two)
    assert [entry.path for entry in Store(other).groups()] == ["model_000/tomogram/scale0"]


def test_match_writes_picks_and_the_record_of_the_search(example: Example) -> None:
    assert sorted(file.name for file in example.picks.iterdir()) == ["job.json", "maps.zarr", "picks.star"]
    record = json.loads((example.picks / "job.json").read_text())
    assert record["templates"] == list(CLASSES)
    assert record["tomograms"] == ["model_000"]
    picks = read_picks(example.picks)
    assert len(picks) == record["picks"] >= 1
    nearest = np.linalg.norm(truth_of(example).position_angstrom - picks.position_angstrom[0], axis=1).min()
    assert nearest < 10  # one voxel


def test_match_reads_what_other_programs_write(call: Call, example: Example, tmp_path: Path) -> None:
    low = ("--set", "matching.threshold_z=3", *COARSE)
    files = ("--templates", example.templates, "--tilt-angles", example.tilts)
    done = call("match", example.tomogram, *files, "-o", tmp_path / "picks", *low)
    assert done.exit_code == 0, done.err
    record = json.loads((tmp_path / "picks" / "job.json").read_text())
    assert (record["templates"], record["tomograms"]) == (list(CLASSES), ["tomogram"])
    assert done.out.startswith(f"{tmp_path / 'picks'}: {record['picks']} picks of 2 templates in 1 tomograms; 69 rot")
    one = ("--templates", example.templates, "--classes", CLASSES[1])
    assert call("match", example.tomogram, *one, "-o", tmp_path / "one", *low).exit_code == 0
    assert json.loads((tmp_path / "one" / "job.json").read_text())["templates"] == [CLASSES[1]]


def test_match_takes_templates_from_the_built_in_set_or_a_data_set(
    call: Call, example: Example, tmp_path: Path
) -> None:
    records = []
    for name in ("builtin", str(example.data)):
        chosen = ("--templates", name, "--classes", CLASSES[0], "--set", "matching.threshold_z=1000")
        done = call("match", example.tomogram, *chosen, "-o", tmp_path / Path(name).stem, *COARSE)
        assert done.exit_code == 0, done.err
        assert "note: no score reaches matching.threshold_z = 1000" in done.err
        records.append(json.loads((tmp_path / Path(name).stem / "job.json").read_text()))
    assert records[0]["score_maps"] == records[1]["score_maps"]  # the same density, computed or read


LOCALIZATION = {"RR", "TP", "FP", "FN", "MH", "AD", "recall", "precision", "miss_rate", "F1"}


@pytest.mark.parametrize("mode", ["strict", "shrec21", "czii"])
def test_evaluate_writes_the_numbers_it_prints(call: Call, example: Example, mode: str, tmp_path: Path) -> None:
    file = tmp_path / "evaluation.json"
    done = call("evaluate", example.picks, "--truth", example.data, "--mode", mode, "--json", file, *SYNC)
    assert done.exit_code == 0, done.err
    result = json.loads(file.read_text())
    assert {"mode", "n_tomograms", "localization", "classification", "ceiling"} <= set(result)
    assert (result["mode"], result["n_tomograms"]) == (mode, 1)
    assert set(result["localization"]) == LOCALIZATION
    assert set(result["classification"]) == {"f1", "macro_f1", "confusion", "labels", "groups"}
    assert set(result["classification"]["groups"]) == {"small", "medium", "large"}
    assert set(result["classification"]["f1"]) == set(CLASSES)
    assert result["ceiling"]["localization"]["F1"] == 1
    shown = result["localization"]
    assert f"RR {shown['RR']}  TP {shown['TP']}  FP {shown['FP']}  FN {shown['FN']}" in done.out
    assert f"macro F1 {result['classification']['macro_f1']:.3f}" in done.out


def test_evaluate_takes_folder_star_and_text_alike(call: Call, example: Example, tmp_path: Path) -> None:
    picks = read_picks(example.picks)
    voxel = picks.voxels((16, 32, 32), 10.0)
    lines = tmp_path / "picks.txt"
    rows = zip(picks.class_id, voxel, strict=True)
    lines.write_text("".join(f"{name} {x} {y} {z}\n" for name, (z, y, x) in rows))
    for submitted in (example.picks, example.picks / "picks.star", lines):
        file = tmp_path / "e.json"
        assert call("evaluate", submitted, "--truth", example.data, "--json", file, *SYNC).exit_code == 0
        assert json.loads(file.read_text())["localization"]["TP"] == 1


def test_picks_of_a_tomogram_of_another_size_are_compared_about_the_centre(
    call: Call, example: Example, tmp_path: Path
) -> None:
    for name, shape, voxel in (
        ("same", (16, 32, 32), 10.0),
        ("thick", (50, 32, 30), 10.0),
        ("bin4", (9, 16, 17), 20.0),
    ):
        star, file = tmp_path / f"{name}.star", tmp_path / f"{name}.json"
        write_star(star, truth_of(example), shape=shape, voxel_size_angstrom=voxel)
        assert call("evaluate", star, "--truth", example.data, "--json", file, *SYNC).exit_code == 0
        result = json.loads(file.read_text())
        assert result["localization"]["F1"] == result["classification"]["macro_f1"] == 1
        assert result["localization"]["AD"] < 1e-6


def test_several_picks_go_together_or_in_pairs(call: Call, example: Example, tmp_path: Path) -> None:
    twin, perfect, file = tmp_path / "twin.zarr", tmp_path / "perfect.star", tmp_path / "e.json"
    write_star(perfect, truth_of(example), shape=(16, 32, 32), voxel_size_angstrom=10.0)
    together = ("evaluate", example.picks, perfect, "--truth", example.data, "--json", file, *SYNC)
    assert call(*together).exit_code == 0
    found = json.loads(file.read_text())["localization"]
    assert (found["RR"], found["TP"]) == (1 + 2, 2)
    shutil.copytree(example.data, twin)  # with a model_000 of its own
    done = call("evaluate", example.picks, perfect, "--truth", example.data, "--truth", twin, "--json", file, *SYNC)
    assert done.exit_code == 0, done.err
    result = json.loads(file.read_text())
    assert result["n_tomograms"] == 2
    assert (result["localization"]["TP"], result["localization"]["FN"]) == (1 + 2, 1)
    assert result["notes"] == []


@pytest.mark.parametrize("mode", ["strict", "shrec21", "czii"])
def test_csv_tables_hold_the_numbers_of_the_json(call: Call, example: Example, mode: str, tmp_path: Path) -> None:
    file, folder = tmp_path / "e.json", tmp_path / "tables"
    command = ("evaluate", example.picks, "--truth", example.data, "--mode", mode, "--compare", "paper", *SYNC)
    done = call(*command, "--json", file, "--csv", folder)
    assert done.exit_code == 0, done.err
    result = json.loads(file.read_text())
    tables = {path.stem: list(csv.reader(path.read_text().splitlines())) for path in folder.iterdir()}
    assert {len({len(row) for row in table}) for table in tables.values()} == {1}  # no ragged table
    header, picks, ceiling = tables["localization"]
    for row, own in ((picks, result["localization"]), (ceiling, result["ceiling"]["localization"])):
        for key, value in own.items():
            assert row[header.index(key)] == ("" if value is None else str(value))
    labels = result["classification"]["labels"]
    assert tables["confusion"][0][1:] == labels
    assert [list(map(int, row[1:])) for row in tables["confusion"][1:]] == result["classification"]["confusion"]
    f1 = {row[0]: float(row[2]) for row in tables["classes"][1:]}
    assert f1 == result["classification"]["f1"]
    assert len(tables["comparison"]) == 1 + 8
    assert len(tables["curve"]) == 1 + len(result["curve"]["score"])
    assert [row[0] for row in tables["tomograms"][1:]] == ["model_000"]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert call(*command, "--csv", folder).exit_code == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("mode", ["strict", "shrec21", "czii"])
def test_report_of_an_evaluation_shows_its_numbers_and_the_tomogram(
    call: Call, example: Example, mode: str, tmp_path: Path
) -> None:
    json_file, report = tmp_path / "e.json", tmp_path / "report.html"
    command = ("evaluate", example.picks, "--truth", example.data, "--mode", mode, "--compare", "paper", *SYNC)
    done = call(*command, "--json", json_file, "--report", report)
    assert done.exit_code == 0, done.err
    result, page = json.loads(json_file.read_text()), report.read_text()
    assert "://" not in page
    assert f"F1 = {result['localization']['F1']:.3f}" in page
    assert f"macro F1 = {result['classification']['macro_f1']:.3f}" in page
    assert all(f">{name}</td>" in page for name in ("these picks", "DeepFinder", "TM-F"))
    assert '<td data-value="7560">2 h 6 min</td>' in page  # Table 7 of the paper
    for title in ("Comparison", "Classes", "Structures", "Figures", "Tomogram model_000", "How it was made"):
        assert f"<h2>{title}</h2>" in page
    assert page.count('class="viewer"') == 1
    misses = page.partition("<h2>Missed particles, heaviest first</h2>")[2].partition("</section>")[0]
    assert misses.count("<img") == len(result["examples"]["misses"]) == result["localization"]["FN"]
    assert "Cumulative F1 over 2 classes: these picks" in page


def test_report_of_picks_against_a_shrec_folder(call: Call, example: Example, tmp_path: Path) -> None:
    folders, report = tmp_path / "folders", tmp_path / "report.html"
    assert call("export", example.data, "-o", folders).exit_code == 0
    (folder,) = folders.glob("model_*")
    assert (folder / "reconstruction.mrc").is_file()
    done = call("evaluate", example.picks, "--truth", folder, "--report", report, *SYNC)
    assert done.exit_code == 0, done.err
    page = report.read_text()
    assert page.count('class="viewer"') == 1
    assert "<h2>Missed particles, heaviest first</h2>" in page


def test_compare_sets_picks_runs_and_the_paper_side_by_side(call: Call, example: Example, tmp_path: Path) -> None:
    perfect, earlier, file = tmp_path / "perfect.star", tmp_path / "earlier.json", tmp_path / "e.json"
    write_star(perfect, truth_of(example), shape=(16, 32, 32), voxel_size_angstrom=10.0)
    command = ("evaluate", example.picks, "--truth", example.data, "--mode", "shrec21", *SYNC, "--json")
    assert call(*command, earlier).exit_code == 0
    done = call(*command, file, "--compare", perfect, "--compare", earlier, "--compare", "paper")
    assert done.exit_code == 0, done.err
    result, before = json.loads(file.read_text()), json.loads(earlier.read_text())
    first, second, *paper = result["comparison"]
    assert (first["name"], first["localization"]["TP"], first["macro_f1"]) == ("perfect", 2, 1)
    assert (second["name"], second["localization"]) == ("earlier", before["localization"])
    assert len(paper) == 8
    assert {row["name"]: row["localization"]["FN"] for row in paper}["TM-F"] == 602
    assert any("paper" in note for note in result["notes"])
    lines = done.out.splitlines()
    assert any(" ".join(line.split()) == "TM 4195 1073 583 492 716 2.620 0.683 0.256 0.372 0.474" for line in lines)
    assert sum(line.startswith(("these picks", "perfect", "earlier")) for line in lines) == 3


def test_benchmark_runs_through_and_does_nothing_twice(call: Call, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # Truth masks are binned by 2: with another binning there is no signal-to-noise ratio, but all the rest.
    box = ("--set", "simulation.sample.box_voxels=[36,72,72]", "--set", "reconstruction.binning=3")
    command = ("benchmark", "-o", run, *TINY, *box, "--set", "matching.angular_step_deg=60")
    first = call(*command)
    assert first.exit_code == 0, first.err
    assert {file.name for file in run.iterdir()} == {"data.zarr", "picks", "evaluation.json", "run.json", "report.html"}
    assert json.loads((run / "run.json").read_text())["snr"] == {"model_000": None}
    evaluations = (run / "evaluation.json").read_bytes()
    assert set(json.loads(evaluations)) == {"strict", "shrec21"}
    before = written_at(run / "data.zarr") | written_at(run / "picks" / "maps.zarr")
    again = call(*command)
    assert again.exit_code == 0
    assert again.out == first.out
    assert (run / "evaluation.json").read_bytes() == evaluations
    assert written_at(run / "data.zarr") | written_at(run / "picks" / "maps.zarr") == before


def test_structures_are_listed_and_measured(call: Call, tmp_path: Path) -> None:
    listed = call("structures", "list")
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.out.splitlines()][:2] == list(CLASSES)
    file = tmp_path / "shapes.json"
    measured = call("structures", "describe", "--classes", CLASSES[0], "--json", file)
    assert measured.exit_code == 0
    (row,) = json.loads(file.read_text())["structures"]
    assert row["class_id"] == CLASSES[0]
    assert f"{row['volume_nm3']:.4g}" in measured.out


def test_check_reads_every_chunk(call: Call, example: Example, tmp_path: Path) -> None:
    sound = call("check", example.data)
    assert sound.exit_code == 0
    assert sound.out.splitlines()[-1] == f"{example.data}: all groups are complete"
    assert "model_000/tilt_series: tilt-series, complete" in sound.out
    damaged = tmp_path / "damaged.zarr"
    shutil.copytree(example.data, damaged)
    chunk = damaged / "model_000" / "tilt_series" / "counts" / "c" / "3" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    found = call("check", damaged)
    assert found.exit_code == 3
    assert str(chunk) in found.err
    assert "Restore the file from a copy" in found.err


def test_plan_computes_nothing(call: Call) -> None:
    table = call("plan", *TINY)
    assert table.exit_code == 0
    assert "peak per worker" in table.out
    stages = json.loads(call("plan", "--json", *TINY).out)
    assert [stage["stage"] for stage in stages][:3] == ["structures", "sample", "tilt series"]
    assert all(stage["worker_bytes"] >= stage["task_bytes"] > 0 for stage in stages)
    assert f"{max(stage['worker_bytes'] for stage in stages) / 2**20:.0f} MiB" in table.out


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(call: Call, tmp_path: Path) -> None:
    data = tmp_path / "data.zarr"
    arguments = ["simulate", "-o", str(data), *TINY, "--set", "simulation.acquisition.tilt_count=40"]
    with subprocess.Popen(
        [sys.executable, "-m", "cryodask", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(_main.__file__).parents[2])},
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("model_000 tilt series:"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "error: interrupted; run the same command again to resume"
    assert "Traceback" not in rest
    pending = Store(data).pending("model_000/tilt_series")
    assert 0 < len(pending) < 40
    assert "model_000/tilt_series: incomplete" in call("check", data).out
    resumed = call(*arguments)
    assert resumed.exit_code == 0
    assert f"{len(pending)}/{len(pending)} (100 %)" in resumed.err


def test_match_adds_maps_and_picks_to_the_data_set_itself(call: Call, example: Example, tmp_path: Path) -> None:
    data = tmp_path / "copy.zarr"
    shutil.copytree(example.data, data)
    assert call("match", data, "-o", data, *COARSE).exit_code == 0
    kinds = {entry.path: entry.kind for entry in Store(data).groups()}
    assert kinds["model_000/particles/tm"] == "picks"
    assert kinds[f"model_000/scores/{CLASSES[0]}"] == "scores"
    results = []
    for picks in (data, example.picks):
        file = tmp_path / "evaluation.json"
        assert call("evaluate", picks, "--truth", data, "--json", file, *SYNC).exit_code == 0
        results.append(json.loads(file.read_text()))
    assert results[0] == results[1]
    done = call("evaluate", example.data, "--truth", data, *SYNC)
    assert (done.exit_code, "holds no picks" in done.err) == (3, True)


def test_check_without_a_gpu_says_why(call: Call) -> None:
    asked = call("check", "--gpu")
    assert asked.exit_code in (0, 4)
    if asked.exit_code:
        assert "cupy" in asked.err or "CUDA" in asked.err
    assert call("check").exit_code == 2
