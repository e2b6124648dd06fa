"""Pick files: what is written is read back, foreign files by their own rules, and damage is named by line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import starfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryodask.errors import ConfigError, DataError
from cryodask.io.pick_files import read_picks, write_star
from cryodask.io.pick_star import read_star
from cryodask.io.star_blocks import split_words
from cryodask.model.particles import Particles

SHAPE = (40, 60, 80)
VOXEL = 10.0


def some_particles(n: int = 20, seed: int = 0) -> Particles:
    generator = np.random.default_rng(seed)
    return Particles.create(
        list(generator.choice(["1BXN", "nan", "two words", "fiducial"], n)),
        generator.uniform(-150, 150, (n, 3)),
        tomogram=list(generator.choice(["model_0", "model_1"], n)),
        zxz_deg=generator.uniform([0, 0, 0], [360, 180, 360], (n, 3)),
        score=generator.permutation(n).astype(float),
    )


def matrices(zxz_deg: np.ndarray) -> np.ndarray:
    return Rotation.from_euler("ZXZ", zxz_deg, degrees=True).as_matrix()


def test_star_round_trip_best_first(tmp_path: Path) -> None:
    particles = some_particles()
    write_star(tmp_path / "picks.star", particles, shape=SHAPE, voxel_size_angstrom=VOXEL)
    back = read_picks(tmp_path)
    best = particles.take(np.argsort(-particles.score))
    np.testing.assert_array_equal(back.class_id, best.class_id)
    np.testing.assert_array_equal(back.tomogram, best.tomogram)
    np.testing.assert_array_equal(back.score, best.score)
    np.testing.assert_allclose(back.position_angstrom, best.position_angstrom, atol=1e-6)
    np.testing.assert_allclose(matrices(back.zxz_deg), matrices(best.zxz_deg), atol=1e-8)
    assert [path.name for path in tmp_path.iterdir()] == ["picks.star"]


def test_equal_picks_give_equal_bytes_and_replace_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "picks.star"
    path.write_text("old")
    write_star(path, some_particles(), shape=SHAPE, voxel_size_angstrom=VOXEL)
    first = path.read_bytes()
    write_star(path, some_particles(), shape=SHAPE, voxel_size_angstrom=VOXEL)
    assert path.read_bytes() == first


def test_the_file_is_a_star_file_to_others(tmp_path: Path) -> None:
    path = tmp_path / "picks.star"
    particles = Particles.create(
        ["b", "a"], [[0, 0, 0], [10, 20, 30]], tomogram="t", zxz_deg=[[10, 20, 30], [40, 50, 60]], score=[1, 2]
    )
    write_star(path, particles, shape=SHAPE, voxel_size_angstrom=VOXEL)
    blocks = starfile.read(path)
    table = blocks["particles"]
    assert blocks["general"]["cryodaskSizeZ"] == 40
    assert list(table.columns) == [
        *("rlnTomoName", "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"),
        *("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnClassNumber", "cryodaskClass", "cryodaskScore"),
    ]
    np.testing.assert_allclose(
        table[["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]].to_numpy()[0], [42.5, 31.5, 20.5]
    )
    assert list(table["rlnClassNumber"]) == [1, 2]
    rot_tilt_psi = table[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
    template_to_particle = Rotation.from_euler("ZYZ", rot_tilt_psi, degrees=True).inv().as_matrix()
    np.testing.assert_allclose(template_to_particle, matrices(np.array([[40, 50, 60], [10, 20, 30]])), atol=1e-6)


def test_no_particles_and_no_angles(tmp_path: Path) -> None:
    path = tmp_path / "picks.star"
    write_star(path, Particles.create([], np.empty((0, 3))), shape=SHAPE, voxel_size_angstrom=VOXEL)
    assert len(read_picks(path)) == 0
    write_star(path, Particles.create(["a"], [[1, 2, 3]]), shape=SHAPE, voxel_size_angstrom=VOXEL)
    assert "rlnAngleRot" not in path.read_text()
    back = read_picks(path)
    assert np.isnan(back.zxz_deg).all()
    assert np.isnan(back.score).all()
    assert back.tomogram[0] == ""


def test_angles_known_for_some_only(tmp_path: Path) -> None:
    particles = Particles.create(
        ["a", "b"], np.zeros((2, 3)), zxz_deg=np.array([[10.0, 0, 20], [np.nan] * 3]), score=[2, 1]
    )
    write_star(tmp_path / "picks.star", particles, shape=SHAPE, voxel_size_angstrom=VOXEL)
    back = read_picks(tmp_path)
    np.testing.assert_allclose(matrices(back.zxz_deg[:1]), matrices(particles.zxz_deg[:1]), atol=1e-8)
    assert np.isnan(back.zxz_deg[1]).all()


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="angstrom"):
        write_star(tmp_path / "picks.star", some_particles(), shape=SHAPE, voxel_size_angstrom=0)
    (tmp_path / "taken").mkdir()
    with pytest.raises(DataError, match=r"cannot write .*taken"):
        write_star(tmp_path / "taken", some_particles(), shape=SHAPE, voxel_size_angstrom=VOXEL)
    (tmp_path / "taken").rmdir()
    assert not list(tmp_path.iterdir())


RELION = """
# version 50001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
1 group1

