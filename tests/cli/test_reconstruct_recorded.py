"""``reconstruct`` with alignment files that programs wrote for real series; the images are noise."""

from __future__ import annotations

import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryodask.io.alignments import mdoc
from cryodask.io.mrc import write_volume
from tests.cli.conftest import SYNC, Call


def noise(path: Path, count: int, pixel: float = 6.192) -> Path:
    images = np.random.default_rng(0).poisson(30, (count, 40, 48)).astype(np.int16)
    write_volume(path, images, pixel, stack=True)
    return path


@pytest.fixture
def formats(shared_data: Path) -> Path:
    return shared_data / "formats"


def test_files_of_an_etomo_project(call: Call, formats: Path, tmp_path: Path) -> None:
    """Refined x tilts of a hundredth of a degree, an axis near 84 degrees: the tomogram lies on its side."""
    for suffix in (".tlt", ".xf", ".xtilt", ".edf"):
        shutil.copy(formats / f"TS_001{suffix}", tmp_path)
    stack = noise(tmp_path / "TS_001.st", 40)
    (tmp_path / "tilt.com").write_text("$tilt\nTILTFILE TS_001.tlt\nXTILTFILE TS_001.xtilt\nTHICKNESS 16\n")
    (tmp_path / "newst.com").write_text("$newstack\nInputFile TS_001.st\nTransformFile TS_001.xf\n")
    called = call("reconstruct", stack, "--tilt-com", tmp_path / "tilt.com", "-o", tmp_path / "out.mrc", *SYNC)
    assert called.exit_code == 0, called.err
    assert "39 tilts" in called.out  # the .edf leaves out view 40
    with mrcfile.open(tmp_path / "out.mrc") as file:
        assert file.data.shape == (16, 48, 40)
        assert float(file.voxel_size.x) == pytest.approx(6.192, rel=1e-6)


def test_a_warp_series(call: Call, formats: Path, tmp_path: Path) -> None:
    stack = noise(tmp_path / "any.mrc", 47, 0.7303)
    options = ("--warp", formats / "gs04_ts_003.xml", "--thickness", "8", "--dose-weight")
    called = call("reconstruct", stack, *options, "-o", tmp_path / "out.zarr", *SYNC)
    assert called.exit_code == 0, called.err
    assert "47 tilts" in called.out


def test_a_mdoc_of_serialem(call: Call, formats: Path, tmp_path: Path) -> None:
    series = mdoc.read_mdoc(formats / "tilt_series.mdoc")
    stack = noise(tmp_path / "any.mrc", len(series.tilt_deg), 5.4)
    options = ("--mdoc", formats / "tilt_series.mdoc", "--thickness", "8")
    called = call("reconstruct", stack, *options, "-o", tmp_path / "out.mrc", *SYNC)
    assert called.exit_code == 0, called.err
    assert "tilt axis is at 85.3 degrees" in called.err
    assert mrcfile.read(tmp_path / "out.mrc").shape == (8, 48, 40)
    weighted = call("reconstruct", stack, *options, "--dose-weight", "-o", tmp_path / "w.mrc", *SYNC)
    assert weighted.exit_code == 2  # the file says that the dose is 0
    assert "--mdoc FILE with ExposureDose" in weighted.err


def test_a_relion_project_without_its_images(call: Call, formats: Path, tmp_path: Path) -> None:
    job = tmp_path / "Tomograms" / "job009"
    (job / "tilt_series").mkdir(parents=True)
    shutil.copy(formats / "tomo200528_107.star", job / "tilt_series")
    text = (formats / "tomograms.star").read_text().splitlines(keepends=True)
    (job / "tomograms.star").write_text("".join(t for t in text if not t.startswith("tomo") or "_107 " in t))
    called = call("reconstruct", job / "tomograms.star", "--bin", "8", "-o", tmp_path / "out.mrc", *SYNC)
    assert called.exit_code == 3
    assert "tomo200528_107_-51_0_May31_00_24_27.mrc" in called.err
    assert not (tmp_path / "out.mrc").exists()
