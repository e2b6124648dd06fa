"""``cryodask reconstruct`` on the images of a microscope: kinds of files, what is done to images, half sets."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryodask.io.alignments import imod
from cryodask.io.mrc import read_stack, write_volume
from cryodask.io.store import Store
from cryodask.model.alignment import TiltAlignment
from tests.cli.conftest import SYNC, Call
from tests.cli.recorded import INNER, SHAPE, THICKNESS, TILTS, N, Reconstruct, Volume, mdoc_text
from tests.phantom import BLOBS, PIXEL, images, places, relative_l2, write_stack


def test_the_header_is_right(reconstruct: Reconstruct, tmp_path: Path) -> None:
    stack = write_stack(tmp_path / "a.mrc", TiltAlignment.of(TILTS), SHAPE)
    imod.write_angles(tmp_path / "a.tlt", TILTS)
    volume = reconstruct(stack, "--tilt-angles", tmp_path / "a.tlt", "--bin", "2", "--thickness", "16")
    assert volume.shape == (16, 32, 36)
    np.testing.assert_allclose(places(volume, 2), np.array(BLOBS), atol=0.4)
    assert mrcfile.validate(tmp_path / "out.mrc")
    with mrcfile.open(tmp_path / "out.mrc") as file:
        assert file.voxel_size.x == file.voxel_size.y == file.voxel_size.z == 2 * PIXEL
        assert file.is_volume()
        assert float(file.header.dmin) == pytest.approx(float(volume.min()))
        assert float(file.header.dmax) == pytest.approx(float(volume.max()))
        assert float(file.header.dmean) == pytest.approx(float(volume.mean()), abs=1e-6)
        assert float(file.header.rms) == pytest.approx(float(volume.std()), rel=1e-3)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("mode", ["int8", "int8 of IMOD", "uint8 of IMOD", "int16", "float32", "uint16", "float16"])
def test_every_mode_of_mrc(reconstruct: Reconstruct, tmp_path: Path, upright: Volume, mode: str) -> None:
    bright = images(TiltAlignment.of(TILTS), SHAPE, mean=100 if mode.startswith("int8") else 200)
    numbers = bright if mode.startswith("float") else np.rint(bright)
    path = tmp_path / "a.mrc"
    kind = "int8" if mode == "uint8 of IMOD" else mode.partition(" ")[0]
    values = numbers.astype(np.uint8).view(np.int8) if mode == "uint8 of IMOD" else numbers.astype(kind)
    with mrcfile.new(path, data=values) as file:
        file.voxel_size = PIXEL
        file.set_image_stack()
    if "IMOD" in mode:
        content = bytearray(path.read_bytes())
        content[152:160] = np.array([1146047817, int(mode.startswith("int8"))], "<i4").tobytes()
        path.write_bytes(content)
    imod.write_angles(tmp_path / "a.tlt", TILTS)
    volume = reconstruct(path, "--tilt-angles", tmp_path / "a.tlt", *THICKNESS)
    # What is left is the rounding of the images.
    most = {"float32": 1e-6, "float16": 0.03}.get(mode, 0.2 if mode.startswith("int8") else 0.12)
    assert relative_l2(volume[INNER], upright[INNER]) < most
    np.testing.assert_allclose(places(volume), np.array(BLOBS), atol=0.2)


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_compressed_stacks(reconstruct: Reconstruct, tmp_path: Path, upright: Volume, suffix: str) -> None:
    stack = write_stack(tmp_path / "a.mrc", TiltAlignment.of(TILTS), SHAPE)
    packed = stack.with_name(f"a.mrc{suffix}")
    packed.write_bytes((gzip if suffix == ".gz" else bz2).compress(stack.read_bytes()))
    imod.write_angles(tmp_path / "a.tlt", TILTS)
    volume = reconstruct(packed, "--tilt-angles", tmp_path / "a.tlt", *THICKNESS)
    np.testing.assert_array_equal(volume, upright)


def test_dose_weighting_weakens_detail_of_late_images(reconstruct: Reconstruct, tmp_path: Path) -> None:
    """The .mdoc is in the order of acquisition, the stack sorted by angle: sections are matched by angle."""
    stack = write_stack(tmp_path / "a.mrc", TiltAlignment.of(TILTS), SHAPE)
    imod.write_angles(tmp_path / "a.tlt", TILTS + 2.5)
    order = np.random.default_rng(0).permutation(N)
    (tmp_path / "a.mdoc").write_text(mdoc_text(TILTS[order], np.arange(N), 0.0))
    files = ("--tilt-angles", tmp_path / "a.tlt", "--mdoc", tmp_path / "a.mdoc", *THICKNESS)
    plain = reconstruct(stack, *files)
    weighted = reconstruct(stack, *files, "--dose-weight", name="weighted.mrc")
    assert 0.3 < weighted.std() / plain.std() < 0.95
    (tmp_path / "a.mdoc").write_text(mdoc_text(TILTS[order], np.argsort(order), 0.0))  # taken from -60 to 60
    sequential = reconstruct(stack, *files, "--dose-weight", name="sequential.mrc")
    assert relative_l2(sequential, weighted) > 0.02


def test_inverted_images_give_the_negative(reconstruct: Reconstruct, tmp_path: Path, upright: Volume) -> None:
    stack = write_stack(tmp_path / "a.mrc", TiltAlignment.of(TILTS), SHAPE)
    imod.write_angles(tmp_path / "a.tlt", TILTS)
    negative = reconstruct(stack, "--tilt-angles", tmp_path / "a.tlt", *THICKNESS, "--invert")
    np.testing.assert_allclose(negative, -upright, atol=1e-6)


@pytest.mark.parametrize("kind", ["standard", "subtract"])
def test_images_about_zero(reconstruct: Reconstruct, tmp_path: Path, upright: Volume, kind: str) -> None:
    """As programs leave them that have normalised already: the same tomogram but for its scale."""
    stack = images(TiltAlignment.of(TILTS), SHAPE) - 200
    write_volume(tmp_path / "a.mrc", 7 * stack, PIXEL, stack=True)
    imod.write_angles(tmp_path / "a.tlt", TILTS)
    chosen = () if kind == "standard" else ("--normalize", kind)
    volume = reconstruct(tmp_path / "a.mrc", "--tilt-angles", tmp_path / "a.tlt", *THICKNESS, *chosen)
    scale = float((volume[INNER] * upright[INNER]).sum() / (upright[INNER] ** 2).sum())
    assert scale == pytest.approx(7 * 200, rel=0.01) if kind == "subtract" else scale > 0
    assert relative_l2(volume[INNER] / scale, upright[INNER]) < 0.03


def test_hot_pixels_are_replaced(reconstruct: Reconstruct, tmp_path: Path, upright: Volume) -> None:
    stack = images(TiltAlignment.of(TILTS), SHAPE)
    rng = np.random.default_rng(1)
    stack[np.arange(N), rng.integers(0, 64, N), rng.integers(0, 72, N)] = 20000
    write_volume(tmp_path / "a.mrc", stack, PIXEL, stack=True)
    imod.write_angles(tmp_path / "a.tlt", TILTS)
    angles = ("--tilt-angles", tmp_path / "a.tlt", *THICKNESS)
    assert relative_l2(reconstruct(tmp_path / "a.mrc", *angles), upright) < 0.02
    assert relative_l2(reconstruct(tmp_path / "a.mrc", *angles, "--hot-pixels", "0", name="hot.mrc"), upright) > 1


def test_half_precision(reconstruct: Reconstruct, tmp_path: Path, upright: Volume) -> None:
    stack = write_stack(tmp_path / "a.mrc", TiltAlignment.of(TILTS), SHAPE)
    imod.write_angles(tmp_path / "a.tlt", TILTS)
    volume = reconstruct(stack, "--tilt-angles", tmp_path / "a.tlt", *THICKNESS, "--half-precision")
    assert volume.dtype == np.float16
    assert relative_l2(volume, upright) < 1e-3
    with mrcfile.open(tmp_path / "out.mrc") as file:
        assert int(file.header.mode) == 12


def test_a_stack_of_the_library_reads_back(tmp_path: Path) -> None:
    """The phantom itself is written as other programs read it."""
    stack = write_stack(tmp_path / "a.mrc", TiltAlignment.of(TILTS), SHAPE)
    values, pixel = read_stack(stack)
    assert values.shape == (N, *SHAPE)
    assert pixel == PIXEL


# -- half sets -----------------------------------------------------------------------------------------------------


def test_half_sets_give_a_curve_in_the_report(call: Call, tmp_path: Path) -> None:
    """Noise alone correlates to nothing; with blobs in it the coarse shells agree. Each half has its own weights."""
    tilts = np.linspace(-60, 60, 41)
    clean = images(TiltAlignment.of(tilts), SHAPE)
    noisy = np.random.default_rng(2).poisson(clean).astype(np.float32)
    write_volume(tmp_path / "a.mrc", noisy, PIXEL, stack=True)
    imod.write_angles(tmp_path / "a.tlt", tilts)
    command = ("reconstruct", tmp_path / "a.mrc", "--tilt-angles", tmp_path / "a.tlt", *THICKNESS, "--half-sets", *SYNC)
    called = call(*command, "-o", tmp_path / "out.mrc", "--report", tmp_path / "r.html")
    assert called.exit_code == 0, called.err
    assert "half sets agree to" in called.out
    whole, even, odd = (mrcfile.read(tmp_path / f"out{name}.mrc") for name in ("", "_even", "_odd"))
    assert relative_l2((even + odd) / 2, whole) < 0.2
    k, values = np.loadtxt(tmp_path / "out_fsc.csv", delimiter=",", skiprows=1, unpack=True)
    assert k[-1] == pytest.approx(1 / (2 * PIXEL))
    assert values[2:5].min() > 0.6
    assert np.abs(values[-8:]).max() < 0.15
    page = (tmp_path / "r.html").read_text()
    assert "Fourier shell correlation of the half sets" in page
    assert "<svg" in page
    stored = call(*command, "-o", tmp_path / "a.zarr")
    assert stored.exit_code == 0, stored.err
    store = Store(tmp_path / "a.zarr")
    assert store.info("a/tomogram")["half_sets"]["correlation"] == pytest.approx(values.tolist(), abs=1e-5)
    groups = [entry.path for entry in store.groups()]
    assert "a/tomogram_even/scale0" in groups
    np.testing.assert_array_equal(store.source("a/tomogram_odd/scale0", "image").read((slice(None),) * 3), odd)