data_particles

loop_
_rlnTomoName #1
_rlnCenteredCoordinateXAngst #2
_rlnCenteredCoordinateYAngst #3
_rlnCenteredCoordinateZAngst #4
_rlnAngleRot #5
_rlnAngleTilt #6
_rlnAnglePsi #7
_rlnClassNumber #8
_rlnOriginXAngst #9
TS_01 100.5 -20 3 30 40 50 2 0.5
TS_02 1 2 3 0 0 0 1 0
"""


def test_relion_5_file(tmp_path: Path) -> None:
    path = tmp_path / "particles.star"
    path.write_text(RELION)
    picks = read_picks(path, class_names=["1BXN", "5MRC"])
    np.testing.assert_array_equal(picks.position_angstrom, [[3, -20, 100], [3, 2, 1]])
    assert list(picks.tomogram) == ["TS_01", "TS_02"]
    assert list(picks.class_id) == ["5MRC", "1BXN"]
    expected = Rotation.from_euler("ZYZ", [30, 40, 50], degrees=True).inv().as_matrix()
    np.testing.assert_allclose(matrices(picks.zxz_deg[:1])[0], expected, atol=1e-10)

    with pytest.raises(DataError, match="cryodaskClass"):
        read_picks(path)
    path.write_text(RELION.replace("1 2 3 0 0 0 1 0", "1 2 3 0 0 0 3 0"))
    with pytest.raises(DataError, match="line 24: rlnClassNumber 3 has no name"):
        read_picks(path, class_names=["1BXN", "5MRC"])
    assert list(read_picks(path, class_names=["only"]).class_id) == ["only", "only"]


def foreign(tmp_path: Path, text: str, name: str = "foreign.star") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


HEADER = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_rlnLCCmax\n"


def test_voxel_coordinates_of_a_foreign_file_need_the_volume(tmp_path: Path) -> None:
    path = foreign(tmp_path, HEADER + "39.5 29.5 20.5 0.7\n")
    with pytest.raises(DataError, match=r"foreign\.star.*shape.*voxel size"):
        read_picks(path, class_names=["a"])
    with pytest.raises(ConfigError, match="both"):
        read_picks(path, shape=SHAPE, class_names=["a"])
    picks = read_picks(path, shape=SHAPE, voxel_size_angstrom=VOXEL, class_names=["a"])
    np.testing.assert_allclose(picks.position_angstrom, [[10, 0, 0]])
    assert picks.score[0] == 0.7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "1 2 nan 4\n", "line 7: 'nan' is not a finite"),
        (HEADER + "1 2 3 4\n1 here 3 4\n", "line 8: 'here' is not a number"),
        (HEADER + "1 2 3\n", "line 7: 3 values for the 4 columns"),
        ("data_x\n_a 1\n", "no table with rlnCoordinate"),
        ("1BXN 1 2 3\n", "line 1: .* no STAR file"),
        ("data_x\nfoo bar\n", "line 2: .* no column"),
        (HEADER.replace("rlnLCCmax", "rlnTomoSubtomogramRot") + "1 2 3 90\n", "sub-tomogram"),
        ("data_general\n_cryodaskVoxelSizeAngstrom ten\n\n" + HEADER + "1 2 3 4\n", "general does not describe"),
    ],
)
def test_damaged_star_files_are_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"foreign\.star.*{message}"):
        read_picks(foreign(tmp_path, text), shape=SHAPE, voxel_size_angstrom=VOXEL, class_names=["a"])


def test_csv(tmp_path: Path) -> None:
    path = foreign(
        tmp_path, "\ufeffclass, z,y,x,score,tomogram\n1bxn,19.5,29.5,39.5,0.5,t\n\nnan,20.5,29.5,38.5,,t\n", "p.csv"
    )
    with pytest.raises(DataError, match=r"p\.csv, line 4: '' is not a number"):
        read_picks(path, shape=SHAPE, voxel_size_angstrom=VOXEL)
    path.write_text(path.read_text().replace(",,", ",nan,"))
    picks = read_picks(path, shape=SHAPE, voxel_size_angstrom=VOXEL)
    np.testing.assert_allclose(picks.position_angstrom, [[0, 0, 0], [10, 0, -10]])
    assert list(picks.class_id) == ["1bxn", "nan"]
    assert list(picks.tomogram) == ["t", "t"]
    np.testing.assert_array_equal(picks.score, [0.5, np.nan])
    with pytest.raises(DataError, match="voxel size"):
        read_picks(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "line 1: the columns are a, b"),
        ("class,x,y,z\na,1,2\n", "line 2: 3 values for 4"),
        ("class,x,y,z\na,1,2,inf\n", "line 2: 'inf'"),
    ],
)
def test_damaged_csv(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_picks(foreign(tmp_path, text, "p.csv"), shape=SHAPE, voxel_size_angstrom=VOXEL)


def test_benchmark_lines(tmp_path: Path) -> None:
    path = foreign(
        tmp_path, "1BXN 39.5 29.5 19.5 10 20 30\n# note\n\nfiducial 40.5 29.5 19.5 NaN NaN NaN\n5MRC 1 2 3\n", "p.txt"
    )
    picks = read_picks(path, shape=SHAPE, voxel_size_angstrom=VOXEL)
    assert list(picks.class_id) == ["1BXN", "fiducial", "5MRC"]
    np.testing.assert_allclose(picks.position_angstrom[:2], [[0, 0, 0], [0, 0, 10]])
    np.testing.assert_array_equal(picks.zxz_deg[0], [10, 20, 30])
    assert np.isnan(picks.zxz_deg[1:]).all()
    path.write_text("1BXN 1 2 3\n1BXN 1 2\n")
    with pytest.raises(DataError, match=r"p\.txt, line 2: 3 columns"):
        read_picks(path, shape=SHAPE, voxel_size_angstrom=VOXEL)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as text"):
        read_picks(path, shape=SHAPE, voxel_size_angstrom=VOXEL)


COPICK: dict[str, Any] = {
    "pickable_object_name": "ribosome",
    "user_id": "someone",
    "session_id": "1",
    "run_name": "TS_1",
    "voxel_spacing": 10.0,
    "unit": "angstrom",
    "points": [
        {"location": {"x": 395.0, "y": 295.0, "z": 195.0}, "transformation_": np.eye(4).tolist(), "score": 0.5},
        {"location": {"x": 405, "y": 295, "z": 195}, "transformation_": None, "instance_id": 0},
    ],
    "trust_orientation": True,
}


def test_copick_json(tmp_path: Path) -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("ZXZ", [20, 30, 40], degrees=True).as_matrix()
    point = {"location": {"x": 0, "y": 0, "z": 0}, "transformation_": turn.tolist(), "score": 2}
    held = {**COPICK, "points": [*COPICK["points"], point]}
    path = foreign(tmp_path, json.dumps(held), "p.json")
    picks = read_picks(path, shape=SHAPE, voxel_size_angstrom=VOXEL)
    assert list(picks.class_id) == ["ribosome"] * 3
    assert set(picks.tomogram) == {"TS_1"}
    np.testing.assert_allclose(picks.position_angstrom, [[0, 0, 0], [0, 0, 10], [-195, -295, -395]])
    np.testing.assert_array_equal(picks.score, [0.5, np.nan, 2.0])
    assert np.isnan(picks.zxz_deg[:2]).all()
    np.testing.assert_allclose(picks.zxz_deg[2], [20, 30, 40])
    path.write_text(json.dumps({**held, "trust_orientation": False}))
    assert np.isnan(read_picks(path, shape=SHAPE, voxel_size_angstrom=VOXEL).zxz_deg).all()
    path.write_text(json.dumps({**held, "points": []}))
    assert len(read_picks(path, shape=SHAPE, voxel_size_angstrom=VOXEL)) == 0
    with pytest.raises(DataError, match="does not say of which volume"):
        read_picks(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": [{"location": {"x": 1, "y": 2}}]}, "point 1: no location with x, y and z"),
        ({"points": [{"location": {"x": 1, "y": 2, "z": math.nan}}]}, "z of the location is nan"),
        ({"points": [{"location": {"x": 1, "y": 2, "z": "3"}}]}, "z of the location is '3'"),
        ({"points": [{**COPICK["points"][0], "score": "high"}]}, "score is 'high'"),
        ({"points": [{**COPICK["points"][0], "transformation_": [[1, 2], [3]]}]}, "transformation_ is no 4 x 4"),
        ({"points": [{**COPICK["points"][0], "transformation_": (2 * np.eye(4)).tolist()}]}, "transformation_"),
        ({"points": 3}, "points is no list"),
        ({"unit": "pixel"}, "locations in 'pixel'"),
    ],
)
def test_damaged_copick_json(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = foreign(tmp_path, json.dumps({**COPICK, **change}), "p.json")
    with pytest.raises(DataError, match=message):
        read_picks(path, shape=SHAPE, voxel_size_angstrom=VOXEL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON file"),
        ("{", "is no JSON file"),
        ("[" * 100_000, "is no JSON file"),
        ("[]", "lacks pickable_object_name and points"),
        ('{"mode": "strict"}', "is no copick picks file"),
    ],
)
def test_other_json_is_no_picks(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"p\.json.*{message}"):
        read_picks(foreign(tmp_path, text, "p.json"), shape=SHAPE, voxel_size_angstrom=VOXEL)


@pytest.mark.parametrize("name", ["p.star", "p.csv", "p.txt"])
def test_an_empty_file_is_an_empty_list(tmp_path: Path, name: str) -> None:
    assert len(read_picks(foreign(tmp_path, "", name), shape=SHAPE, voxel_size_angstrom=VOXEL)) == 0


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.star does not exist"):
        read_picks(tmp_path / "gone.star")
    with pytest.raises(DataError, match=r"without picks\.star"):
        read_picks(tmp_path)


def test_words_in_quotes() -> None:
    assert split_words("""a "b c" 'd e' 5'-end "" "it's" """) == ["a", "b c", "d e", "5'-end", "", "it's"]


names = st.text(
    st.characters(codec="ascii", categories=["L", "N", "P"], exclude_characters="\"'#"), min_size=1, max_size=8
)


@given(st.lists(st.tuples(names, st.floats(-1e4, 1e4), st.floats(-1e3, 1e3)), max_size=5))
@settings(deadline=None, max_examples=40)
def test_any_names_and_numbers_survive(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float, float]]
) -> None:
    path = tmp_path_factory.mktemp("star") / "p.star"
    rows = sorted(rows, key=lambda row: -row[2])
    position = np.array([[row[1], 0, -row[1]] for row in rows]).reshape(-1, 3)
    particles = Particles.create([row[0] for row in rows], position, tomogram="t", score=[row[2] for row in rows])
    write_star(path, particles, shape=SHAPE, voxel_size_angstrom=VOXEL)
    back = read_star(path, shape=None, voxel_size_angstrom=None, class_names=None)
    np.testing.assert_array_equal(back.class_id, particles.class_id)
    np.testing.assert_allclose(back.position_angstrom, particles.position_angstrom, rtol=1e-8, atol=1e-6)
    np.testing.assert_allclose(back.score, particles.score, rtol=1e-9)
