"""The Python API: the chain on xarray objects gives what the workflows store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client, get_task_stream

import cryodask as cd
from cryodask.errors import ConfigError, DataError, NotInStoreError, StoreError
from cryodask.io.store import Store
from cryodask.model.progress import NullProgress
from cryodask.workflows.reconstruct import ReconstructJob
from cryodask.workflows.reconstruct import reconstruct as reconstruct_workflow
from tests.tiny import PARAMETERS, SAMPLE, nothing_computes

MODEL = "model_000"
SIMULATION = type(PARAMETERS.simulation)(
    sample=type(SAMPLE)(box_voxels=(32, 64, 64), particle_count=(3, 3), molecular_weight_kda=(50, 200)),
    microscope=PARAMETERS.simulation.microscope,
    acquisition=PARAMETERS.simulation.acquisition,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api") / "data.zarr"
    cd.simulate(folder, parameters=SIMULATION, seed=3)
    store = Store(folder)
    job = ReconstructJob(parameters=PARAMETERS.reconstruction)
    reconstruct_workflow(store, store, job, client=None, progress=NullProgress())
    return folder


@pytest.fixture(scope="module")
def data(path: Path) -> xr.DataTree:
    opened: xr.DataTree = cd.open(path)
    return opened


@pytest.fixture(scope="module")
def tomogram(data: xr.DataTree) -> xr.Dataset:
    made: xr.Dataset = cd.reconstruct(data[f"{MODEL}/tilt_series"].to_dataset(), parameters=PARAMETERS.reconstruction)
    return made


@pytest.fixture(scope="module")
def templates(data: xr.DataTree) -> dict[str, xr.DataArray]:
    found = {}
    for name, node in data["structures"].children.items():
        density = node["electrostatic_v"]
        found[name] = density.assign_attrs(
            voxel_size_angstrom=node.attrs["voxel_size_angstrom"], radius_angstrom=node.attrs["radius_angstrom"]
        )
    return found


@pytest.fixture(scope="module")
def picks(tomogram: xr.Dataset, templates: dict[str, xr.DataArray]) -> xr.Dataset:
    found: xr.Dataset = cd.match(tomogram, templates, parameters=PARAMETERS.matching, name=MODEL)
    return found


def test_opening_is_lazy_and_holds_every_complete_group(path: Path) -> None:
    with nothing_computes():
        data = cd.open(path)
    groups = {node.path.removeprefix("/") for node in data.subtree if node.data_vars}
    assert groups == {entry.path for entry in Store(path).groups()}
    assert data[f"{MODEL}/tilt_series"]["counts"].dims == ("tilt", "y", "x")
    assert data[f"{MODEL}/tilt_series"]["counts"].chunks is not None


def test_any_selection_reads_what_it_names(data: xr.DataTree) -> None:
    counts = data[f"{MODEL}/tilt_series"]["counts"]
    whole = counts.to_numpy()
    for index in (
        {"tilt": 2},
        {"tilt": -1, "y": slice(3, 40, 7)},
        {"tilt": [0, 3], "x": 5},
        {"y": slice(50, 10, -3)},
        {"tilt": slice(1, 1)},
    ):
        expected = xr.DataArray(whole, dims=counts.dims).isel(index).to_numpy()
        assert np.array_equal(counts.isel(index).to_numpy(), expected), index


def test_simulating_again_keeps_what_is_there(path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}
    cd.simulate(path, parameters=SIMULATION, seed=3)
    after = {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file() and file in before}
    changed = {file.relative_to(path).as_posix() for file in before if after[file] != before[file]}
    assert not {name for name in changed if "/c/" in name}
    with pytest.raises(StoreError, match="seed: stored 3, asked for 4"):
        cd.simulate(path, parameters=SIMULATION, seed=4)


def test_reconstructing_gives_the_bits_of_the_workflow(data: xr.DataTree, tomogram: xr.Dataset) -> None:
    stored = data[f"{MODEL}/tomogram/scale0"].to_dataset()
    assert tomogram["image"].to_numpy().tobytes() == stored["image"].to_numpy().tobytes()
    for name in ("voxel_size_angstrom", "tilt_deg", "defocus_um", "voltage_kv"):
        assert tomogram.attrs[name] == stored.attrs[name]


def test_noise_free_images_can_be_reconstructed_too(data: xr.DataTree, tomogram: xr.Dataset) -> None:
    series = data[f"{MODEL}/tilt_series"].to_dataset()
    clean = cd.reconstruct(series, parameters=PARAMETERS.reconstruction, image="noise_free")
    assert clean["image"].std() < tomogram["image"].std()


def test_picks_are_a_table_best_first(picks: xr.Dataset, data: xr.DataTree) -> None:
    assert {"class_id", "z_angstrom", "y_angstrom", "x_angstrom", "score", "z1_deg"} <= set(picks)
    assert (np.diff(picks["score"].to_numpy()) <= 0).all()
    assert set(picks["tomogram"].to_numpy()) == {MODEL}
    assert picks.attrs["rotations"] == 20
    truth = data[f"{MODEL}/truth/particles"].to_dataset()
    columns = ("z_angstrom", "y_angstrom", "x_angstrom")
    best = np.array([float(picks[name][0]) for name in columns])
    placed = np.stack([truth[name].to_numpy() for name in columns], axis=1)
    assert np.linalg.norm(placed - best, axis=1).min() < 30


def test_the_active_client_does_the_work(
    tomogram: xr.Dataset, templates: dict[str, xr.DataArray], picks: xr.Dataset
) -> None:
    with (
        Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client,
        get_task_stream(client) as stream,
    ):
        again = cd.match(tomogram, templates, parameters=PARAMETERS.matching, name=MODEL)
    assert {task["key"].split("-")[0] for task in stream.data} >= {"prepare_tile", "search_batch", "peaks_of"}
    assert again.drop_attrs().identical(picks.drop_attrs())


def test_evaluating_against_the_truth(picks: xr.Dataset, data: xr.DataTree) -> None:
    truth = data[f"{MODEL}/truth"]
    for mode in ("strict", "shrec21"):
        score = cd.evaluate(picks, truth, mode=mode, name=MODEL)
        assert score["mode"] == mode
        assert score["localization"]["TP"] >= 1
        perfect = cd.evaluate(truth["particles"].to_dataset(), truth, mode=mode, name=MODEL)
        assert perfect["localization"]["F1"] == 1.0
    with pytest.raises(ConfigError, match="unknown evaluation mode 'lenient'"):
        cd.evaluate(picks, truth, mode="lenient", name=MODEL)


def test_contrast_decides_where_the_optics_are_unknown(
    tomogram: xr.Dataset, templates: dict[str, xr.DataArray]
) -> None:
    unknown = xr.Dataset({"image": tomogram["image"]}, attrs={"voxel_size_angstrom": 10.0})
    one = {"syn-0060-c1": templates["syn-0060-c1"]}
    dark, bright = (
        cd.match(unknown, one, parameters=PARAMETERS.matching, contrast=contrast) for contrast in ("dark", "bright")
    )
    inverted = unknown.assign(image=-unknown["image"])
    again = cd.match(inverted, one, parameters=PARAMETERS.matching, contrast="bright")
    assert np.array_equal(again["score"], dark["score"])
    assert not np.array_equal(bright["score"], dark["score"])


def test_what_is_not_what_it_should_be_is_refused(
    tmp_path: Path, data: xr.DataTree, tomogram: xr.Dataset, templates: dict[str, xr.DataArray], picks: xr.Dataset
) -> None:
    with pytest.raises(NotInStoreError, match="there is no data set at"):
        cd.open(tmp_path / "nothing.zarr")
    with pytest.raises(DataError, match="no variable 'tilt_deg'"):
        cd.reconstruct(data[f"{MODEL}/tilt_series"].to_dataset().drop_vars("tilt_deg"))
    with pytest.raises(DataError, match="contrast is 'grey', must be dark or bright"):
        cd.match(tomogram, templates, contrast="grey")
    with pytest.raises(DataError, match="tomogram: no variable 'image'"):
        cd.match(data[f"{MODEL}/tilt_series"].to_dataset(), templates)
    bare = {"t": templates["syn-0060-c1"].drop_attrs()}
    with pytest.raises(DataError, match=r"template t: .* lacks voxel_size_angstrom, radius_angstrom"):
        cd.match(tomogram, bare)
    flat = {"t": templates["syn-0060-c1"].isel(z=0)}
    with pytest.raises(DataError, match=r"template t: .* it has 2 dimensions"):
        cd.match(tomogram, flat)
    with pytest.raises(DataError, match="give the node 'truth' of a simulated tomogram"):
        cd.evaluate(picks, data[f"{MODEL}/grand_model"])
    with pytest.raises(DataError, match="lacks the columns"):
        cd.evaluate(xr.Dataset(), data[f"{MODEL}/truth"])
