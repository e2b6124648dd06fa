"""``match``: masks, parts of a tomogram, both hands, and whatever is wrong with its input, at the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.io.mrc import read_volume, write_volume
from cryodask.io.pick_files import read_picks
from cryodask.io.store import Store
from tests.cli.conftest import CLASSES, SYNC, Call, Example

STEP = ("--angular-step", "90", "--engine", "fft", *SYNC)
EVERYTHING = (slice(None),) * 3


def template(example: Example, name: str) -> Path:
    return example.templates / f"{name}.mrc"


@pytest.fixture(scope="session")
def masks(example: Example, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A mask for each template: where it is dense, and a bit wider along x."""
    folder = tmp_path_factory.mktemp("masks")
    for name in CLASSES:
        density, voxel = read_volume(template(example, name))
        assert voxel is not None
        weights = (density > 0.1 * density.max()).astype(np.float32)
        weights[:, :, 1:-1] = np.maximum(weights[:, :, 1:-1], np.maximum(weights[:, :, :-2], weights[:, :, 2:]))
        write_volume(folder / f"{name}_mask.mrc", weights, voxel)
    return [folder / f"{name}_mask.mrc" for name in CLASSES]


def test_templates_and_masks_in_a_row(call: Call, example: Example, masks: list[Path]) -> None:
    out = example.folder / "masked"
    templates = [template(example, name) for name in CLASSES]
    called = call(
        *("match", example.tomogram, "--templates", *templates, "--masks", *reversed(masks)),
        *("--tilt-angles", example.tilts, "-o", out, *STEP),
    )
    assert called.exit_code == 0, called.err
    record = json.loads((out / "job.json").read_text())
    assert record["templates"] == list(CLASSES)
    store = Store(out / "maps.zarr")
    plain = example.folder / "unmasked"
    repeated = [word for path in templates for word in ("--templates", path)]
    assert call("match", example.tomogram, *repeated, "--tilt-angles", example.tilts, "-o", plain, *STEP).exit_code == 0
    for name in CLASSES:
        under_mask, under_sphere = (
            s.source(f"tomogram/scores/{name}", "score").read(EVERYTHING) for s in (store, Store(plain / "maps.zarr"))
        )
        assert np.nanmax(np.abs(under_mask)) <= 1 + 1e-5
        valid = np.isfinite(under_mask) & np.isfinite(under_sphere)
        assert not np.allclose(under_mask[valid], under_sphere[valid], atol=1e-3)


def test_a_part_of_a_tomogram(call: Call, example: Example) -> None:
    out, specimen = example.folder / "part", np.zeros((16, 32, 32), np.float32)
    specimen[:, :20] = 1
    write_volume(example.folder / "specimen.mrc", specimen, 10.0)
    called = call(
        *("match", example.tomogram, "--templates", example.templates, "-o", out, "--tilt-angles", example.tilts),
        *("--search-region", "6:28,:,4:", "--search-mask", example.folder / "specimen.mrc", *STEP),
    )
    assert called.exit_code == 0, called.err
    score = Store(out / "maps.zarr").source(f"tomogram/scores/{CLASSES[0]}", "score").read(EVERYTHING)
    finite = np.argwhere(np.isfinite(score))
    assert (finite.min(axis=0) >= [4, 0, 6]).all()
    assert (finite.max(axis=0) < [16, 20, 28]).all()
    assert len(finite) > 0.4 * 12 * 20 * 22


def test_both_hands(call: Call, example: Example) -> None:
    out = example.folder / "hands"
    called = call(
        *("match", example.tomogram, "--templates", template(example, CLASSES[0]), "--hands", "both", "-o", out),
        *("--set", "matching.threshold_z=3", "--maps", "mrc", *STEP),
    )
    assert called.exit_code == 0, called.err
    names = [CLASSES[0], f"{CLASSES[0]}-mirrored"]
    assert json.loads((out / "job.json").read_text())["templates"] == names
    scores = [read_volume(out / f"{name}_scores.mrc")[0] for name in names]
    # The tomogram's mirror image shows the mirrored template the scores that the tomogram shows the template.
    volume, _ = read_volume(example.tomogram)
    write_volume(example.folder / "inverted.mrc", np.ascontiguousarray(volume[::-1, ::-1, ::-1]), 10.0)
    other = example.folder / "other_hand"
    arguments = ("--hands", "mirrored", "--maps", "mrc", *STEP)
    called = call(
        "match", example.folder / "inverted.mrc", "--templates", template(example, CLASSES[0]), "-o", other, *arguments
    )
    assert called.exit_code == 0, called.err
    inverted, _ = read_volume(other / f"{names[1]}_scores.mrc")
    np.testing.assert_allclose(inverted[::-1, ::-1, ::-1], scores[0], atol=1e-4)
    assert np.abs(scores[0] - scores[1]).max() > 1e-3


