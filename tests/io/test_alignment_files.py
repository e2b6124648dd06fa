"""Alignments in other programs' files: each format against the one convention, the others, and independent readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryodask.errors import DataError
from cryodask.io.alignments import aretomo, imod, mdoc, relion, warp
from cryodask.model.alignment import TiltAlignment, rotation_xy

PIXEL = 3.5
IMAGE = (48, 64)
VOLUME = (24, 48, 64)

Writer = Callable[[Path, TiltAlignment], TiltAlignment]


def example(n: int = 7, *, axis: float = 84.3, x_tilt: float = 0.0) -> TiltAlignment:
    rng = np.random.default_rng(4)
    return TiltAlignment.of(
        np.linspace(-60, 57, n),
        x_tilt_deg=x_tilt,
        tilt_axis_deg=axis + rng.normal(0, 0.3, n),
        shift_x_px=rng.normal(0, 8, n),
        shift_y_px=rng.normal(0, 8, n),
        excluded=np.arange(n) == 2,
        prior_dose_e_per_a2=3.0 * rng.permutation(n),
    )


def through_imod(folder: Path, alignment: TiltAlignment) -> TiltAlignment:
    imod.write_angles(folder / "a.tlt", alignment.tilt_deg)
    imod.write_angles(folder / "a.xtilt", alignment.x_tilt_deg)
    imod.write_xf(folder / "a.xf", alignment.matrix_xy, alignment.shift_x_px, alignment.shift_y_px)
    matrices, shift_x, shift_y = imod.read_xf(folder / "a.xf")
    return TiltAlignment.of(
        imod.read_angles(folder / "a.tlt"),
        x_tilt_deg=imod.read_angles(folder / "a.xtilt"),
        matrix_xy=matrices,
        shift_x_px=shift_x,
        shift_y_px=shift_y,
        excluded=alignment.excluded,
    )


def through_aln(folder: Path, alignment: TiltAlignment) -> TiltAlignment:
    aretomo.write_aln(folder / "a.aln", alignment, IMAGE)
    return aretomo.read_aln(folder / "a.aln").alignment


def through_warp(folder: Path, alignment: TiltAlignment) -> TiltAlignment:
    warp.write_warp(folder / "a.xml", alignment, pixel_size_angstrom=PIXEL, size_px=VOLUME)
    series = warp.read_warp(folder / "a.xml")
    assert series.pixel_size_angstrom == PIXEL
    return series.alignment


def through_relion(folder: Path, alignment: TiltAlignment) -> TiltAlignment:
    relion.write_tomogram(
        folder, "a", alignment, stack="a.mrc", pixel_size_angstrom=PIXEL, size_px=VOLUME, optics={"voltage_kv": 200.0}
    )
    (found,) = relion.read_tomograms(folder / "tomograms.star")
    assert (found.name, found.pixel_size_angstrom, found.size_px) == ("a", PIXEL, VOLUME)
    assert found.optics == {"voltage_kv": 200.0}
    assert [section for _, section in found.images] == alignment.used.tolist()
    return found.alignment


WRITERS: dict[str, Writer] = {
    "imod": through_imod,
    "aln": through_aln,
    "warp": through_warp,
    "relion": through_relion,
}


def assert_same(one: TiltAlignment, other: TiltAlignment, atol: float = 1e-3) -> None:
    for name, tolerance in (("tilt_deg", 0.006), ("x_tilt_deg", atol), ("shift_x_px", atol), ("shift_y_px", atol)):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=tolerance, err_msg=name)
    np.testing.assert_allclose(one.matrix_xy, other.matrix_xy, atol=1e-5)


@pytest.mark.parametrize("axis", [0.0, 84.3, -95.2, 179.0])
@pytest.mark.parametrize("name", WRITERS)
def test_round_trip(tmp_path: Path, name: str, axis: float) -> None:
    written = example(axis=axis)
    back = WRITERS[name](tmp_path, written)
    expected = written.subset(written.used) if name == "relion" else written
    if name == "aln":  # dark images have no transform of their own in an .aln
        assert back.excluded.tolist() == written.excluded.tolist()
        back, expected = back.subset(back.used), expected.subset(expected.used)
    assert_same(back, expected)
    assert back.excluded.tolist() == expected.excluded.tolist()
    if name in ("warp", "relion"):
        assert back.prior_dose_e_per_a2 is not None
        assert expected.prior_dose_e_per_a2 is not None
        np.testing.assert_allclose(back.prior_dose_e_per_a2, expected.prior_dose_e_per_a2, atol=1e-5)


@pytest.mark.parametrize("name", ["imod", "aln", "relion"])
def test_x_tilt_travels_where_the_format_has_it(tmp_path: Path, name: str) -> None:
    written = example(x_tilt=1.25).changed(excluded=np.zeros(7, dtype=bool))
    np.testing.assert_allclose(WRITERS[name](tmp_path, written).x_tilt_deg, 1.25, atol=1e-3)


def test_imod_keeps_magnification_and_the_others_refuse_it(tmp_path: Path) -> None:
    stretched = example().changed(matrix_xy=rotation_xy(example().tilt_axis_deg) @ np.array([[1.02, 0.01], [0, 0.99]]))
    assert_same(through_imod(tmp_path, stretched), stretched)
    for name in ("aln", "warp", "relion"):
        with pytest.raises(DataError, match="rotations"):
            WRITERS[name](tmp_path, stretched)


@settings(max_examples=30, deadline=None)
@given(st.floats(-180, 180), st.floats(-300, 300), st.floats(-300, 300))
def test_a_transform_takes_points_there_and_back(angle: float, shift_x: float, shift_y: float) -> None:
    """By IMOD's own definition: aligned = A raw + d."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder, "a.xf")
        imod.write_xf(path, rotation_xy([angle]), [shift_x], [shift_y])
        row = np.loadtxt(path)
    aligned = np.array([11.0, -7.0])
    raw = rotation_xy(angle) @ aligned + [shift_x, shift_y]
    np.testing.assert_allclose(row[:4].reshape(2, 2) @ raw + row[4:], aligned, atol=2e-3)


