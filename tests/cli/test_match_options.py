"""``match``: engines, rotations of one's own, and maps as MRC files."""

from __future__ import annotations

import json

import numpy as np

from cryodask.io.mrc import read_volume
from cryodask.io.pick_files import read_picks
from cryodask.io.store import Store
from cryodask.kernels.rotations import matrix_from_relion_zyz_deg, matrix_from_zxz_deg
from tests.cli.conftest import CLASSES, SYNC, Call, Example

EVERYTHING = (slice(None),) * 3


def test_maps_as_mrc_files(call: Call, example: Example) -> None:
    out = example.folder / "with_maps"
    arguments = ("--angular-step", "60", "--maps", "mrc", "--engine", "fft", *SYNC)
    assert call("match", example.data, "-o", out, *arguments).exit_code == 0
    for name in CLASSES:
        scores, voxel = read_volume(out / f"{name}_scores.mrc")
        stored = Store(out / "maps.zarr").source(f"model_000/scores/{name}", "score").read(EVERYTHING)
        assert voxel == 10.0
        np.testing.assert_array_equal(scores, np.nan_to_num(stored, nan=-1.0))
        ids = read_volume(out / f"{name}_angles.mrc")[0]
        angles = np.loadtxt(out / f"{name}_angles.txt")
        assert ids.max() < len(angles)
        assert ids.min() == -1
    record = json.loads((out / "job.json").read_text())
    assert record["engines"][CLASSES[0]]["engine"] == "fft"
    assert set(record["seconds_by_stage"]) == {"filter", "low-rank bases", "search", "peaks"}


def test_no_maps_are_left_if_none_are_wanted(call: Call, example: Example) -> None:
    out = example.folder / "without_maps"
    assert call("match", example.data, "-o", out, "--angular-step", "60", "--maps", "none", *SYNC).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["job.json", "picks.star"]


def test_angles_of_ones_own(call: Call, example: Example) -> None:
    angles = example.folder / "angles.txt"
    angles.write_text("0 0 0\n0 90 0\n90 90 0\n")
    out = example.folder / "own_angles"
    assert call("match", example.data, "-o", out, "--angles", angles, *SYNC).exit_code == 0
    record = json.loads((out / "job.json").read_text())
    assert record["rotations"] == 3
    assert record["covering_radius_deg"] > 60
    low = example.folder / "own_angles_low_rank"
    arguments = ("--angles", angles, "--engine", "low-rank", "--set", "matching.threshold_z=3", *SYNC)
    assert call("match", example.data, "-o", low, *arguments).exit_code == 0
    record = json.loads((low / "job.json").read_text())
    assert record["engine"] == "low-rank"
    assert record["rotations"] == 3
    picks = read_picks(low / "picks.star")
    assert len(picks) > 0
    found = matrix_from_zxz_deg(picks.zxz_deg)
    given = matrix_from_relion_zyz_deg(np.array([[0, 0, 0], [0, 90, 0], [90, 90, 0]]))
    assert np.abs(found[:, None] - given[None]).max(axis=(2, 3)).min(axis=1).max() < 1e-6


def test_the_low_rank_engine_by_name(call: Call, example: Example) -> None:
    out = example.folder / "low_rank"
    arguments = ("--angular-step", "45", "--engine", "low-rank", "--seed", "5", *SYNC)
    assert call("match", example.data, "-o", out, *arguments).exit_code == 0
    record = json.loads((out / "job.json").read_text())
    chosen = record["engines"][CLASSES[0]]
    assert chosen["engine"] == "low-rank"
    assert 0 < chosen["coarse_components"] <= chosen["components"]
    assert record["parameters"]["seed"] == 5
    assert record["rotations_by_template"][CLASSES[0]] == record["rotations"]


def test_steps_sets_cut_offs_and_formats(call: Call, example: Example) -> None:
    out = example.folder / "formats"
    arguments = ("--angle-set", "healpix", "--refine", "--false-positives", "20", "--format", "csv", "warp", *SYNC)
    called = call("match", example.data, "-o", out, "--angular-step", "60", *arguments)
    assert called.exit_code == 0, called.err
    record = json.loads((out / "job.json").read_text())
    assert record["rotations"] == 72
    assert record["parameters"]["false_positives"] == 20
    picks = read_picks(out / "picks.star")
    assert len(picks) > 0
    voxels = picks.voxels((16, 32, 32), 10.0)
    assert np.abs(voxels - np.rint(voxels)).max() > 1e-3
    assert np.abs(voxels - np.rint(voxels)).max() <= 0.5
    other = read_picks(out / "picks.csv", shape=(16, 32, 32), voxel_size_angstrom=10.0)
    np.testing.assert_allclose(other.position_angstrom, picks.position_angstrom, atol=1e-5)
    assert (out / "picks_warp.star").exists()
    automatic = example.folder / "automatic"
    called = call("match", example.data, "-o", automatic, "--angular-step", "auto", "--engine", "fft", *SYNC)
    assert called.exit_code == 0, called.err
    assert "angular step 15 degrees" in called.err
    for wrong in (("--angular-step", "wide"), ("--angles", example.tilts, "--angle-set", "healpix")):
        assert call("match", example.data, "-o", example.folder / "no", *wrong, *SYNC).exit_code == 2