# -- what is wrong -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def wrong(example: Example, masks: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    density, voxel = read_volume(template(example, CLASSES[0]))
    weights, _ = read_volume(masks[0])
    assert voxel is not None
    volume, _ = read_volume(example.tomogram)

    def save(name: str, values: npt.NDArray[Any], size: float = voxel) -> None:
        write_volume(folder / name, np.ascontiguousarray(values, dtype=np.float32), size)

    save("large.mrc", density, 25 * voxel)
    save("flat.mrc", np.full_like(density, 2.0))
    save("nothing.mrc", np.zeros_like(density))
    save("mask_shape.mrc", weights[1:-1])
    save("mask_voxel.mrc", weights, 2 * voxel)
    save("mask_zero.mrc", 0 * weights)
    save("mask_negative.mrc", weights - 0.5)
    save("specimen_shape.mrc", np.ones((8, 8, 8)), 10.0)
    save("specimen_zero.mrc", np.zeros(volume.shape), 10.0)
    content = bytearray(example.tomogram.read_bytes())
    content[1024 + 4000 : 1024 + 4004] = np.float32(np.nan).tobytes()
    (folder / "nan.mrc").write_bytes(content)
    for name, text in (
        ("mirror.txt", "1 0 0 0 1 0 0 0 -1\n"),
        ("stretched.txt", "1 0 0 0 1 0 0 0 1\n2 0 0 0 1 0 0 0 1\n"),
        ("words.txt", "0 0 0\n0 ninety 0\n"),
        ("none.txt", "# nothing\n"),
    ):
        (folder / name).write_text(text)
    (folder / "empty").mkdir()
    return folder


WRONG = {
    "template larger than the tomogram": (
        ("--templates", "{w}/large.mrc"),
        3,
        ("template large", "check the voxel sizes"),
    ),
    "flat template": (("--templates", "{w}/flat.mrc"), 3, ("flat.mrc", "is constant, 2")),
    "template without density": (("--templates", "{w}/nothing.mrc"), 3, ("nothing.mrc", "no positive density")),
    "no template in the folder": (("--templates", "{w}/empty"), 3, ("empty", "no")),
    "mask of another shape": (("--masks", "{w}/mask_shape.mrc"), 3, ("mask_shape.mrc", "box of its template")),
    "mask of another voxel": (("--masks", "{w}/mask_voxel.mrc"), 3, ("mask_voxel.mrc", "5 angstrom", "of 2.5")),
    "mask of zeros": (("--masks", "{w}/mask_zero.mrc"), 3, ("mask_zero.mrc", "some above 0")),
    "mask below zero": (("--masks", "{w}/mask_negative.mrc"), 3, ("mask_negative.mrc", "not negative")),
    "masks without templates": (("--masks", "{m}", "{m}"), 2, ("2 --masks for 1 templates", "one for each")),
    "mask and low rank": (("--masks", "{m}", "--engine", "low-rank"), 2, ("needs the engine fft",)),
    "mirroring angles": (("--angles", "{w}/mirror.txt"), 3, ("mirror.txt, line 1", "determinant -1")),
    "stretching angles": (("--angles", "{w}/stretched.txt"), 3, ("stretched.txt, line 2", "no rotation")),
    "angles of words": (("--angles", "{w}/words.txt"), 3, ("words.txt, line 2", "ninety")),
    "no angles": (("--angles", "{w}/none.txt"), 3, ("none.txt", "lists no rotations")),
    "region outside": (("--search-region", "0:99,:,:"), 2, ("0:99 along x", "32 voxels")),
    "region of words": (("--search-region", "left"), 2, ("X0:X1,Y0:Y1,Z0:Z1",)),
    "empty region": (("--search-region", ":,9:9,:"), 2, ("9:9 along y",)),
    "specimen of another shape": (("--search-mask", "{w}/specimen_shape.mrc"), 3, ("8 x 8 x 8", "16 x 32 x 32")),
    "no specimen": (("--search-mask", "{w}/specimen_zero.mrc"), 3, ("nothing to search",)),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_what_is_wrong_is_said_once_and_leaves_nothing(
    case: str, call: Call, example: Example, masks: list[Path], wrong: Path, tmp_path: Path
) -> None:
    arguments, code, words = WRONG[case]
    given = [a.format(w=wrong, m=masks[0]) for a in arguments]
    if "--templates" not in given:
        given = ["--templates", str(template(example, CLASSES[0])), *given]
    called = call("match", example.tomogram, *given, "-o", tmp_path / "out", "--angular-step", "90", *SYNC)
    assert called.exit_code == code, called.err
    assert called.err.lower().count("error: ") == 1, called.err
    assert "Traceback" not in called.err
    for word in words:
        assert word in called.err
    assert not (tmp_path / "out").exists()


def test_a_tomogram_with_nan_is_refused(call: Call, example: Example, wrong: Path, tmp_path: Path) -> None:
    called = call("match", wrong / "nan.mrc", "--templates", example.templates, "-o", tmp_path / "out", *STEP)
    assert called.exit_code == 3
    assert "nan.mrc" in called.err
    assert not (tmp_path / "out").exists()


def test_a_threshold_that_nothing_reaches_gives_an_empty_list(call: Call, example: Example, tmp_path: Path) -> None:
    for engine in ("fft", "low-rank"):
        out = tmp_path / engine
        arguments = ("--engine", engine, "--angular-step", "60", "--set", "matching.threshold_z=500", *SYNC)
        called = call("match", example.tomogram, "--templates", template(example, CLASSES[0]), "-o", out, *arguments)
        assert called.exit_code == 0, called.err
        assert "no score reaches matching.threshold_z = 500" in called.err
        assert json.loads((out / "job.json").read_text())["picks"] == 0
        assert len(read_picks(out / "picks.star")) == 0