# -- independent readers -------------------------------------------------------------------------------------------


def portal(folder: Path, name: str) -> tuple[npt.NDArray[np.float64], ...]:
    """The same files as cryoet-alignment understands them: tilt, axis, x and y offset of each image it keeps."""
    pytest.importorskip("cryoet_alignment", reason='cryoet-alignment is not installed; pip install -e ".[peers]"')
    from cryoet_alignment.io import aretomo3, cryoet_data_portal
    from cryoet_alignment.io.imod import ImodAlignment

    standard = cryoet_data_portal.Alignment
    if name == "imod":
        found = standard.from_imod(ImodAlignment.read(base_name=str(folder / "a")))
    elif name == "aln":
        found = standard.from_aretomo3(aretomo3.AreTomo3ALN.from_file(str(folder / "a.aln")))
    elif name == "warp":
        found = standard.from_warp_file(str(folder / "a.xml"))
    else:
        found = standard.from_relion_file(str(folder / "tomograms.star"))
    sections = found.per_section_alignment_parameters
    return tuple(
        np.array([getattr(section, field) for section in sections])
        for field in ("tilt_angle", "tilt_axis_rotation", "x_offset", "y_offset", "volume_x_rotation")
    )


@pytest.mark.parametrize("axis", [0.0, 84.3, -95.2])
@pytest.mark.parametrize("name", WRITERS)
def test_cryoet_alignment_reads_the_same_from_every_file(tmp_path: Path, name: str, axis: float) -> None:
    written = example(axis=axis).changed(excluded=np.arange(7) == (2 if name in ("aln", "relion") else 99))
    back = WRITERS[name](tmp_path, written)
    back = back.subset(back.used)
    tilt, rotation, offset_x, offset_y, x_tilt = portal(tmp_path, name)
    np.testing.assert_allclose(back.tilt_deg, tilt, atol=1e-6)
    np.testing.assert_allclose(back.tilt_axis_deg, rotation, atol=1e-4)
    np.testing.assert_allclose(back.shift_x_px, offset_x, atol=2e-5)
    np.testing.assert_allclose(back.shift_y_px, offset_y, atol=2e-5)
    np.testing.assert_allclose(back.x_tilt_deg, x_tilt, atol=1e-6)


def test_aln_and_xf_agree_by_alnfile_too(tmp_path: Path) -> None:
    import alnfile

    written = example().changed(excluded=np.zeros(7, dtype=bool))
    through_aln(tmp_path, written)
    through_imod(tmp_path, written)
    expected = alnfile.df_to_xf(alnfile.read(tmp_path / "a.aln"))
    rows = np.loadtxt(tmp_path / "a.xf")
    np.testing.assert_allclose(rows[:, :4].reshape(-1, 2, 2), expected[:, :, :2], atol=1e-5)
    np.testing.assert_allclose(rows[:, 4:], expected[:, :, 2], atol=2e-3)


# -- files as programs write them ----------------------------------------------------------------------------------


