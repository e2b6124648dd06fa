"""``reconstruct`` against a back-projection of the raw images by the formulas of the alignment alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from cryodask.io.alignments import imod
from cryodask.model.alignment import TiltAlignment
from tests.affine_oracle import affine_backprojection
from tests.cli.conftest import SYNC, Call
from tests.phantom import relative_l2, write_stack

TILTS = np.array([-57.0, -44, -36, -30, -21, -12, -5, 2, 9, 17, 24, 33, 41, 50, 60])
SHAPE = (48, 60)
DEPTH = 24
RNG = np.random.default_rng(8)

ALIGNMENTS: dict[str, dict[str, Any]] = {
    "upright": {},
    "shifts": {"shift_x_px": RNG.normal(0, 3, len(TILTS)), "shift_y_px": RNG.normal(0, 3, len(TILTS))},
    "axis": {"tilt_axis_deg": 11.0, "shift_x_px": RNG.normal(0, 2, len(TILTS))},
    "x tilt": {"x_tilt_deg": 5.0, "tilt_axis_deg": -6.0},
}


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_the_pipeline_equals_the_formulas(call: Call, tmp_path: Path, name: str) -> None:
    alignment = TiltAlignment.of(TILTS, **ALIGNMENTS[name])
    stack = write_stack(tmp_path / "a.mrc", alignment, SHAPE)
    imod.write_angles(tmp_path / "a.tlt", alignment.tilt_deg)
    imod.write_angles(tmp_path / "a.xtilt", alignment.x_tilt_deg)
    imod.write_xf(tmp_path / "a.xf", alignment.matrix_xy, alignment.shift_x_px, alignment.shift_y_px)
    files = ("--tilt-angles", tmp_path / "a.tlt", "--xf", tmp_path / "a.xf", "--xtilt", tmp_path / "a.xtilt")
    done = call(
        "reconstruct",
        stack,
        *files,
        *("--bin", "1", "--thickness", str(DEPTH), "--set", "reconstruction.taper_fraction=0", "--hot-pixels", "0"),
        *("-o", tmp_path / "out.mrc", *SYNC),
    )
    assert done.exit_code == 0, done.err
    with mrcfile.open(stack) as file:
        images = np.asarray(file.data, dtype=np.float64)
    means = images.mean(axis=(1, 2), keepdims=True)
    expected = affine_backprojection((images - means) / means, alignment, (DEPTH, *SHAPE))
    inner = np.s_[:, 8:-8, 8:-8]
    volume = mrcfile.read(tmp_path / "out.mrc")
    assert relative_l2(volume[inner], expected[inner]) < 0.02
