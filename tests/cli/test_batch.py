"""``cryodask batch`` as a user calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cryodask.io.alignments import imod
from cryodask.io.mrc import write_volume
from cryodask.io.store import Store
from cryodask.model.alignment import TiltAlignment
from tests.cli.conftest import SYNC, Call, Example
from tests.phantom import write_stack
from tests.tiny import assert_same_bits, contents

COARSE = ("--set", "matching.angular_step_deg=60", *SYNC)


def test_run_status_retry(call: Call, example: Example, tmp_path: Path) -> None:
    manifest = tmp_path / "session.csv"
    late = tmp_path / "late.mrc"
    manifest.write_text(f"name,tilt_series,tomogram\ngood,{example.data},\nlate,,late.mrc\n")
    templates = ("--templates", str(example.templates))
    done = call("batch", "run", manifest, *templates, *COARSE)
    assert done.exit_code == 5
    assert "2 tomograms: 1 done, 1 failed, 0 to do" in done.out
    assert f"there is no file {late}" in done.out
    assert "cryodask batch retry" in done.err

    again = call("batch", "run", manifest, *templates, *COARSE)
    assert again.exit_code == 5  # a failure stays one until it is tried again

    asked = call("batch", "status", manifest, "--json", tmp_path / "status.json")
    assert asked.exit_code == 0
    assert "failed: late, match: there is no file" in asked.out
    found = json.loads((tmp_path / "status.json").read_text())
    assert (found["done"], found["failed"]) == (1, 1)

    shutil.copyfile(example.tomogram, late)
    retried = call("batch", "retry", tmp_path / "session", *SYNC)
    assert retried.exit_code == 0, retried.err
    assert "2 tomograms: 2 done, 0 failed, 0 to do" in retried.out
    assert (tmp_path / "session" / "tomograms" / "late" / "picks" / "picks.star").exists()


def test_fresh_retry_repairs_a_damaged_result(call: Call, example: Example, tmp_path: Path) -> None:
    manifest, run = tmp_path / "m.csv", tmp_path / "run"
    manifest.write_text(f"tilt_series\n{example.data}\n")
    assert call("batch", "run", manifest, "-o", run, "--stages", "reconstruct", *SYNC).exit_code == 0
    chunk = next(path for path in (run / "tomograms").rglob("image/c/**/0") if path.is_file())
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    failed = call("batch", "run", manifest, "-o", run, "--stages", "reconstruct,match", *COARSE)
    assert failed.exit_code == 5
    assert str(chunk.parent.parent.name) in failed.out
    assert call("batch", "retry", run, *SYNC).exit_code == 5  # the damage is still there
    assert call("batch", "retry", run, "--fresh", *SYNC).exit_code == 0
    assert chunk.read_bytes() == whole


def test_drop_maps_keeps_the_picks(call: Call, example: Example, tmp_path: Path) -> None:
    manifest, run = tmp_path / "m.csv", tmp_path / "run"
    manifest.write_text(f"tomogram\n{example.data}\n")
    assert call("batch", "run", manifest, "-o", run, "--drop-maps", *COARSE).exit_code == 0
    picks = run / "tomograms" / "model_000" / "picks"
    assert sorted(path.name for path in picks.iterdir()) == ["job.json", "picks.star"]
    assert call("batch", "run", manifest, "-o", run, "--drop-maps", *COARSE).exit_code == 0


def test_watch(call: Call, example: Example, tmp_path: Path) -> None:
    incoming, run = tmp_path / "incoming", tmp_path / "run"
    incoming.mkdir()
    shutil.copyfile(example.tomogram, incoming / "one.mrc")
    (incoming / "half.mrc").write_bytes(example.tomogram.read_bytes()[:5000])
    options = ("--watch", incoming, "--settle", "0", "--idle-exit", "2", "--templates", example.templates)
    done = call("batch", "run", "-o", run, *options, *COARSE)
    assert done.exit_code == 0, done.err
    assert "1 tomograms: 1 done" in done.out
    assert "not taken yet" in done.err
    write_volume(incoming / "half.mrc", np.ones((16, 32, 32), np.float32), 10.0, overwrite=True)
    again = call("batch", "run", "-o", run, *options, *COARSE)
    assert again.exit_code in (0, 5)
    assert "2 tomograms" in again.out


def test_recorded_series_as_reconstruct_makes_them(call: Call, tmp_path: Path) -> None:
    """A stack with its alignment, by the batch and by the single command."""
    tilts = np.linspace(-60, 60, 9)
    alignment = TiltAlignment.of(tilts, tilt_axis_deg=7.0, shift_x_px=np.linspace(-3, 3, 9))
    stack = write_stack(tmp_path / "position.mrc", alignment, (32, 40))
    imod.write_angles(tmp_path / "position.tlt", tilts)
    imod.write_xf(tmp_path / "position.xf", alignment.matrix_xy, alignment.shift_x_px, alignment.shift_y_px)
    manifest = tmp_path / "session.csv"
    manifest.write_text(f"tilt_series,stages,tilt_angles,xf\n{stack.name},reconstruct,position.tlt,position.xf\n")
    settings = ("--set", "reconstruction.thickness_voxels=16", "--set", "reconstruction.binning=1", *SYNC)
    done = call("batch", "run", manifest, *settings)
    assert done.exit_code == 0, done.out
    files = ("--tilt-angles", tmp_path / "position.tlt", "--xf", tmp_path / "position.xf")
    assert call("reconstruct", stack, *files, *settings, "-o", tmp_path / "alone.zarr").exit_code == 0
    made = contents(Store(tmp_path / "session" / "tomograms" / "position" / "data.zarr"))
    assert made
    assert_same_bits(contents(Store(tmp_path / "alone.zarr")), made)
    (tmp_path / "position.xf").unlink()
    assert call("batch", "run", manifest, *settings).exit_code == 5  # an alignment that is gone is looked for


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("run",), 2, "give a MANIFEST"),
        (("run", "--watch", "."), 2, "needs -o RUN"),
        (("run", "nowhere.csv"), 3, "nowhere.csv"),
        (("run", "m.csv", "--stages", "simulate"), 2, "choose among"),
        (("run", "m.csv", "-o", "x.zarr"), 2, "names a data set"),
        (("status", "nowhere"), 3, "holds no batch"),
        (("retry", "."), 3, "no folder of a batch"),
    ],
)
def test_wrong_calls(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], exit_code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text("tomogram\na.mrc\n")
    answer = call("batch", *arguments)
    assert (answer.exit_code, words in answer.err) == (exit_code, True), answer.err