def test_files_of_an_etomo_project(shared_data: Path) -> None:
    folder = shared_data / "formats"
    matrices, shift_x, shift_y = imod.read_xf(folder / "TS_001.xf")
    alignment = TiltAlignment.of(
        imod.read_angles(folder / "TS_001.tlt"),
        x_tilt_deg=imod.read_angles(folder / "TS_001.xtilt"),
        matrix_xy=matrices,
        shift_x_px=shift_x,
        shift_y_px=shift_y,
    )
    assert len(alignment) == 40
    assert alignment.is_rigid
    edf = imod.read_edf(folder / "TS_001.edf")
    assert edf.tilt_axis_deg == 83.9
    np.testing.assert_allclose(alignment.tilt_axis_deg, edf.tilt_axis_deg, atol=0.4)
    assert edf.excluded == (39,)
    assert edf.pixel_size_angstrom == pytest.approx(6.192)
    assert (edf.dataset_name, edf.stack_suffix) == ("TS_001", "st")
    etomofiles = pytest.importorskip("etomofiles", reason='etomofiles is not installed; pip install -e ".[peers]"')
    np.testing.assert_array_equal(etomofiles.read_tlt(folder / "TS_001.tlt"), alignment.tilt_deg)


def test_a_mdoc_of_serialem(shared_data: Path) -> None:
    found = mdoc.read_mdoc(shared_data / "formats" / "tilt_series.mdoc")
    assert found.tilt_axis_deg == 85.3
    assert found.pixel_size_angstrom == 5.4
    np.testing.assert_allclose(found.tilt_deg[:3], [0.001, 3.0011, -2.9986], atol=1e-3)
    assert found.acquisition_order.tolist() == list(range(len(found.tilt_deg)))
    assert found.dose_e_per_a2 is None  # the file says 0


def test_a_warp_file(shared_data: Path) -> None:
    found = warp.read_warp(shared_data / "formats" / "gs04_ts_003.xml")
    assert len(found.alignment) == 47
    np.testing.assert_allclose(found.alignment.tilt_deg[[0, -1]], [-46, 45.99])
    np.testing.assert_allclose(found.alignment.tilt_axis_deg, 84.500114)
    np.testing.assert_allclose(found.alignment.shift_x_px[0], -10.848754 / found.pixel_size_angstrom)
    assert found.alignment.acquisition_order is not None
    assert found.alignment.acquisition_order[23] == 0  # the untilted image was taken first


def test_files_of_a_relion_project(shared_data: Path, tmp_path: Path) -> None:
    """The tilts lie where the project has them, which is not beside tomograms.star."""
    job = tmp_path / "Tomograms" / "job009"
    (job / "tilt_series").mkdir(parents=True)
    text = (shared_data / "formats" / "tomograms.star").read_text().splitlines(keepends=True)
    kept = [line for line in text if not line.startswith("tomo") or "tomo200528_107 " in line]
    (job / "tomograms.star").write_text("".join(kept))
    tilts = (shared_data / "formats" / "tomo200528_107.star").read_text()
    (job / "tilt_series" / "tomo200528_107.star").write_text(tilts)
    (found,) = relion.read_tomograms(job / "tomograms.star")
    assert found.size_px == (2000, 4000, 4000)
    assert found.optics == {"voltage_kv": 200.0, "spherical_aberration_mm": 2.7, "amplitude_contrast": 0.08}
    assert found.alignment.tilt_deg[0] == -50.99
    assert found.alignment.tilt_axis_deg[0] == pytest.approx(-90.5451)
    assert found.alignment.shift_x_px[0] == pytest.approx(9.537168 / 1.724)
    assert found.images[0][0].endswith("tomo200528_107_-51_0_May31_00_24_27.mrc")


def test_a_cut_aln_is_refused(shared_data: Path) -> None:
    with pytest.raises(DataError, match="4 aligned and 4 dark images do not make the 90"):
        aretomo.read_aln(shared_data / "formats" / "test.aln")


def test_local_shifts_of_an_aln(tmp_path: Path) -> None:
    """Shifts of 3, 4 and of 0, 5 pixels are of length 5; what is not reliable does not count."""
    aln(tmp_path / "a.aln", [1, 2, 3, 4, 5], [], [-2, -1, 0, 1, 2])
    assert aretomo.read_aln(tmp_path / "a.aln").local_shift_px is None
    patches = "0 0 -558.42 -802.00 3.00 -4.00 1.0\n 0 1 9.00 9.00 0.00 5.00 1.0\n 1 0 0.00 0.00 90.00 0.00 0.0\n"
    text = (tmp_path / "a.aln").read_text().replace("NumPatches = 0", "NumPatches = 2")
    (tmp_path / "a.aln").write_text(f"{text}# Local Alignment\n {patches}")
    found = aretomo.read_aln(tmp_path / "a.aln")
    assert found.local_patches == 2
    assert found.local_shift_px == pytest.approx(5)


ALN = """# AreTomo Alignment / Priims bprmMn
# RawSize = 64 48 5
# NumPatches = 0
{darks}# AlphaOffset =     0.00
# BetaOffset =     0.00
# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT
{rows}"""


