"""Picks for other programs come back as they were, and are in the columns that those programs read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import starfile

from cryodask.errors import ConfigError
from cryodask.io.pick_files import read_picks
from cryodask.io.pick_star import Frame
from cryodask.io.pick_writers import FORMATS, write_formats
from cryodask.kernels.rotations import matrix_from_zxz_deg
from cryodask.model.particles import Particles

FRAME = Frame(shape=(40, 50, 60), voxel_size_angstrom=7.5)


def picks(count: int = 6) -> Particles:
    generator = np.random.default_rng(1)
    return Particles.create(
        ["a", "b", "b", "a", "c", "b"][:count],
        generator.uniform(-100, 100, (count, 3)),
        tomogram=["t1", "t1", "t2", "t2", "t2", "t1"][:count],
        zxz_deg=generator.uniform(5, 170, (count, 3)),
        score=np.arange(count, 0, -1) / 3,
    )


@pytest.mark.parametrize("name", list(FORMATS))
def test_picks_come_back(name: str, tmp_path: Path) -> None:
    given = picks()
    files = write_formats(tmp_path, given, FRAME, [name])
    assert all(path.exists() for path in files)
    parts = [
        read_picks(path, shape=FRAME.shape, voxel_size_angstrom=7.5, class_names=["a", "b", "c"]) for path in files
    ]
    rows = {}
    for part in parts:
        for tomogram, name_, at, angles, score in zip(
            part.tomogram, part.class_id, part.position_angstrom, part.zxz_deg, part.score, strict=True
        ):
            rows[round(float(score), 6)] = (str(name_), str(tomogram), at, angles)
    assert len(rows) == len(given)
    for row in range(len(given)):
        class_id, tomogram, at, angles = rows[round(float(given.score[row]), 6)]
        assert class_id == given.class_id[row]
        assert tomogram in ("", given.tomogram[row])
        np.testing.assert_allclose(at, given.position_angstrom[row], atol=1e-5)
        if name != "csv":
            np.testing.assert_allclose(matrix_from_zxz_deg(angles), matrix_from_zxz_deg(given.zxz_deg[row]), atol=1e-6)


def test_columns_are_those_that_the_programs_read(tmp_path: Path) -> None:
    write_formats(tmp_path, picks(), FRAME, ["relion4", "warp", "copick"])
    relion = starfile.read(tmp_path / "picks_relion4.star")
    assert set(relion) == {"optics", "particles"}
    assert relion["optics"]["rlnTomoTiltSeriesPixelSize"].tolist() == 7.5 or relion["optics"].shape[0] == 1
    wanted = ["rlnTomoName", "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ", "rlnAngleRot", "rlnAngleTilt"]
    assert list(relion["particles"].columns)[:6] == wanted
    warp = starfile.read(tmp_path / "picks_warp.star")
    assert warp["rlnMicrographName"].tolist()[:3] == ["t1.tomostar", "t1.tomostar", "t2.tomostar"]
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json"))
    assert files[0] == "ExperimentRuns/t1/Picks/cryodask_0_a.json"
    held = json.loads((tmp_path / files[0]).read_text())
    assert held["points"][0]["transformation_"][3] == [0, 0, 0, 1]


def test_nothing_picked_and_unknown_formats(tmp_path: Path) -> None:
    for path in write_formats(tmp_path, picks(0), FRAME, list(FORMATS)):
        assert len(read_picks(path, shape=FRAME.shape, voxel_size_angstrom=7.5, class_names=["a"])) == 0
    with pytest.raises(ConfigError, match="no format dynamo"):
        write_formats(tmp_path, picks(), FRAME, ["dynamo"])
