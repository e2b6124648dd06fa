"""Defocus and astigmatism of each image, from the files of IMOD, RELION and Warp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryodask.errors import DataError
from cryodask.io.alignments import relion, warp
from cryodask.io.alignments.defocus import read_defocus
from cryodask.model.alignment import FOCUS, TiltAlignment

TILTS = [-30.0, 0.0, 30.0]
KNOWN = TiltAlignment.of(
    TILTS,
    tilt_axis_deg=80.0,
    defocus_um=[3.1, 3.0, 2.9],
    astigmatism_um=[0.1, 0.12, 0.14],
    astigmatism_deg=[20.0, 21.0, 22.0],
)


def test_ranges_of_views_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "a.defocus"
    path.write_text("1\t2\t-30\t0\t3000\t2\n2\t3\t0\t30\t2000\n")
    found = read_defocus(path, 3)
    np.testing.assert_allclose(found.defocus_um, [3.0, 2.5, 2.0])
    assert found.ignored == ()


def test_version_3_with_astigmatism(tmp_path: Path) -> None:
    path = tmp_path / "a.defocus"
    path.write_text("1 0 0. 0. 0 3\n1 1 -30 -30 3100 2900 12.5\n2 3 0 30 3000 3000 11\n")
    found = read_defocus(path, 3)
    np.testing.assert_allclose(found.defocus_um, 3.0)
    assert found.ignored == ("astigmatism",)


@pytest.mark.parametrize(
    ("flags", "row", "ignored"),
    [
        (0, "3000", ()),
        (3, "3100 2900 0.2", ("astigmatism",)),  # 2: the axis in radians
        (4, "3000 90", ("phase shift",)),
        (5, "3100 2900 12 90", ("astigmatism", "phase shift")),
    ],
)
def test_flags_say_what_else_a_line_holds(tmp_path: Path, flags: int, row: str, ignored: tuple[str, ...]) -> None:
    path = tmp_path / "a.defocus"
    path.write_text(f"{flags} 0 0. 0. 0 3\n1 3 -30 30 {row}\n")
    found = read_defocus(path, 3)
    np.testing.assert_allclose(found.defocus_um, 3.0)
    assert found.ignored == ignored


def test_a_file_of_ctfplotter(shared_data: Path) -> None:
    found = read_defocus(shared_data / "formats" / "test_imod.defocus", 35)
    np.testing.assert_allclose(found.defocus_um[[0, 1, 34]], [3.083, 3.084, 3.354])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("1 1 0 0 3000 2\n", "no defocus of view 2"),
        ("1 4 0 0 3000 2\n", "line 1: views 1 to 4, but the stack has 3 images"),
        ("1 3 0 0 nan 2\n", "line 1"),
        ("1 3 0 0 three 2\n", "line 1.*'three'"),
        ("1 3 0 0\n", "line 1: views, angles and a defocus"),
        ("1 3 0 0 30000000 2\n", "writes nanometres"),
    ],
)
def test_unsound_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.defocus"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_defocus(path, 3)


def test_relion_and_warp_keep_the_focus(tmp_path: Path) -> None:
    relion.write_tomogram(
        tmp_path, "a", KNOWN, stack="a.mrc", pixel_size_angstrom=2.0, size_px=(20, 64, 64), optics={"voltage_kv": 300.0}
    )
    (project,) = relion.read_tomograms(tmp_path / "tomograms.star")
    warp.write_warp(tmp_path / "a.xml", KNOWN, pixel_size_angstrom=2.0, size_px=(20, 64, 64))
    for back in (project.alignment, warp.read_warp(tmp_path / "a.xml").alignment):
        for name in FOCUS:
            np.testing.assert_allclose(getattr(back, name), getattr(KNOWN, name), atol=1e-5)


def test_recorded_files(shared_data: Path) -> None:
    alignment = warp.read_warp(shared_data / "formats" / "gs04_ts_003.xml").alignment
    assert alignment.defocus_um is not None
    assert alignment.astigmatism_um is not None
    assert alignment.astigmatism_deg is not None
    assert alignment.defocus_um[0] == pytest.approx(5.162571)
    assert alignment.astigmatism_um[3] == pytest.approx(0.008811178)
    assert alignment.astigmatism_deg[0] == 129


def test_a_grid_beyond_the_tilts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    warp.write_warp(path, KNOWN, pixel_size_angstrom=2.0, size_px=(20, 64, 64))
    path.write_text(path.read_text().replace('Z="2"', 'Z="7"', 1))
    with pytest.raises(DataError, match="a node at Z = 7, there are 3 tilts"):
        warp.read_warp(path)
