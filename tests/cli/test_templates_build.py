"""``templates build``: what it writes is the filtered density, and match takes it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from cryodask.io.mrc import read_volume, write_volume
from cryodask.kernels.optics import phase_contrast_transfer
from cryodask.kernels.spectrum import gaussian_low_pass
from tests.cli.conftest import CLASSES, SYNC, Call, Example
from tests.tiny import gaussian

SIGMA = 14.0
OPTICS = {"voltage_kv": 300.0, "defocus_um": 3.65, "spherical_aberration_mm": 2.7}


@pytest.fixture(scope="session")
def blob(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blob") / "blob.mrc"
    write_volume(path, gaussian((40, 40, 40), (19.5, 19.5, 19.5), SIGMA / 4), 4.0)
    return path


@pytest.mark.parametrize("defocus", [None, 3.65])
def test_a_template_is_the_filtered_density(call: Call, blob: Path, tmp_path: Path, defocus: float | None) -> None:
    optics = () if defocus is None else ("--defocus-um", str(defocus))
    called = call(
        "templates", "build", blob, "-o", tmp_path / "out", "--voxel-size", "8", "--box", "27", *optics, *SYNC
    )
    assert called.exit_code == 0, called.err
    volume, voxel = read_volume(tmp_path / "out" / "blob.mrc")
    mask, _ = read_volume(tmp_path / "out" / "blob_mask.mrc")
    assert voxel == 8.0
    assert volume.shape == mask.shape == (27, 27, 27)
    # The Gaussian's own transform, filtered, summed over a box that is wide enough for the fringes.
    n, step = 128, 4.0
    index = np.fft.fftfreq(n, step)
    k = np.sqrt(index[:, None, None] ** 2 + index[:, None] ** 2 + index**2).astype(np.float64)
    spectrum = (2 * math.pi * SIGMA**2) ** 1.5 / step**3 * np.exp(-2 * (math.pi * SIGMA * k) ** 2)
    spectrum = spectrum * gaussian_low_pass(k, 40.0)
    if defocus is not None:
        spectrum = -spectrum * phase_contrast_transfer(k, **OPTICS)
    expected = np.fft.fftshift(np.fft.ifftn(spectrum).real)[
        64 - 26 : 64 + 27 : 2, 64 - 26 : 64 + 27 : 2, 64 - 26 : 64 + 27 : 2
    ]
    inside = mask > 0
    assert np.abs(volume - expected)[inside].max() < 0.01 * expected.max()
    assert volume[13, 13, 13] == volume.max() > 0
    assert mask[13, 13, 13] == 1 == mask.max()
    assert 0 < mask.mean() < 0.6


def test_what_is_built_is_matched(call: Call, example: Example, tmp_path: Path) -> None:
    folder = tmp_path / "built"
    called = call("templates", "build", "builtin", "--classes", ",".join(CLASSES), "-o", folder, *SYNC)
    assert called.exit_code == 0, called.err
    record = json.loads((folder / "templates.json").read_text())
    for row, name in zip(record["templates"], CLASSES, strict=True):
        assert row["template"] == name
        assert row["symmetry"] == name[-2:].upper()
        assert f"{name}: box {row['box_voxels']} voxels, mask radius {row['mask_radius_angstrom']:.1f}" in called.out
        assert 2 * row["mask_radius_angstrom"] < 10 * row["box_voxels"]
    found = call(
        "match", example.tomogram, "--templates", folder, "-o", tmp_path / "picks", "--angular-step", "90", *SYNC
    )
    assert found.exit_code == 0, found.err
    assert "left out of the templates" in found.err
    assert json.loads((tmp_path / "picks" / "job.json").read_text())["templates"] == list(CLASSES)
    again = call("templates", "build", "builtin", "--classes", CLASSES[0], "-o", folder, *SYNC)
    assert again.exit_code == 3
    assert "--overwrite" in again.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--box", "5"), ("does not hold the mask of blob", "--box")),
        (("--low-pass", "12"), ("20 at best",)),
        (("--voxel-size", "-1"), ("positive number",)),
        (("--mask-radius", "0"), ("--mask-radius 0",)),
    ],
)
def test_what_cannot_be_built_is_refused(
    call: Call, blob: Path, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    called = call("templates", "build", blob, "-o", tmp_path / "out", *arguments, *SYNC)
    assert called.exit_code == 2, called.err
    for word in words:
        assert word in called.err
    assert not list(tmp_path.glob("out/*.mrc"))