def aln(path: Path, sections: list[int], darks: list[tuple[int, int]], tilts: list[float]) -> aretomo.Aln:
    rows = "".join(
        f"{section:5d} 1.0 1.0 {tilt / 10} 0.0 1.0 1.0 1.0 0.0 {tilt}\n"
        for section, tilt in zip(sections, tilts, strict=True)
    )
    dark_lines = "".join(f"# DarkFrame = {index} {section} -60.0\n" for index, section in darks)
    path.write_text(ALN.format(rows=rows, darks=dark_lines))
    return aretomo.read_aln(path)


@pytest.mark.parametrize(
    ("sections", "darks", "images"),
    [
        ([1, 2, 3, 4, 5], [], [0, 1, 2, 3, 4]),
        ([0, 1, 2, 3, 4], [], [0, 1, 2, 3, 4]),
        ([3, 1, 2, 4, 5], [], [2, 0, 1, 3, 4]),
        ([2, 3, 4, 5], [(0, 1)], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [(0, 1)], [1, 2, 3, 4]),
        ([0, 1, 2, 3], [(2, 0)], [0, 1, 3, 4]),
        ([5, 3, 1, 2], [(4, 4)], [4, 2, 0, 1]),
    ],
    ids=["from 1", "from 0", "not sorted", "without the dark", "rows counted", "rows counted from 0", "by acquisition"],
)
def test_rows_of_an_aln_find_their_images(
    tmp_path: Path, sections: list[int], darks: list[tuple[int, int]], images: list[int]
) -> None:
    tilts = [-20.0, -10.0, 0.0, 10.0, 20.0][: len(sections)]
    found = aln(tmp_path / "a.aln", sections, darks, tilts).alignment
    assert found.tilt_deg[images].tolist() == tilts
    assert np.flatnonzero(found.excluded).tolist() == sorted(set(range(5)) - set(images))


def test_settings_of_tilt_com(tmp_path: Path) -> None:
    path = tmp_path / "tilt.com"
    path.write_text(
        "# comments\n$setenv IMOD_OUTPUT_FORMAT MRC\n$tilt -StandardInput\nInputProjections a_ali.mrc\n"
        "IMAGEBINNED\t2\nTILTFILE a.tlt\nXTILTFILE a.xtilt\nTHICKNESS 1200\nXAXISTILT -0.5\nOFFSET 2.85\n"
        "SHIFT 0.0 0.0\nEXCLUDELIST 3\nEXCLUDELIST2 1,5-7\nLOCALFILE alocal.xf\nPERPENDICULAR\n$if (-e x) y\n"
    )
    found = imod.read_tilt_com(path)
    assert found.excluded == (0, 2, 4, 5, 6)
    assert (found.thickness_px, found.image_binned) == (1200, 2)
    assert (found.tilt_offset_deg, found.x_axis_tilt_deg) == (2.85, -0.5)
    assert (found.input_projections, found.tilt_file, found.x_tilt_file) == ("a_ali.mrc", "a.tlt", "a.xtilt")
    assert found.ignored == ("LOCALFILE",)


def test_settings_of_newst_com(tmp_path: Path) -> None:
    path = tmp_path / "newst.com"
    path.write_text("$newstack -StandardInput\nInputFile\ta.st\nTransformFile\ta.xf\nBinByFactor\t4\n")
    assert imod.read_newst_com(path) == imod.NewstCom(input_file="a.st", transform_file="a.xf")


def test_a_mdoc_knows_dose_and_order(tmp_path: Path) -> None:
    path = tmp_path / "a.mdoc"
    times = ["15:24:00", "15:20:00", "15:22:00"]
    path.write_text(
        "PixelSpacing = 2.5\nImageFile = a.mrc\n\n[T = Tilt axis angle = -12.5, binning = 1]\n\n"
        + "".join(
            f"[ZValue = {index}]\nTiltAngle = {angle}\nExposureDose = {3.0 + index}\nDateTime = 30-Nov-15  {time}\n\n"
            for index, (angle, time) in enumerate(zip([-3, 0, 3], times, strict=True))
        )
    )
    found = mdoc.read_mdoc(path)
    assert found.acquisition_order.tolist() == [2, 0, 1]
    assert found.dose_e_per_a2 is not None
    assert found.dose_e_per_a2.tolist() == [3.0, 4.0, 5.0]
    assert found.prior_dose_e_per_a2 is not None
    assert found.prior_dose_e_per_a2.tolist() == [9.0, 0.0, 4.0]
    assert (found.tilt_axis_deg, found.pixel_size_angstrom, found.image_file) == (-12.5, 2.5, "a.mrc")
