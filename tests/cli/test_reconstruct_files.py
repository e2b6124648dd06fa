"""``cryodask reconstruct`` on the files of a microscope: alignments are undone, files heard, options obeyed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from cryodask.io.alignments import aretomo, imod, relion, warp
from cryodask.io.mrc import write_volume
from cryodask.io.store import Store
from cryodask.model.alignment import TiltAlignment
from tests.cli.conftest import SYNC, Call
from tests.cli.recorded import INNER, SHAPE, THICKNESS, TILTS, N, Reconstruct, Volume, imod_files, mdoc_text, scattered
from tests.phantom import BLOBS, PIXEL, images, places, relative_l2, write_stack

ALIGNMENTS: dict[str, dict[str, Any]] = {
    "shifts": {"shift_x_px": scattered(1), "shift_y_px": scattered(2)},
    "axis": {"tilt_axis_deg": -12.5},
    "axis each": {"tilt_axis_deg": 5 + scattered(3, 0.5), "shift_x_px": scattered(4)},
    "x tilt": {"x_tilt_deg": 4.0},
    "x tilt each": {"x_tilt_deg": -3 + scattered(5, 0.2), "tilt_axis_deg": 7.0, "shift_y_px": scattered(6)},
}


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_what_was_done_to_the_images_is_undone(
    reconstruct: Reconstruct, tmp_path: Path, upright: Volume, name: str
) -> None:
    alignment = TiltAlignment.of(TILTS, **ALIGNMENTS[name])
    stack = write_stack(tmp_path / "a.mrc", alignment, SHAPE)
    volume = reconstruct(stack, *imod_files(tmp_path, alignment), *THICKNESS)
    np.testing.assert_allclose(places(volume), np.array(BLOBS), atol=0.15)
    # With an x tilt the missing wedge lies otherwise, so that even a perfect tomogram differs.
    assert relative_l2(volume[INNER], upright[INNER]) < (0.07 if "x tilt" in name else 0.02)
    # Without its alignment the series gives something else.
    left = reconstruct(stack, "--tilt-angles", tmp_path / "a.tlt", *THICKNESS, name="left.mrc")
    assert relative_l2(left[INNER], upright[INNER]) > 0.15


def test_an_axis_along_x_gives_a_tomogram_of_the_other_shape(
    reconstruct: Reconstruct, tmp_path: Path, upright: Volume
) -> None:
    alignment = TiltAlignment.of(TILTS, tilt_axis_deg=85.0, shift_x_px=scattered(7))
    stack = write_stack(tmp_path / "a.mrc", alignment, (72, 64))
    volume = reconstruct(stack, *imod_files(tmp_path, alignment), *THICKNESS)
    assert volume.shape == upright.shape == (32, 64, 72)
    assert relative_l2(volume[INNER], upright[INNER]) < 0.02


def test_a_positive_tilt_moves_what_lies_high_to_the_right(reconstruct: Reconstruct, tmp_path: Path) -> None:
    """Handedness, without the phantom's formulas: one dark dot drawn where u = z sin(tilt) says, comes back at +z."""
    z = 9
    stack = np.full((N, 40, 48), 100, dtype=np.float32)
    for index, tilt in enumerate(TILTS):
        u = 23.5 + z * np.sin(np.radians(tilt))
        for x in (int(np.floor(u)), int(np.floor(u)) + 1):
            stack[index, 18:21, x] -= 30 * (1 - abs(x - u))
    write_volume(tmp_path / "a.mrc", stack, PIXEL, stack=True)
    imod.write_angles(tmp_path / "a.tlt", TILTS)
    volume = reconstruct(tmp_path / "a.mrc", "--tilt-angles", tmp_path / "a.tlt", "--thickness", "31")
    lowest = np.unravel_index(int(volume.argmin()), volume.shape)
    assert int(lowest[0]) == 15 + z
    assert int(lowest[1]) in (18, 19, 20)
    assert int(lowest[2]) in (23, 24)


def test_workers_and_slabs_change_no_bit(call: Call, tmp_path: Path) -> None:
    alignment = TiltAlignment.of(TILTS, tilt_axis_deg=3.0, x_tilt_deg=2.0, shift_x_px=scattered(8))
    stack = write_stack(tmp_path / "a.mrc", alignment, SHAPE)
    files = (*imod_files(tmp_path, alignment), *THICKNESS)
    found = []
    for name, how in (
        ("one", SYNC),
        ("rows", (*SYNC, "--set", "reconstruction.slab_voxels=9", "--bin", "1")),
        ("two", ("--workers", "2", "--memory-limit", "1GiB")),
    ):
        called = call("reconstruct", stack, *files, "-o", tmp_path / f"{name}.mrc", *how)
        assert called.exit_code == 0, called.err
        found.append(mrcfile.read(tmp_path / f"{name}.mrc"))
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


