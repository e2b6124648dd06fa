"""``reconstruct --ctf phase-flip``, from a data set and from the files of a microscope."""

from __future__ import annotations

import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryodask.io.alignments import imod
from cryodask.io.store import Store
from cryodask.kernels.optics import phase_contrast_transfer
from cryodask.model.images import Tomogram
from tests.cli.conftest import COARSE, SYNC, Call, Example

TILTS = np.linspace(-40, 40, 5)
PIXEL = 6.0


def stack_of_points(folder: Path, defocus_um: float) -> Path:
    """Images of points on the tilt axis, as phase contrast shows them at this defocus."""
    ny, nx = 48, 64
    points = np.zeros((ny, nx))
    points[[12, 24, 36], nx // 2] = 1
    k = np.hypot(np.fft.fftfreq(ny, PIXEL)[:, None], np.fft.fftfreq(nx, PIXEL)[None])
    transfer = phase_contrast_transfer(k, voltage_kv=300.0, defocus_um=defocus_um, spherical_aberration_mm=2.7)
    image = 100 + np.fft.ifft2(np.fft.fft2(points) * transfer).real
    path = folder / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(np.repeat(image[None], len(TILTS), axis=0).astype(np.float32))
        file.voxel_size = PIXEL
    imod.write_angles(folder / "a.tlt", TILTS)
    (folder / "a.defocus").write_text(f"1 {len(TILTS)} -40 40 {1000 * defocus_um:.0f} 2\n")
    return path


def test_points_are_dark_and_sharp_again(call: Call, tmp_path: Path) -> None:
    stack = stack_of_points(tmp_path, 4.0)
    files = (stack, "--tilt-angles", tmp_path / "a.tlt", "--thickness", "16", *SYNC)
    assert call("reconstruct", *files, "-o", tmp_path / "plain.mrc").exit_code == 0
    focus = ("--defocus", tmp_path / "a.defocus", "--ctf", "phase-flip")
    done = call("reconstruct", *files, *focus, "-o", tmp_path / "flipped.mrc")
    assert done.exit_code == 0, done.err
    plain, flipped = (mrcfile.read(tmp_path / f"{name}.mrc") for name in ("plain", "flipped"))
    at = (8, 24, 32)
    assert flipped[at] < 2 * plain[at] < 0
    assert np.unravel_index(flipped[:, 18:30].argmin(), flipped[:, 18:30].shape)[1:] == (6, 32)


def test_a_defocus_has_to_come_from_somewhere(call: Call, tmp_path: Path) -> None:
    stack = stack_of_points(tmp_path, 4.0)
    files = (stack, "--tilt-angles", tmp_path / "a.tlt", "--thickness", "16", *SYNC)
    done = call("reconstruct", *files, "--ctf", "phase-flip", "-o", tmp_path / "out.mrc")
    assert done.exit_code == 2
    assert "--defocus FILE" in done.err
    assert not (tmp_path / "out.mrc").exists()


def test_data_sets_know_their_defocus_and_tell_the_search(call: Call, example: Example, tmp_path: Path) -> None:
    own = tmp_path / "own.zarr"
    shutil.copytree(example.data, own)
    assert call("reconstruct", own, "--ctf", "phase-flip", "-o", own, "--overwrite", *SYNC).exit_code == 0
    group = "model_000/tomogram/scale0"
    plain, flipped = (Store(path).open(group) for path in (example.data, own))
    assert flipped.attrs["ctf_correction"] == "phase-flip"
    assert "ctf_correction" not in plain.attrs
    assert not np.array_equal(plain["image"].values, flipped["image"].values)
    assert Tomogram.parse(flipped).phase_flipped
    assert call("match", own, "-o", tmp_path / "picks", *COARSE).exit_code == 0


@pytest.mark.parametrize("handedness", ["2", "0.5"])
def test_handedness_is_a_sign(call: Call, example: Example, tmp_path: Path, handedness: str) -> None:
    arguments = ("--ctf", "phase-flip", "--set", f"reconstruction.defocus_handedness={handedness}", *SYNC)
    done = call("reconstruct", example.data, *arguments, "-o", tmp_path / "x.zarr")
    assert done.exit_code == 2
    assert "defocus_handedness" in done.err
