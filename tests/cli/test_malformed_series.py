"""Damaged and contradictory files of a microscope: one clear message, exit code 3, nothing written."""

from __future__ import annotations

import bz2
import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cryodask.io.alignments import aretomo, imod, relion, warp
from cryodask.model.alignment import TiltAlignment
from tests.cli.conftest import SYNC, Call
from tests.phantom import PIXEL, write_stack

N = 7
TILTS = np.linspace(-60, 60, N)
SHAPE = (20, 24)


@dataclass(frozen=True)
class Folder:
    """One sound series with every kind of file; a case spoils one of them."""

    path: Path

    def file(self, name: str) -> Path:
        return self.path / name

    def lines(self, name: str) -> list[str]:
        return self.file(name).read_text().splitlines()

    def write(self, name: str, lines: list[str]) -> None:
        self.file(name).write_text("\n".join(lines) + "\n")

    def line(self, name: str, number: int, text: str) -> None:
        """Put another line in place of line ``number``, from 0."""
        lines = self.lines(name)
        lines[number] = text
        self.write(name, lines)

    def replaced(self, name: str, old: str, new: str) -> None:
        text = self.file(name).read_text()
        assert old in text
        self.file(name).write_text(text.replace(old, new, 1))

    def poke(self, offset: int, form: str, *values: float) -> None:
        content = bytearray(self.file("a.mrc").read_bytes())
        struct.pack_into(form, content, offset, *values)
        self.file("a.mrc").write_bytes(content)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    path = tmp_path / "series"
    (path / "job").mkdir(parents=True)
    alignment = TiltAlignment.of(
        TILTS, tilt_axis_deg=5.0, shift_x_px=1.0, prior_dose_e_per_a2=np.arange(N) * 3.0, acquisition_order=np.arange(N)
    )
    write_stack(path / "a.mrc", alignment, SHAPE)
    imod.write_angles(path / "a.tlt", TILTS)
    imod.write_angles(path / "a.xtilt", np.zeros(N))
    imod.write_xf(path / "a.xf", alignment.matrix_xy, alignment.shift_x_px, alignment.shift_y_px)
    (path / "tilt.com").write_text("$tilt -StandardInput\nTILTFILE a.tlt\nTHICKNESS 8\nEXCLUDELIST2 2\n")
    aretomo.write_aln(path / "a.aln", alignment, SHAPE)
    warp.write_warp(path / "a.xml", alignment, pixel_size_angstrom=PIXEL, size_px=(8, *SHAPE))
    (path / "a.mdoc").write_text(
        f"PixelSpacing = {PIXEL}\nImageFile = a.mrc\n\n"
        + "".join(f"[ZValue = {z}]\nTiltAngle = {tilt:.2f}\nExposureDose = 3\n\n" for z, tilt in enumerate(TILTS))
    )
    relion.write_tomogram(
        path / "job", "one", alignment, stack="a.mrc", pixel_size_angstrom=PIXEL, size_px=(8, *SHAPE), optics={}
    )
    return Folder(path)


Spoil = Callable[[Folder], object]
TLT = ("a.mrc", "--tilt-angles", "a.tlt")
XF = (*TLT, "--xf", "a.xf")
COM = ("a.mrc", "--tilt-com", "tilt.com")
ALN = ("a.mrc", "--aln", "a.aln")
MDOC = ("a.mrc", "--mdoc", "a.mdoc")
WARP = ("a.xml",)
STAR = ("job/tomograms.star",)
TILT_STAR = "job/tilt_series/one.star"


def short(f: Folder, share: float) -> None:
    content = f.file("a.mrc").read_bytes()
    f.file("a.mrc").write_bytes(content[: int(len(content) * share)])


def packed(f: Folder, how: Callable[[bytes], bytes], keep: float) -> None:
    content = how(f.file("a.mrc").read_bytes())
    f.file("a.mrc").write_bytes(content[: int(len(content) * keep)])


def into_folder(f: Folder, name: str) -> None:
    f.file(name).unlink()
    f.file(name).mkdir()


def as_volumes(f: Folder) -> None:
    """Mark the stack as one of volumes of one section each."""
    f.poke(88, "<i", 401)
    f.poke(36, "<i", 1)