# -- what files say ------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> tuple[Path, TiltAlignment]:
    """A folder as etomo leaves it, and its true alignment: views 3 and 31 (from 1) are spoilt and excluded."""
    folder = tmp_path / "TS"
    folder.mkdir()
    excluded = np.zeros(N, dtype=bool)
    excluded[[2, 30]] = True
    truth = TiltAlignment.of(
        TILTS, tilt_axis_deg=4.0, x_tilt_deg=1.5, shift_x_px=scattered(9), shift_y_px=scattered(10), excluded=excluded
    )
    stack = images(truth, SHAPE)
    stack[excluded] = np.random.default_rng(0).poisson(50, stack[excluded].shape)
    write_volume(folder / "TS.st", stack, PIXEL, stack=True)
    imod.write_angles(folder / "TS.tlt", truth.tilt_deg - 2.0)
    imod.write_angles(folder / "TS.xtilt", truth.x_tilt_deg - 0.5)
    imod.write_xf(folder / "TS.xf", truth.matrix_xy, truth.shift_x_px, truth.shift_y_px)
    (folder / "tilt.com").write_text(
        "$tilt -StandardInput\nInputProjections TS_ali.mrc\nOutputFile TS_full_rec.mrc\nIMAGEBINNED 1\n"
        "TILTFILE TS.tlt\nXTILTFILE TS.xtilt\nTHICKNESS 32\nXAXISTILT 0.5\nOFFSET 2.0\nEXCLUDELIST2 3\n"
    )
    (folder / "newst.com").write_text(
        "$newstack -StandardInput\nInputFile TS.st\nOutputFile TS_ali.mrc\nTransformFile TS.xf\n"
    )
    (folder / "TS.edf").write_text("Setup.DatasetName=TS\nSetup.AxisA.ExcludeProjections=31\n")
    return folder, truth


def test_a_folder_of_imod(reconstruct: Reconstruct, project: tuple[Path, TiltAlignment], upright: Volume) -> None:
    """tilt.com is all that has to be named: angles, offset, x tilt, transforms, thickness, exclusions come with it."""
    folder, truth = project
    volume = reconstruct(folder / "TS.st", "--tilt-com", folder / "tilt.com")
    assert volume.shape == upright.shape
    np.testing.assert_allclose(places(volume), np.array(BLOBS), atol=0.2)
    explicit = reconstruct(
        folder / "TS.st",
        *imod_files(folder, truth),
        *("--exclude", "2,30", *THICKNESS),
        name="explicit.mrc",
    )
    assert relative_l2(volume[INNER], explicit[INNER]) < 1e-3


def test_an_aligned_stack_is_not_aligned_again(
    reconstruct: Reconstruct, project: tuple[Path, TiltAlignment], upright: Volume
) -> None:
    folder, truth = project
    aligned = TiltAlignment.of(truth.tilt_deg, x_tilt_deg=truth.x_tilt_deg, excluded=truth.excluded)
    write_stack(folder / "TS_ali.mrc", aligned, SHAPE)
    volume = reconstruct(folder / "TS_ali.mrc", "--tilt-com", folder / "tilt.com")
    np.testing.assert_allclose(places(volume), np.array(BLOBS), atol=0.2)


def test_options_win_over_files_and_say_so(reconstruct: Reconstruct, project: tuple[Path, TiltAlignment]) -> None:
    folder, _ = project
    stack, com = folder / "TS.st", ("--tilt-com", folder / "tilt.com")
    own = reconstruct(stack, *com)
    changed = reconstruct(
        stack,
        *com,
        *("--exclude", "0,2,30", "--tilt-axis", "9", "--x-tilt", "-2", "--angle-offset", "5", "--thickness", "20"),
        *("--voxel-size", "8"),
        name="changed.mrc",
    )
    said = reconstruct.said  # type: ignore[attr-defined]
    assert changed.shape[0] == 20
    for part in (
        "--exclude 0, 2, 30 is used",
        "leaves out 2, 30",
        "--tilt-axis 9 is used",
        "--x-tilt -2 is used",
        "--angle-offset 5 is used",
        "--voxel-size 8 is used, the header",
    ):
        assert part in said, said
    assert relative_l2(changed[:, INNER[1], INNER[2]], own[6:26, INNER[1], INNER[2]]) > 0.2


