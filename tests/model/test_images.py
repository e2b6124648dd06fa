"""Tilt series and tomograms: what makes an xarray dataset one, and what is said of one that is not."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from cryodask.errors import DataError
from cryodask.model.images import TiltSeries, Tomogram


def series() -> xr.Dataset:
    return xr.Dataset(
        {"counts": (("tilt", "y", "x"), np.ones((3, 4, 6), np.float32))},
        coords={"tilt_deg": ("tilt", np.array([-30, 0, 30]))},
        attrs={"pixel_size_angstrom": 5},
    )


def tomogram() -> xr.Dataset:
    return xr.Dataset(
        {"image": (("z", "y", "x"), np.zeros((2, 3, 4), np.float32))}, attrs={"voxel_size_angstrom": np.float32(10)}
    )


def test_a_series_names_its_parts() -> None:
    parsed = TiltSeries.parse(series())
    assert parsed.pixel_size_angstrom == 5.0
    assert parsed.image_shape == (4, 6)
    assert parsed.tilt_deg.tolist() == [-30.0, 0.0, 30.0]
    assert parsed.tilt_deg.dtype == np.float64


def test_missing_shifts_are_zero_and_given_ones_stay() -> None:
    parsed = TiltSeries.parse(series().assign_coords(shift_x_angstrom=("tilt", [1.0, 2.0, 3.0])))
    assert parsed.coordinate("shift_y_angstrom").tolist() == [0, 0, 0]
    assert parsed.coordinate("shift_x_angstrom").tolist() == [1, 2, 3]


def test_parsing_leaves_its_argument_alone() -> None:
    given = series()
    TiltSeries.parse(given)
    assert "shift_x_angstrom" not in given.variables


def test_another_image_may_be_meant() -> None:
    dataset = series().rename(counts="noise_free")
    assert TiltSeries.parse(dataset, "noise_free").image_shape == (4, 6)
    with pytest.raises(DataError, match=r"no variable 'counts'; it has .*noise_free"):
        TiltSeries.parse(dataset)


def test_a_series_that_is_none_says_why() -> None:
    with pytest.raises(DataError, match="no variable 'counts'; it has none"):
        TiltSeries.parse(xr.Dataset())
    with pytest.raises(DataError, match="no variable 'tilt_deg'"):
        TiltSeries.parse(series().drop_vars("tilt_deg"))
    with pytest.raises(DataError, match=r"counts has dimensions \('y', 'tilt', 'x'\), expected"):
        TiltSeries.parse(series().transpose("y", "tilt", "x"))
    with pytest.raises(DataError, match="'pixel_size_angstrom' is missing"):
        TiltSeries.parse(series().drop_attrs())
    for value in (0.0, -5.0, np.nan, np.inf):
        with pytest.raises(DataError, match=r"pixel_size_angstrom is .* must be a positive number"):
            TiltSeries.parse(series().assign_attrs(pixel_size_angstrom=value))
    for angle in (90.0, -95.0, np.nan):
        with pytest.raises(DataError, match="must lie within -90 and 90 degrees"):
            TiltSeries.parse(series().assign_coords(tilt_deg=("tilt", [0.0, 10.0, angle])))


def test_a_tomogram_knows_what_it_was_told() -> None:
    parsed = Tomogram.parse(tomogram())
    assert parsed.shape == (2, 3, 4)
    assert parsed.voxel_size_angstrom == 10.0
    assert parsed.tilt_deg is None
    assert parsed.optics == {}
    optics = {"voltage_kv": 300, "defocus_um": 3, "spherical_aberration_mm": 2.7, "energy_spread_ev": 0.7}
    told = Tomogram.parse(tomogram().assign_attrs(tilt_deg=[-60, 0, 60], **optics))
    assert told.tilt_deg == (-60.0, 0.0, 60.0)
    assert told.optics == optics


def test_half_known_optics_count_as_unknown() -> None:
    attrs = {"voltage_kv": 300.0, "defocus_um": 3.0, "energy_spread_ev": 0.7}
    assert Tomogram.parse(tomogram().assign_attrs(attrs)).optics == {}


def test_a_tomogram_that_is_none_says_why() -> None:
    with pytest.raises(DataError, match="tomogram: no variable 'image'"):
        Tomogram.parse(xr.Dataset())
    with pytest.raises(DataError, match="tomogram: image has dimensions"):
        Tomogram.parse(tomogram().isel(z=0))
    with pytest.raises(DataError, match="'voxel_size_angstrom' is missing"):
        Tomogram.parse(tomogram().drop_attrs())
    with pytest.raises(DataError, match=r"voxel_size_angstrom is 0\.0"):
        Tomogram.parse(tomogram().assign_attrs(voxel_size_angstrom=0))
