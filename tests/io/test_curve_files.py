"""Camera curves and radial profiles from files: read, or refused with file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryodask.errors import DataError
from cryodask.io.curve_files import read_camera_curves, read_radial_profile
from cryodask.io.mrc import write_volume
from cryodask.kernels.detector import k2_mtf


def written(folder: Path, text: str, name: str = "curve.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_profile_is_linear_between_its_lines_and_constant_beyond(tmp_path: Path) -> None:
    profile = read_radial_profile(written(tmp_path, "# recorded\nk,amplitude\n0, 10\n0.05, 5\n0.1, 4\n"))
    np.testing.assert_allclose(profile([0, 0.025, 0.05, 0.1, 0.7]), [10, 7.5, 5, 4, 4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1\n", "1 lines of frequency, amplitude"),
        ("", "0 lines"),
        ("0,1\n0.1\n", "line 2: 1 values, expected frequency, amplitude"),
        ("0,1\n0.1,much\n", "line 2: 'much' is not a number"),
        ("0,1\n0.1,nan\n", "line 2: 'nan' is not a finite number"),
        ("0,1\n0.2,3\n0.1,2\n", "rise from 0 on"),
        ("-0.1,1\n0.2,3\n", "rise from 0 on"),
        ("0,1\n0.1,0\n", "must be positive, the least is 0"),
        ("0,1\n0.01,1\n0.02,1\n0.03,1\n0.4,1\n", "nothing between the frequencies 0.03 and 0.4"),
    ],
)
def test_profiles_that_cannot_be_used_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"curve.csv.*{message}"):
        read_radial_profile(written(tmp_path, text))


def test_a_recorded_series_gives_its_own_profile(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).standard_normal((3, 64, 96)).astype(np.float32) + 50
    write_volume(tmp_path / "series.mrc", noise, 4.0, stack=True)
    profile = read_radial_profile(tmp_path / "series.mrc")
    assert profile.k_per_angstrom[-1] == pytest.approx(0.125, rel=0.05)
    white = profile(np.linspace(0.02, 0.12, 20))
    assert white.std() / white.mean() < 0.1
    with pytest.raises(DataError, match="no file"):
        read_radial_profile(tmp_path / "none.mrc")


def test_the_stand_in_profile_is_read(shared_data: Path) -> None:
    (file,) = (shared_data / "detector").glob("radial_amplitude_*.csv")
    profile = read_radial_profile(file)
    assert profile([0.0])[0] == 7469.2
    assert profile([0.004]) < profile([0.001])


def test_a_camera_from_its_points(tmp_path: Path) -> None:
    camera = read_camera_curves(written(tmp_path, "q,mtf,dqe\n0,1,0.8\n0.5,0.7,0.5\n1,0.4,0.2\n"))
    assert camera.mtf == (1.0, 0.7, 0.4)
    assert camera.dqe == (0.8, 0.5, 0.2)


def test_a_camera_from_relions_file(shared_data: Path) -> None:
    camera = read_camera_curves(shared_data / "detector" / "mtf_k2_300kV.star")
    q, mtf, dqe = (np.array(values) for values in (camera.q, camera.mtf, camera.dqe))
    np.testing.assert_allclose(dqe, mtf**2)
    # Another table of the same camera: it falls faster than the fit of ours, by up to .115.
    at = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(np.interp(at, q, mtf) * k2_mtf(0.0), k2_mtf(at), atol=0.12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1\n1,1\n", "2 values, expected frequency, MTF, DQE"),
        ("0,1,0.8\n0.5,0.5,0.4\n", "from 0 to 1"),
        ("0,1,0.8\n1,0.5,1.4\n", "DQE must lie above 0"),
    ],
)
def test_cameras_that_cannot_be_used_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_camera_curves(written(tmp_path, text))
    with pytest.raises(DataError, match="no block with the columns"):
        read_camera_curves(written(tmp_path, "data_x\nloop_\n_rlnOther #1\n1\n", "curve.star"))
