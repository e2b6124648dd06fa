"""A simulated series in the formats of other programs, taken back in: the same tomogram, whatever the way."""

from __future__ import annotations

import json
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest
import zarr

from cryodask.cli import main
from cryodask.io.store import Store
from cryodask.model.particles import Particles
from tests.phantom import relative_l2

ALL = (slice(None),) * 3
SYNC = ("--cluster", "sync")
WAYS = {
    "imod": ("model_000/model_000.st", ("--tilt-com", "model_000/tilt.com")),
    "aretomo": ("model_000.mrc", ("--aln", "model_000.aln")),
    "relion5": ("tomograms.star", ()),
    "warp": ("model_000.xml", ()),
}


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def tomogram(store: Path, model: str = "model_000") -> npt.NDArray[np.float32]:
    return Store(store).source(f"{model}/tomogram/scale0", "image").read(ALL)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with shifted images and its tomogram."""
    data = tmp_path_factory.mktemp("simulated") / "data.zarr"
    run(
        *("simulate", "-o", data, "--models", "1", "--classes", "syn-0060-c1,syn-0150-c2", *SYNC),
        *("--set", "simulation.sample.box_voxels=[48,160,192]", "--set", "simulation.sample.particle_count=6"),
        *("--set", "simulation.acquisition.tilt_count=13", "--set", "simulation.acquisition.shift_sigma_angstrom=15"),
    )
    run("reconstruct", data, "-o", data, *SYNC)
    return data


@pytest.mark.parametrize("way", WAYS)
def test_there_and_back_gives_the_same_tomogram(simulated: Path, tmp_path: Path, way: str) -> None:
    name, options = WAYS[way]
    run("export", simulated, "--format", way, "-o", tmp_path / "out")
    files = [text if text.startswith("--") else tmp_path / "out" / text for text in options]
    back = tmp_path / "back.zarr"
    run("import", tmp_path / "out" / name, *files, "-o", back)
    run("check", back)
    run("reconstruct", back, "-o", back, *SYNC)
    assert relative_l2(tomogram(back), tomogram(simulated)) <= 0.01
    # Straight from the files it is the same as by way of a data set.
    run("reconstruct", tmp_path / "out" / name, *files, "--bin", "2", "-o", tmp_path / "direct.mrc", *SYNC)
    np.testing.assert_array_equal(mrcfile.read(tmp_path / "direct.mrc"), tomogram(back))
    assert main(["export", str(simulated), "--format", way, "-o", str(tmp_path / "out")]) == 3
    run("export", simulated, "--format", way, "-o", tmp_path / "out", "--overwrite")


def test_doses_and_optics_come_back(simulated: Path, tmp_path: Path) -> None:
    run("export", simulated, "--format", "relion5", "-o", tmp_path / "out")
    run("import", tmp_path / "out" / "tomograms.star", "-o", tmp_path / "back.zarr")
    before, after = (Store(path).open("model_000/tilt_series") for path in (simulated, tmp_path / "back.zarr"))
    for name in ("tilt_deg", "shift_x_angstrom", "shift_y_angstrom", "prior_dose_e_per_a2", "acquisition_order"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-5, err_msg=name)
    for name in ("pixel_size_angstrom", "sample_thickness_angstrom", "voltage_kv", "spherical_aberration_mm"):
        assert after.attrs[name] == pytest.approx(before.attrs[name])


def test_tomograms_as_mrc(simulated: Path, tmp_path: Path) -> None:
    run("export", simulated, "--format", "mrc", "-o", tmp_path / "out")
    with mrcfile.open(tmp_path / "out" / "model_000.mrc") as file:
        np.testing.assert_array_equal(file.data, tomogram(simulated))
        assert float(file.voxel_size.x) == 10.0
        assert file.is_volume()
        assert float(file.header.rms) == pytest.approx(float(file.data.std()), rel=1e-4)
    assert mrcfile.validate(tmp_path / "out" / "model_000.mrc")
    assert main(["export", str(simulated), "--format", "mrc", "-o", str(tmp_path / "out")]) == 3


def assert_valid_ome04(path: Path, simulated: Path) -> None:
    group = zarr.open_group(str(path), mode="r", zarr_format=2)
    attributes = json.loads((path / ".zattrs").read_text())
    assert [image["version"] for image in attributes["multiscales"]] == ["0.4"]
    fine = np.asarray(group["0"][:])  # type: ignore[index]
    np.testing.assert_array_equal(fine, tomogram(simulated))
    half = np.asarray(group["1"][:])  # type: ignore[index]
    assert half.shape == tuple(n // 2 for n in fine.shape)
    assert (path / "0" / "0" / "0" / "0").is_file()  # nested chunks, as OME-Zarr wants them
    models = pytest.importorskip(
        "ome_zarr_models", reason='ome-zarr-models is not installed; pip install -e ".[peers]"'
    )
    models.v04.Image.from_zarr(group)


def test_tomograms_as_ome_zarr(simulated: Path, tmp_path: Path) -> None:
    run("export", simulated, "--format", "ome-zarr", "-o", tmp_path / "out")
    assert_valid_ome04(tmp_path / "out" / "model_000.zarr", simulated)


def test_a_copick_project(simulated: Path, tmp_path: Path) -> None:
    run("export", simulated, "--format", "copick", "-o", tmp_path / "out")
    runs = tmp_path / "out" / "ExperimentRuns" / "model_000"
    assert_valid_ome04(runs / "VoxelSpacing10.000" / "wbp.zarr", simulated)
    configuration = json.loads((tmp_path / "out" / "copick_config.json").read_text())
    truth = Particles.from_dataset(Store(simulated).read_table("model_000/truth/particles"))
    classes = sorted({str(name) for name in truth.class_id})
    assert [entry["name"] for entry in configuration["pickable_objects"]] == classes
    nz, ny, nx = tomogram(simulated).shape
    shape = (nz, ny, nx)
    for class_id in classes:
        picks = json.loads((runs / "Picks" / f"cryodask_0_{class_id}.json").read_text())
        chosen = truth.take(np.asarray(truth.class_id == class_id))
        voxels = np.array([[point["location"][axis] for axis in "zyx"] for point in picks["points"]]) / 10.0
        np.testing.assert_allclose(voxels, chosen.voxels(shape, 10.0), atol=1e-6)
        rotation = np.array(picks["points"][0]["transformation_"])[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)


def test_the_data_sets_own_pyramid_is_valid_ome_zarr(simulated: Path) -> None:
    models = pytest.importorskip(
        "ome_zarr_models", reason='ome-zarr-models is not installed; pip install -e ".[peers]"'
    )
    group = zarr.open_group(str(simulated / "model_000" / "tomogram"), mode="r", zarr_format=3)
    image = models.v05.Image.from_zarr(group)
    assert len(image.attributes.ome.multiscales[0].datasets) >= 2