def last_tilt(f: Folder, name: str, text: str) -> None:
    """Another word for the angle of the last tilt in a RELION star file."""
    lines = f.lines(TILT_STAR)
    columns = [line.split()[0][1:] for line in lines if line.startswith("_")]
    row = max(index for index, line in enumerate(lines) if line.strip())
    words = lines[row].split()
    words[columns.index(name)] = text
    f.line(TILT_STAR, row, " ".join(words))


CASES: dict[str, tuple[tuple[str, ...], Spoil, tuple[str, ...]]] = {
    # the stack
    "cut in the middle": (TLT, lambda f: short(f, 0.5), ("a.mrc", "cut short")),
    "cut in the header": (TLT, lambda f: f.file("a.mrc").write_bytes(b"x" * 100), ("a.mrc", "only 100 bytes")),
    "empty": (TLT, lambda f: f.file("a.mrc").write_bytes(b""), ("a.mrc", "0 bytes")),
    "no MRC at all": (TLT, lambda f: f.file("a.mrc").write_text("hello\n" * 500), ("a.mrc", "not an MRC file")),
    "gone": (TLT, lambda f: f.file("a.mrc").unlink(), ("a.mrc", "no such file")),
    "a folder": (TLT, lambda f: into_folder(f, "a.mrc"), ("a.mrc", "is a folder")),
    "permuted axes": (TLT, lambda f: f.poke(64, "<3i", 3, 2, 1), ("a.mrc", "axis order")),
    "axes of no meaning": (TLT, lambda f: f.poke(64, "<3i", 1, 1, 2), ("a.mrc", "not an MRC file")),
    "complex numbers": (TLT, lambda f: f.poke(12, "<i", 4), ("a.mrc", "mode 4")),
    "an unknown mode": (TLT, lambda f: f.poke(12, "<i", 77), ("a.mrc", "not an MRC file")),
    "a huge header": (TLT, lambda f: f.poke(0, "<3i", *[2**31 - 1] * 3), ("a.mrc", "bytes, but the file has")),
    "negative sizes": (TLT, lambda f: f.poke(0, "<i", -5), ("a.mrc", "not an MRC file")),
    "a huge extended header": (TLT, lambda f: f.poke(92, "<i", 2**30), ("a.mrc", "cut short")),
    "no pixel size": (TLT, lambda f: f.poke(40, "<3f", 0, 0, 0), ("a.mrc", "--voxel-size")),
    "a tiny pixel size": (TLT, lambda f: f.poke(40, "<2f", 24e-4, 20e-4), ("a.mrc", "--voxel-size")),
    "a pixel size that is NaN": (TLT, lambda f: f.poke(40, "<f", float("nan")), ("a.mrc", "--voxel-size")),
    "oblong pixels": (TLT, lambda f: f.poke(40, "<f", 400.0), ("a.mrc", "not cubes")),
    "NaN in an image": (TLT, lambda f: f.poke(1024 + 4 * 500, "<f", float("nan")), ("a.mrc", "section 1", "NaN")),
    "infinity in an image": (TLT, lambda f: f.poke(1024, "<f", float("inf")), ("a.mrc", "section 0", "infinite")),
    "a stack of volumes": (TLT, as_volumes, ("a.mrc", "stack of volumes")),
    "cut gzip": (TLT, lambda f: packed(f, gzip.compress, 0.6), ("a.mrc", "cannot be read")),
    "cut bzip2": (TLT, lambda f: packed(f, bz2.compress, 0.6), ("a.mrc",)),
    "gzip that is no MRC": (
        TLT,
        lambda f: f.file("a.mrc").write_bytes(gzip.compress(b"0" * 5000)),
        ("a.mrc", "not an MRC file"),
    ),
    "gzip of half a stack": (
        TLT,
        lambda f: f.file("a.mrc").write_bytes(gzip.compress(f.file("a.mrc").read_bytes()[:5000])),
        ("a.mrc", "cut short"),
    ),
    # angles
    "too few angles": (TLT, lambda f: f.write("a.tlt", f.lines("a.tlt")[:-1]), ("a.tlt", "6 images", "has 7")),
    "too many angles": (TLT, lambda f: f.write("a.tlt", [*f.lines("a.tlt"), "63"]), ("a.tlt", "8 images", "has 7")),
    "a word": (TLT, lambda f: f.line("a.tlt", 2, "zero"), ("a.tlt", "line 3", "'zero'")),
    "an angle that is NaN": (TLT, lambda f: f.line("a.tlt", 1, "nan"), ("a.tlt", "line 2", "'nan'")),
    "an infinite angle": (TLT, lambda f: f.line("a.tlt", 1, "1e999"), ("a.tlt", "line 2")),
    "an angle of 400": (TLT, lambda f: f.line("a.tlt", 0, "400"), ("a.tlt", "400")),
    "two columns": (TLT, lambda f: f.line("a.tlt", 4, "20 1"), ("a.tlt", "line 5", "2 values")),
    "no angles": (TLT, lambda f: f.file("a.tlt").write_text("\n"), ("a.tlt", "is empty")),
    "one angle for all": (TLT, lambda f: f.write("a.tlt", ["0"] * N), ("two different tilts",)),
    "a binary file for angles": (TLT, lambda f: f.file("a.tlt").write_bytes(bytes(range(99))), ("a.tlt", "binary")),
    "angle file gone": (TLT, lambda f: f.file("a.tlt").unlink(), ("a.tlt", "no such file")),
    "angle file is a folder": (TLT, lambda f: into_folder(f, "a.tlt"), ("a.tlt",)),
    "nothing says the angles": (("a.mrc",), lambda f: None, ("give --tilt-angles", "a.tlt")),
    # transforms
    "a singular transform": (XF, lambda f: f.line("a.xf", 3, "1 0 1 0 0 0"), ("a.xf", "view 4 is singular")),
    "zeros": (XF, lambda f: f.line("a.xf", 0, "0 0 0 0 0 0"), ("a.xf", "view 1 is singular")),
    "a mirror": (XF, lambda f: f.line("a.xf", 2, "-1 0 0 1 0 0"), ("image 2", "mirrors")),
    "a scale of ten": (XF, lambda f: f.line("a.xf", 2, "10 0 0 10 0 0"), ("image 2", "scales")),
    "a transform of five numbers": (XF, lambda f: f.line("a.xf", 2, "1 0 0 1 0"), ("a.xf", "line 3", "5 values")),
    "a transform with NaN": (XF, lambda f: f.line("a.xf", 2, "1 0 0 1 nan 0"), ("a.xf", "line 3", "'nan'")),
    "too few transforms": (XF, lambda f: f.write("a.xf", f.lines("a.xf")[1:]), ("a.xf", "6 images", "has 7")),
    "too few x tilts": ((*TLT, "--xtilt", "a.xtilt"), lambda f: f.write("a.xtilt", ["0"]), ("a.xtilt", "1 images")),
    "an x tilt of 80": ((*TLT, "--xtilt", "a.xtilt"), lambda f: f.line("a.xtilt", 0, "80"), ("x tilt", "80")),
    # tilt.com
    "no settings": (COM, lambda f: f.file("tilt.com").write_text("# nothing\n"), ("tilt.com", "no settings")),
    "a thickness of a word": (COM, lambda f: f.replaced("tilt.com", "8", "thick"), ("tilt.com", "line 3", "'thick'")),
    "a thickness of 0": (COM, lambda f: f.replaced("tilt.com", "S 8", "S 0"), ("tilt.com", "THICKNESS 0")),
    "a view of 0": (COM, lambda f: f.replaced("tilt.com", "LIST2 2", "LIST2 0"), ("tilt.com", "line 4", "'0'")),
    "a view too many": (COM, lambda f: f.replaced("tilt.com", "LIST2 2", "LIST2 9"), ("tilt.com", "no image 8")),
    "views of words": (COM, lambda f: f.replaced("tilt.com", "LIST2 2", "LIST2 a-b"), ("tilt.com", "'a-b'")),
    "views backwards": (COM, lambda f: f.replaced("tilt.com", "LIST2 2", "LIST2 6-3"), ("tilt.com", "'6-3'")),
    "all views out": (COM, lambda f: f.replaced("tilt.com", "LIST2 2", "LIST2 1-7"), ("two different tilts",)),
    "billions of views": (COM, lambda f: f.replaced("tilt.com", "LIST2 2", "LIST2 1-9999999999"), ("tilt.com",)),
    # .aln
    "an .aln cut short": (ALN, lambda f: f.write("a.aln", f.lines("a.aln")[:-2]), ("a.aln", "cut short")),
    "an .aln of another series": (ALN, lambda f: f.replaced("a.aln", "20 7", "20 9"), ("a.aln", "do not make the 9")),
    "an .aln of other images": (ALN, lambda f: f.replaced("a.aln", "24 20 7", "24 90 7"), ("a.aln", "not the same")),
    "an .aln with a word": (ALN, lambda f: f.line("a.aln", -1, "7 x 1 0 0 1 1 1 0 60"), ("a.aln", "not a sound")),
    "an .aln with NaN": (ALN, lambda f: f.line("a.aln", -1, "7 5 1 nan 0 1 1 1 0 60"), ("a.aln", "shift")),
    "an .aln with too few columns": (ALN, lambda f: f.line("a.aln", -1, "7 5 1"), ("a.aln", "not a sound")),
    "an .aln that is none": (ALN, lambda f: f.file("a.aln").write_text("hello"), ("a.aln", "not an AreTomo")),
    "an .aln without a size": (ALN, lambda f: f.replaced("a.aln", "RawSize = 24 20 7", "RawSize = x"), ("a.aln",)),
    # .mdoc
    "an .mdoc without sections": (MDOC, lambda f: f.file("a.mdoc").write_text("Voltage = 300\n"), ("a.mdoc",)),
    "an .mdoc without an angle": (MDOC, lambda f: f.replaced("a.mdoc", "TiltAngle = -20.00", "X = 1"), ("section 2",)),
    "an .mdoc with a word": (MDOC, lambda f: f.replaced("a.mdoc", "-20.00", "many"), ("a.mdoc", "not a sound")),
    "an .mdoc that is text": (MDOC, lambda f: f.file("a.mdoc").write_text("hello\n"), ("a.mdoc",)),
    "an .mdoc of too few images": (
        MDOC,
        lambda f: f.file("a.mdoc").write_text(f.file("a.mdoc").read_text().partition("[ZValue = 5]")[0]),
        ("a.mdoc", "5 images", "has 7"),
    ),
    "an .mdoc of another series": (
        (*TLT, "--mdoc", "a.mdoc"),
        lambda f: f.replaced("a.mdoc", "-20.00", "-33"),
        ("a.mdoc", "different tilt series"),
    ),
    # Warp
    "no XML": (WARP, lambda f: f.file("a.xml").write_text("hello"), ("a.xml", "not sound XML")),
    "another XML": (WARP, lambda f: f.file("a.xml").write_text("<Particles/>"), ("a.xml", "not Warp's XML")),
    "an XML bomb": (
        WARP,
        lambda f: f.file("a.xml").write_text(
            '<!DOCTYPE x [<!ENTITY a "b">]><TiltSeries><Angles>&a;</Angles></TiltSeries>'
        ),
        ("a.xml", "not sound XML"),
    ),
    "an XML with a word": (WARP, lambda f: f.replaced("a.xml", "-60", "steep"), ("a.xml", "'steep'")),
    "an XML with too few axes": (WARP, lambda f: f.replaced("a.xml", "<AxisAngle>5\n", "<AxisAngle>"), ("a.xml",)),
    "an XML without its stack": (WARP, lambda f: f.file("a.mrc").unlink(), ("a.xml", "a.st")),
    # RELION
    "a STAR of no tomograms": (STAR, lambda f: f.file(STAR[0]).write_text("data_global\n"), ("lists no tomograms",)),
    "no STAR": (STAR, lambda f: f.file(STAR[0]).write_text("hello\n"), ("tomograms.star", "line 1")),
    "a missing column": (
        STAR,
        lambda f: f.replaced(TILT_STAR, "_rlnTomoYTilt", "_rlnTomoYTelt"),
        ("one.star", "rlnTomoYTilt"),
    ),
    "a missing shift": (
        STAR,
        lambda f: f.replaced(TILT_STAR, "_rlnTomoXShiftAngst", "_rlnOther"),
        ("one.star", "no column rlnTomoXShiftAngst"),
    ),
    "a word for an angle": (STAR, lambda f: last_tilt(f, "rlnTomoZRot", "upright"), ("one.star", "'upright'")),
    "NaN for an angle": (STAR, lambda f: last_tilt(f, "rlnTomoYTilt", "nan"), ("one.star", "'nan'")),
    "images that are gone": (STAR, lambda f: f.file("a.mrc").unlink(), ("a.mrc", "neither beside it")),
    "a section too many": (STAR, lambda f: f.replaced(TILT_STAR, "000007@", "000077@"), ("no section 77",)),
    "tilts that are gone": (STAR, lambda f: f.file(TILT_STAR).unlink(), ("one.star", "neither beside it")),
    "a row too short": (STAR, lambda f: f.write(TILT_STAR, [*f.lines(TILT_STAR), "1 2 3"]), ("one.star", "3 values")),
    "a pixel size of 0": (STAR, lambda f: f.replaced(STAR[0], f"{PIXEL:.6f}", "0.0"), ("tomograms.star", "pixel size")),
}