def test_exclusions_leave_no_gap(reconstruct: Reconstruct, tmp_path: Path, upright: Volume) -> None:
    """The neighbours of an image that is left out take over its share of the angular range."""
    stack = images(TiltAlignment.of(TILTS), SHAPE)
    spoilt = stack.copy()
    spoilt[[4, 15, 16]] = 500
    write_volume(tmp_path / "a.mrc", spoilt, PIXEL, stack=True)
    imod.write_angles(tmp_path / "a.tlt", TILTS)
    angles = ("--tilt-angles", tmp_path / "a.tlt", *THICKNESS)
    without = reconstruct(tmp_path / "a.mrc", *angles, "--exclude", "4,15-16")
    gain = float((without[INNER] * upright[INNER]).sum() / (upright[INNER] ** 2).sum())
    assert gain == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(places(without), np.array(BLOBS), atol=0.2)


def test_uneven_tilts_in_any_order(reconstruct: Reconstruct, tmp_path: Path, upright: Volume) -> None:
    rng = np.random.default_rng(3)
    tilts = rng.permutation(np.concatenate([np.linspace(-60, 0, 12), np.linspace(3, 60, 26)]))
    stack = write_stack(tmp_path / "a.mrc", TiltAlignment.of(tilts), SHAPE)
    imod.write_angles(tmp_path / "a.rawtlt", tilts)
    volume = reconstruct(stack, "--tilt-angles", tmp_path / "a.rawtlt", *THICKNESS)
    gain = float((volume[INNER] * upright[INNER]).sum() / (upright[INNER] ** 2).sum())
    assert gain == pytest.approx(1, abs=0.03)
    np.testing.assert_allclose(places(volume), np.array(BLOBS), atol=0.2)


def test_an_aln_of_aretomo(reconstruct: Reconstruct, tmp_path: Path, upright: Volume) -> None:
    excluded = np.arange(N) == 5
    truth = TiltAlignment.of(
        TILTS, tilt_axis_deg=-3.0, shift_x_px=scattered(11), shift_y_px=scattered(12), excluded=excluded
    )
    stack = write_stack(tmp_path / "a.mrc", truth, SHAPE)
    aretomo.write_aln(tmp_path / "a.aln", truth, SHAPE)
    volume = reconstruct(stack, "--aln", tmp_path / "a.aln", *THICKNESS)
    np.testing.assert_allclose(places(volume), np.array(BLOBS), atol=0.2)
    assert "leaves out images 5 as dark" in reconstruct.said  # type: ignore[attr-defined]
    reconstruct(stack, "--aln", tmp_path / "a.aln", *THICKNESS, "--tilt-axis", "10", name="turned.mrc")
    assert "--tilt-axis 10 is used" in reconstruct.said  # type: ignore[attr-defined]


def test_an_aln_for_unbinned_images(reconstruct: Reconstruct, tmp_path: Path, upright: Volume) -> None:
    truth = TiltAlignment.of(TILTS, tilt_axis_deg=2.0, shift_x_px=scattered(13))
    stack = write_stack(tmp_path / "a.mrc", truth, SHAPE)
    unbinned = truth.changed(shift_x_px=4 * truth.shift_x_px)
    aretomo.write_aln(tmp_path / "a.aln", unbinned, (4 * SHAPE[0], 4 * SHAPE[1]))
    volume = reconstruct(stack, "--aln", tmp_path / "a.aln", *THICKNESS)
    assert relative_l2(volume[INNER], upright[INNER]) < 0.02
    assert "binned by 4" in reconstruct.said  # type: ignore[attr-defined]


def test_a_warp_xml_beside_its_stack(reconstruct: Reconstruct, tmp_path: Path, upright: Volume) -> None:
    truth = TiltAlignment.of(TILTS, tilt_axis_deg=-6.0, shift_x_px=scattered(14), shift_y_px=scattered(15))
    place = tmp_path / "tiltstack" / "TS_1" / "TS_1.st"
    place.parent.mkdir(parents=True)
    write_stack(place, truth, SHAPE)
    warp.write_warp(tmp_path / "TS_1.xml", truth, pixel_size_angstrom=PIXEL, size_px=(32, *SHAPE))
    by_itself = reconstruct(tmp_path / "TS_1.xml", *THICKNESS)
    assert relative_l2(by_itself[INNER], upright[INNER]) < 0.02
    named = reconstruct(place, "--warp", tmp_path / "TS_1.xml", *THICKNESS, name="named.mrc")
    np.testing.assert_array_equal(by_itself, named)


