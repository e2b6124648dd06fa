"""Weighted back-projection of a tilt series: things come back where they were, dark, and at their strength."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from dask.base import compute

from cryodask.errors import DataError
from cryodask.io.scratch import raw_array
from cryodask.model.alignment import TiltAlignment
from cryodask.model.images import TiltSeries
from cryodask.model.source import ArraySource
from cryodask.ops.image_preparation import (
    ImageTask,
    Preparation,
    image_tasks,
    prepare_bytes,
    prepare_image,
    resolve_normalization,
)
from cryodask.ops.reconstruction import (
    ReconstructionGeometry,
    make_slab,
    preparation,
    preparation_tasks,
    reconstruct_slab,
    reconstruct_slab_bytes,
    slab_tasks,
    slabs,
)
from cryodask.params.schema import ReconstructionParameters
from tests.conftest import Namespace
from tests.tiny import centroid, gaussian, keys_of, nothing_computes

NY, NX, NZ = 48, 64, 32
PIXEL = 5.0
PARAMETERS = ReconstructionParameters(binning=1, slab_voxels=16, thickness_voxels=NZ)
PLACE = np.array([6.0, -7.0, 9.0])
"""Of the blob, (z, y, x) in voxels from the centre."""
SIGMA = 2.5


def series_of(
    images: npt.NDArray[np.float32], tilt_deg: npt.NDArray[np.float64], shifts: npt.NDArray[np.float64] | None = None
) -> TiltSeries:
    """``shifts`` (tilt, 2) in pixels, y and x."""
    coordinates = {"tilt_deg": ("tilt", tilt_deg)}
    if shifts is not None:
        coordinates["shift_y_angstrom"] = ("tilt", shifts[:, 0] * PIXEL)
        coordinates["shift_x_angstrom"] = ("tilt", shifts[:, 1] * PIXEL)
    dataset = xr.Dataset(
        {"counts": (("tilt", "y", "x"), images)}, coords=coordinates, attrs={"pixel_size_angstrom": PIXEL}
    )
    return TiltSeries.parse(dataset)


def projections(tilt_deg: npt.NDArray[np.float64], depth: float = 0.01) -> npt.NDArray[np.float32]:
    """Images, 100 counts where there is nothing, of a Gaussian that takes away the share ``depth`` per voxel."""
    images = []
    for angle in np.radians(tilt_deg):
        u = PLACE[2] * math.cos(angle) + PLACE[0] * math.sin(angle)
        shadow = gaussian((NY, NX), ((NY - 1) / 2 + PLACE[1], (NX - 1) / 2 + u), SIGMA)
        images.append(100 * (1 - depth * math.sqrt(2 * math.pi) * SIGMA * shadow))
    return np.asarray(images, dtype=np.float32)


def geometry_of(series: TiltSeries, parameters: ReconstructionParameters = PARAMETERS) -> ReconstructionGeometry:
    return ReconstructionGeometry.plan(
        series.image_shape, series.pixel_size_angstrom, series.alignment, None, parameters
    )


def aligned(series: TiltSeries, parameters: ReconstructionParameters = PARAMETERS) -> ArraySource:
    """All images that are used, prepared."""
    images = ArraySource(series.dataset["counts"].to_numpy())
    how = preparation(geometry_of(series, parameters), parameters, resolve_normalization(images, 0, parameters))
    return ArraySource(np.stack([prepare_image(images, t, how) for t in image_tasks(series.alignment, parameters)]))


def reconstructed(
    series: TiltSeries, parameters: ReconstructionParameters = PARAMETERS, tilts: tuple[int, ...] | None = None
) -> npt.NDArray[np.float32]:
    geometry = geometry_of(series, parameters)
    tasks = slab_tasks(aligned(series, parameters), geometry, parameters, tilts=tilts)
    return np.concatenate(compute(*tasks, scheduler="synchronous"), axis=1)


PLAIN = Preparation(output_shape=(NY, NX), binning=1, taper_fraction=0.05, pixel_size_angstrom=PIXEL)
"""An image alone."""


FEW = np.array([-60.0, -42.0, -18.0, 0.0, 17.0, 40.0, 59.0])


@pytest.fixture(scope="module")
def few() -> TiltSeries:
    return series_of(projections(FEW), FEW)


@pytest.fixture(scope="module")
def all_round() -> TiltSeries:
    tilts = np.linspace(-88.0, 88.0, 45)
    return series_of(projections(tilts), tilts)


def test_a_blob_comes_back_in_place_dark_and_at_its_strength(all_round: TiltSeries) -> None:
    volume = reconstructed(all_round)
    assert volume.shape == (NZ, NY, NX)
    assert volume.dtype == np.float32
    centre = (np.array(volume.shape) - 1) / 2
    np.testing.assert_allclose(centroid(-volume, 0.3) - centre, PLACE, atol=0.1)
    # Without a missing wedge the gain is one: the share that a voxel takes away is what is found there.
    expected = -0.01 * gaussian(volume.shape, tuple(centre + PLACE), SIGMA)
    assert volume.min() == pytest.approx(float(expected.min()), rel=0.02)
    assert np.abs(volume - expected).max() < 8e-4


def test_a_wedge_leaves_the_blob_in_place(few: TiltSeries) -> None:
    volume = reconstructed(few)
    lowest = np.array(np.unravel_index(int(volume.argmin()), volume.shape)) - (np.array(volume.shape) - 1) / 2
    assert np.abs(lowest - PLACE).max() <= 1.0


@pytest.mark.parametrize("binning", [2, 4])
def test_binning_keeps_the_place(all_round: TiltSeries, binning: int) -> None:
    parameters = replace(PARAMETERS, binning=binning, thickness_voxels=NZ // binning, slab_voxels=8)
    volume = reconstructed(all_round, parameters)
    assert volume.shape == (NZ // binning, NY // binning, NX // binning)
    middle = (np.array(volume.shape) - 1) / 2
    np.testing.assert_allclose((centroid(-volume, 0.3) - middle) * binning, PLACE, atol=0.25)


def test_shifts_are_undone(few: TiltSeries) -> None:
    shifts = np.random.default_rng(0).integers(-6, 7, (len(FEW), 2)).astype(np.float64)
    straight = projections(FEW)
    moved = np.stack(
        [np.roll(image, (int(y), int(x)), axis=(0, 1)) for image, (y, x) in zip(straight, shifts, strict=True)]
    )
    difference = reconstructed(series_of(moved, FEW, shifts)) - reconstructed(few)
    assert np.abs(difference).max() < 2e-4
    # Left as they are, they would spoil the tomogram.
    assert np.abs(reconstructed(series_of(moved, FEW)) - reconstructed(few)).max() > 2e-3


def test_fractional_shifts_are_undone() -> None:
    images = ArraySource(projections(np.array([0.0])))
    plain = prepare_image(images, ImageTask(0), PLAIN)
    moved = prepare_image(images, ImageTask(0, shift_x_px=0.5), PLAIN)
    middle = centroid(-plain)
    np.testing.assert_allclose(centroid(-moved) - middle, [0.0, -0.5], atol=0.02)


@pytest.mark.parametrize("rows", [8, 20, 48, 100])
def test_slabs_of_any_height_have_the_bits_of_the_whole(few: TiltSeries, rows: int) -> None:
    parameters = replace(PARAMETERS, slab_voxels=rows)
    assert reconstructed(few, parameters).tobytes() == reconstructed(few, replace(PARAMETERS, slab_voxels=NY)).tobytes()


@pytest.mark.parametrize("window", ["ram-lak", "sirt-like", "exact"])
def test_a_slab_on_another_device_is_the_same(
    arrays: Namespace, window: Literal["ram-lak", "sirt-like", "exact"]
) -> None:
    """What a GPU worker does, as far as it shows without a GPU."""
    geometry = ReconstructionGeometry((-30.0, 0.0, 41.0), (12, 9, 20), 10.0)
    lines = np.random.default_rng(0).standard_normal((3, 9, 20)).astype(np.float32)
    task = partial(
        reconstruct_slab, ArraySource(lines), (2, 7), geometry, replace(PARAMETERS, window=window, sirt_iterations=3)
    )
    there = task(like=arrays.asarray(np.zeros(0, np.float32)))
    assert isinstance(there, np.ndarray)
    np.testing.assert_allclose(there, task(), atol=2e-6)


def test_an_image_becomes_contrast_about_its_mean() -> None:
    image = np.random.default_rng(0).poisson(50, (1, NY, NX)).astype(np.float32)
    contrast = prepare_image(ArraySource(image), ImageTask(0), replace(PLAIN, taper_fraction=0.0))
    np.testing.assert_allclose(contrast, image[0] / image.mean() - 1, atol=1e-6)
    tapered = prepare_image(ArraySource(image), ImageTask(0), replace(PLAIN, taper_fraction=0.1))
    np.testing.assert_allclose(tapered[8:-8, 8:-8], contrast[8:-8, 8:-8], atol=1e-6)
    assert np.abs(tapered[0]).max() < 0.1 * np.abs(contrast[0]).max()


def test_more_dose_is_no_more_contrast(few: TiltSeries) -> None:
    brighter = series_of(3 * projections(FEW), FEW)
    np.testing.assert_allclose(reconstructed(brighter), reconstructed(few), atol=1e-6)


def test_an_image_without_electrons_is_refused() -> None:
    for value in (0.0, -1.0, np.nan):
        images = ArraySource(np.full((1, NY, NX), value, np.float32))
        with pytest.raises(DataError, match="tilt 0: the image's mean is"):
            prepare_image(images, ImageTask(0), PLAIN)


def test_geometry_follows_images_binning_and_thickness() -> None:
    plan = ReconstructionGeometry.plan
    parameters = ReconstructionParameters(binning=2)
    two = TiltAlignment.of([0.0, 1.0])
    geometry = plan((48, 64), 5.0, two, 330.0, parameters)
    assert geometry.shape == (33, 24, 32)
    assert geometry.voxel_size_angstrom == 10.0
    assert plan((48, 64), 5.0, two, 330.0, replace(parameters, thickness_voxels=7)).shape == (7, 24, 32)
    assert plan((49, 65), 5.0, two, 330.0, parameters).shape == (33, 24, 32)
    sideways = TiltAlignment.of([0.0, 1.0], tilt_axis_deg=-93.0)
    assert plan((48, 64), 5.0, sideways, 330.0, parameters).shape == (33, 32, 24)
    with pytest.raises(DataError, match="1 x 64 pixels cannot be binned by 2"):
        plan((1, 64), 5.0, two, 330.0, parameters)
    with pytest.raises(DataError, match="give --thickness"):
        plan((48, 64), 5.0, two, None, parameters)
    with pytest.raises(DataError, match="at least two different tilts"):
        plan((48, 64), 5.0, TiltAlignment.of([0.0, 1.0], excluded=[True, False]), 330.0, parameters)


def test_slabs_cover_every_row_once() -> None:
    geometry = ReconstructionGeometry((0.0, 1.0), (4, 50, 8), 10.0)
    ranges = slabs(geometry, replace(PARAMETERS, slab_voxels=16))
    assert ranges == [(0, 16), (16, 32), (32, 48), (48, 50)]


class _Sink:
    def write(self, start: tuple[int, ...], block: npt.NDArray[Any]) -> None:
        raise AssertionError((start, block.shape))


def test_building_the_graph_computes_nothing_and_prepares_each_image_once(few: TiltSeries) -> None:
    geometry = geometry_of(few)
    images, lines = ArraySource(few.dataset["counts"].to_numpy()), aligned(few)
    with nothing_computes():
        prepared = preparation_tasks(images, image_tasks(few.alignment, PARAMETERS), PLAIN, _Sink())
        everything = slab_tasks(lines, geometry, PARAMETERS)
        two = slab_tasks(lines, geometry, PARAMETERS, [0, 2])
    assert len(everything) == len(slabs(geometry, PARAMETERS)) == 3
    assert len(keys_of(prepared)) == len(FEW)
    assert len(keys_of(everything)) == 3
    assert len(keys_of(two)) == 2
    first, third = compute(*two, scheduler="synchronous")
    whole = reconstructed(few)
    assert np.array_equal(first, whole[:, :16])
    assert np.array_equal(third, whole[:, 32:])


def peak_bytes(work: Callable[[], object]) -> int:
    work()  # compiles
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


class _Nowhere:
    def write(self, block: int, row: int, slab: npt.NDArray[np.float32]) -> None:
        assert slab.shape[1] == 32


@pytest.mark.parametrize("x_tilt", [0.0, 3.0])
def test_memory_of_a_slab_does_not_grow_with_the_tomogram(tmp_path: Path, x_tilt: float) -> None:
    tilts = TiltAlignment.of(np.linspace(-60, 60, 21), x_tilt_deg=x_tilt)
    parameters = ReconstructionParameters(binning=1, thickness_voxels=40)
    peaks = []
    for ny in (96, 480):
        geometry = ReconstructionGeometry.plan((ny, 256), 5.0, tilts, None, parameters)
        lines = raw_array(tmp_path / f"{ny}.raw", (21, ny, 256))
        peaks.append(peak_bytes(partial(make_slab, lines, 1, geometry, parameters, None, _Nowhere())))
        assert peaks[-1] <= reconstruct_slab_bytes(geometry, parameters)
    assert peaks[1] == pytest.approx(peaks[0], rel=0.02)


@pytest.mark.parametrize("axis", [0.0, 20.0])
@pytest.mark.parametrize("binning", [1, 2])
def test_memory_of_an_image_is_foretold(axis: float, binning: int) -> None:
    image = ArraySource(np.random.default_rng(0).poisson(50, (1, 512, 512)).astype(np.float32))
    how = replace(PLAIN, output_shape=(512 // binning, 512 // binning), binning=binning, dose_weighting=True)
    c, s = math.cos(math.radians(axis)), math.sin(math.radians(axis))
    task = ImageTask(0, (c, -s, s, c), 1.5, 2.5, 30.0)
    assert peak_bytes(partial(prepare_image, image, task, how)) <= prepare_bytes((512, 512))


def test_a_hundredth_of_a_degree_is_no_x_tilt() -> None:
    parameters = ReconstructionParameters(binning=1, thickness_voxels=200)
    for x_tilt, tilted in ((0.01, False), (0.1, True)):
        alignment = TiltAlignment.of([-1.0, 1.0], x_tilt_deg=x_tilt)
        geometry = ReconstructionGeometry.plan((64, 64), 5.0, alignment, None, parameters)
        assert (geometry.x_tilt_deg is not None) == tilted
        assert image_tasks(alignment, parameters)[0].matrix_xy != (1.0, 0.0, 0.0, 1.0)