@pytest.mark.parametrize("name", CASES)
def test_one_message_and_nothing_written(call: Call, folder: Folder, tmp_path: Path, name: str) -> None:
    arguments, spoil, words = CASES[name]
    spoil(folder)
    inputs = [
        text if text.startswith("--") else folder.file(text)  # every other argument is a file
        for text in arguments
    ]
    output = tmp_path / "out"
    output.mkdir()
    for suffix in ("mrc", "zarr"):
        called = call("reconstruct", *inputs, *(("--thickness", "8") if "--tilt-com" not in arguments else ()),
                      "-o", output / f"out.{suffix}", *SYNC)  # fmt: skip
        assert called.exit_code == 3, called.err
        errors = [line for line in called.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, called.err
        assert "Traceback" not in called.err
        for word in words:
            assert word in errors[0], errors[0]
        assert len(errors[0]) < 600 + len(str(tmp_path)) * 5
        assert list(output.iterdir()) == []


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 40


def test_the_sound_series_is_reconstructed(call: Call, folder: Folder, tmp_path: Path) -> None:
    """So that no case fails for a reason of its own."""
    for number, arguments in enumerate((TLT, XF, COM, ALN, MDOC, WARP, STAR)):
        inputs = [text if text.startswith("--") else folder.file(text) for text in arguments]
        called = call("reconstruct", *inputs, "--thickness", "8", "-o", tmp_path / f"{number}.mrc", *SYNC)
        assert called.exit_code == 0, called.err


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--exclude", "99"), "no image 99"),
        (("--exclude", "a"), "no image number"),
        (("--exclude", "5-3"), "no image number"),
        (("--voxel-size", "0"), "--voxel-size 0"),
        (("--bin", "0"), "--bin"),
        (("--filter", "boxcar"), "ram-lak"),
        (("--thickness", "-3"), "--thickness"),
        (("--normalize", "loud"), "contrast"),
        (("--dose-weight",), "--mdoc"),
        (("--tomogram", "x"), "--tomogram x"),
    ],
)
def test_options_that_make_no_sense(
    call: Call, folder: Folder, tmp_path: Path, options: tuple[str, ...], word: str
) -> None:
    files = (folder.file("a.mrc"), "--tilt-angles", folder.file("a.tlt"))
    thickness = () if "--thickness" in options else ("--thickness", "8")
    called = call("reconstruct", *files, *thickness, *options, "-o", tmp_path / "out.mrc", *SYNC)
    assert called.exit_code == 2, called.err
    assert word in called.err
    assert not (tmp_path / "out.mrc").exists()


def test_outputs_that_cannot_be(call: Call, folder: Folder, tmp_path: Path) -> None:
    files = (folder.file("a.mrc"), "--tilt-angles", folder.file("a.tlt"), "--thickness", "8")
    (tmp_path / "there.mrc").write_text("old")
    for name, code, word in (
        ("out.tif", 2, "NAME.mrc"),
        ("there.mrc", 3, "exists"),
        ("no/folder/out.mrc", 3, "there is no folder"),
        ("no/folder/out.zarr", 3, "there is no folder"),
    ):
        called = call("reconstruct", *files, "-o", tmp_path / name, *SYNC)
        assert called.exit_code == code, called.err
        assert word in called.err
    assert (tmp_path / "there.mrc").read_text() == "old"
    assert call("reconstruct", *files, "-o", tmp_path / "there.mrc", "--overwrite", *SYNC).exit_code == 0