def test_a_relion_project(call: Call, tmp_path: Path, upright: Volume) -> None:
    """Two tomograms, images in separate files; both go into a data set, one of them into an MRC file."""
    truth = TiltAlignment.of(TILTS, tilt_axis_deg=3.0, shift_x_px=scattered(16), shift_y_px=scattered(17))
    (tmp_path / "motion").mkdir()
    for name, image in zip([f"{i:03d}" for i in range(N)], images(truth, SHAPE), strict=True):
        write_volume(tmp_path / "motion" / f"{name}.mrc", image[None], PIXEL, stack=True)
    job = tmp_path / "Tomograms" / "job001"
    settings: dict[str, Any] = {"pixel_size_angstrom": PIXEL, "size_px": (32, *SHAPE), "optics": {"voltage_kv": 300.0}}
    relion.write_tomogram(job, "one", truth, stack="x.mrc", **settings)
    star = job / "tilt_series" / "one.star"
    text = star.read_text()
    for index in range(N):
        text = text.replace(f"{index + 1:06d}@x.mrc", f"motion/{index:03d}.mrc")
    star.write_text(text)
    table = job / "tomograms.star"
    row = next(line for line in table.read_text().splitlines() if line.startswith("one"))
    table.write_text(table.read_text().replace(row, f"{row}\n{row.replace('one', 'two', 1)}"))
    both = call("reconstruct", table, "-o", tmp_path / "both.zarr", *SYNC)
    assert both.exit_code == 0, both.err
    for name in ("one", "two"):
        volume = Store(tmp_path / "both.zarr").source(f"{name}/tomogram/scale0", "image").read((slice(None),) * 3)
        assert volume.shape == upright.shape
        assert relative_l2(volume[INNER], upright[INNER]) < 0.02
    refused = call("reconstruct", table, "-o", tmp_path / "a.mrc", *SYNC)
    assert refused.exit_code == 2
    assert "choose one by --tomogram" in refused.err
    star.write_text(_with_column(text, "rlnTomoDeformationCoefficients", "[0.1,0.2]"))
    chosen = call("reconstruct", table, "--tomogram", "two", "-o", tmp_path / "a.mrc", *SYNC)
    assert chosen.exit_code == 0, chosen.err
    assert "rlnTomoDeformationCoefficients of two" in chosen.err.replace("\n", " ")


def _with_column(star: str, name: str, value: str) -> str:
    """A table with one more column of one value."""
    lines = star.splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("_"))
    count = sum(line.startswith("_") for line in lines)
    rows = [f"{line} {value}" if line.strip() else line for line in lines[last + 1 :]]
    return "\n".join([*lines[: last + 1], f"_{name} #{count + 1}", *rows, ""])


def test_a_mdoc_gives_angles_and_axis(reconstruct: Reconstruct, tmp_path: Path, upright: Volume) -> None:
    stack = write_stack(tmp_path / "a.mrc", TiltAlignment.of(TILTS, tilt_axis_deg=-8.0), SHAPE)
    (tmp_path / "a.mdoc").write_text(mdoc_text(TILTS, np.arange(N), -8.0))
    volume = reconstruct(stack, "--mdoc", tmp_path / "a.mdoc", *THICKNESS)
    assert relative_l2(volume[INNER], upright[INNER]) < 0.02
    assert "tilt axis is at -8 degrees" in reconstruct.said  # type: ignore[attr-defined]


def test_a_data_set_as_output_has_a_pyramid_and_is_resumed(call: Call, tmp_path: Path, upright: Volume) -> None:
    stack = write_stack(tmp_path / "TS 1.mrc", TiltAlignment.of(TILTS), (128, 144))
    imod.write_angles(tmp_path / "a.tlt", TILTS)
    command = ("reconstruct", stack, "--tilt-angles", tmp_path / "a.tlt", *THICKNESS, "-o", tmp_path / "a.zarr", *SYNC)
    assert call(*command).exit_code == 0
    store = Store(tmp_path / "a.zarr")
    names = [entry.path for entry in store.groups()]
    assert names == ["TS_1/tomogram/scale0", "TS_1/tomogram/scale1", "TS_1/tomogram/scale2"]
    fine = store.source(names[0], "image").read((slice(None),) * 3)
    assert relative_l2(fine[:, 46:-46, 50:-50], upright[:, 14:-14, 14:-14]) < 0.02
    for level, name in enumerate(names):
        factor = 2**level
        nz, ny, nx = (n // factor for n in fine.shape)
        expected = fine.reshape(nz, factor, ny, factor, nx, factor).mean(axis=(1, 3, 5))
        np.testing.assert_allclose(store.source(name, "image").read((slice(None),) * 3), expected, atol=1e-6)
    levels = store.info("TS_1/tomogram")["ome"]["multiscales"][0]["datasets"]
    assert [level["path"] for level in levels] == ["scale0/image", "scale1/image", "scale2/image"]
    again = call(*command)
    assert again.exit_code == 0
    assert "images" not in again.err  # nothing is left to do
    shutil.rmtree(tmp_path / "a.zarr")
