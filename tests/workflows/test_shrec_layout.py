"""Data sets as SHREC 2021 folders and back: nothing lost, and what is not ours is read too."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest

from cryodask.errors import ConfigError, DataError
from cryodask.io.mrc import read_stack, read_volume, write_volume
from cryodask.io.shrec import read_locations, read_truth_folder
from cryodask.io.shrec_model import read_alignment, shrec_labels
from cryodask.io.store import Store
from cryodask.model.progress import NullProgress
from cryodask.workflows.evaluate import evaluate, read_submissions, truths_of_store
from cryodask.workflows.export_shrec import ShrecExport, export_shrec
from cryodask.workflows.import_shrec import ShrecImport, import_shrec, shrec_folders
from cryodask.workflows.reconstruct import ReconstructJob, reconstruct
from cryodask.workflows.simulate import SimulateJob, simulate
from tests.tiny import PARAMETERS, job
from tests.workflows.conftest import Reference

EVERYTHING = (slice(None),) * 3


def exported(store: Store, folder: Path, how: ShrecExport | None = None) -> Path:
    export_shrec(store, folder, how or ShrecExport(), progress=NullProgress())
    return folder


def imported(folder: Path, target: Path, how: ShrecImport | None = None) -> Store:
    store = Store(target)
    import_shrec(shrec_folders(folder), store, how or ShrecImport(), progress=NullProgress())
    return store


@pytest.fixture(scope="module")
def layout_folder(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(reference.store, tmp_path_factory.mktemp("layout") / "out")


def assert_same(found: Store, expected: Store, model: str) -> None:
    for part in ("truth", "tilt_series", "tomogram/scale0"):
        group = f"{model}/{part}"
        ours, theirs = found.open(group), expected.open(group)
        assert set(ours.variables) == set(theirs.variables)
        for name in ours.variables:
            np.testing.assert_array_equal(ours[name].to_numpy(), theirs[name].to_numpy(), err_msg=f"{group}/{name}")
            assert ours[name].dtype == theirs[name].dtype
        assert dict(ours.attrs) == dict(theirs.attrs)
    tables = [store.read_table(f"{model}/truth/particles") for store in (found, expected)]
    for name in tables[0].variables:
        np.testing.assert_array_equal(tables[0][name].to_numpy(), tables[1][name].to_numpy())


@pytest.mark.parametrize("depth", [512, 32])
def test_export_and_import_lose_nothing(reference: Reference, tmp_path: Path, depth: int) -> None:
    folder = exported(reference.store, tmp_path / "out", ShrecExport(depth_voxels=depth))
    back = imported(folder, tmp_path / "back.zarr")
    assert_same(back, reference.store, "model_000")
    back_again = imported(folder, tmp_path / "back.zarr")
    assert [entry.token for entry in back_again.groups()] == [entry.token for entry in back.groups()]


def test_a_scaled_series_keeps_all_its_images(tmp_path: Path) -> None:
    detector = replace(PARAMETERS.simulation.detector, ring_scaling="synthetic")
    simulation = replace(PARAMETERS.simulation, detector=detector)
    given = replace(job(), parameters=simulation, models=1)
    assert isinstance(given, SimulateJob)
    store = Store(tmp_path / "data.zarr")
    simulate(store, given, client=None, progress=NullProgress())
    folder = exported(store, tmp_path / "out")
    # Participants reconstruct the scaled images.
    shown = read_stack(folder / "model_0" / "projections_unbinned.mrc")[0]
    np.testing.assert_array_equal(shown, store.source("model_000/tilt_series", "scaled").read(EVERYTHING))
    back = imported(folder, tmp_path / "back.zarr")
    for name in ("counts", "noise_free", "scaled", "scaled_noise_free"):
        ours, theirs = (s.source("model_000/tilt_series", name).read(EVERYTHING) for s in (store, back))
        np.testing.assert_array_equal(theirs, ours)


def test_the_files_say_what_the_benchmarks_do(reference: Reference, layout_folder: Path) -> None:
    model = layout_folder / "model_0"
    truth = truths_of_store(reference.store)[0]
    found = read_truth_folder(model)
    assert found.shape == (512, *truth.shape[1:])
    # The list is in the frame of the masks, in whole voxels; relative to the centre nothing moves.
    voxel = read_locations(model / "particle_locations.txt").voxel
    np.testing.assert_array_equal(voxel, np.rint(truth.particles.voxels(found.shape, 10.0)))
    np.testing.assert_allclose(found.particles.position_angstrom, truth.particles.position_angstrom, atol=5.0)
    np.testing.assert_allclose(found.particles.zxz_deg, truth.particles.zxz_deg, atol=1e-4)
    occupancy, size = read_volume(model / "occupancy_mask.mrc", dtype=None)
    assert size == 10.0
    margin = (512 - truth.shape[0]) // 2
    np.testing.assert_array_equal(occupancy[margin:-margin], truth.read_occupancy())
    assert not occupancy[:margin].any()
    assert not occupancy[-margin:].any()
    for name in ("grandmodel.mrc", "reconstruction.mrc", "class_mask.mrc"):
        assert mrcfile.validate(str(model / name))
        assert read_volume(model / name)[0].shape == found.shape
    images = read_stack(model / "projections_unbinned.mrc")[0]
    binned, size = read_stack(model / "projections.mrc")
    assert size == 10.0
    assert binned.shape == (len(images), images.shape[1] // 2, images.shape[2] // 2)
    np.testing.assert_allclose(binned.mean(axis=(1, 2)), images.mean(axis=(1, 2)), rtol=1e-5)
    series = reference.store.open("model_000/tilt_series")
    tilts, shifts_y, shifts_x = read_alignment(model / "alignment_simulated.txt")
    np.testing.assert_allclose(tilts, series["tilt_deg"], atol=1e-9)
    np.testing.assert_allclose(shifts_y * 5, series["shift_y_angstrom"], atol=1e-8)
    np.testing.assert_allclose(shifts_x * 5, series["shift_x_angstrom"], atol=1e-8)
    assert "-60.0000000000" in (model / "alignment_simulated.txt").read_text().splitlines()[-1]


@pytest.mark.parametrize("mode", ["shrec21", "strict"])
def test_an_exported_model_scores_like_the_data_set(reference: Reference, tmp_path: Path, mode: str) -> None:
    # A list counts z in the frame of its truth: that of the data set has no margin.
    depth = truths_of_store(reference.store)[0].shape[0]
    model = exported(reference.store, tmp_path / "out", ShrecExport(depth_voxels=depth)) / "model_0"
    listed = model / "particle_locations.txt"
    results = []
    for truth in (model, Path(reference.store.path)):
        truths, picks = read_submissions([listed], [truth])
        # The data set spells its classes in its own way.
        own = {name.upper(): name for name in truths[0].load().class_ids}
        spelt = replace(picks, class_id=np.array([own[str(name)] for name in picks.class_id], object))
        results.append(evaluate(truths, spelt, mode, client=None, progress=NullProgress())["localization"])
    # Positions rounded to voxels in one truth and exact in the other: distances differ, counts do not.
    for key in ("RR", "TP", "FP", "FN", "MH", "F1"):
        assert results[0][key] == results[1][key], key


def test_withheld_truth_is_in_its_own_folder_only(reference: Reference, tmp_path: Path) -> None:
    folder = exported(reference.store, tmp_path / "out", ShrecExport(withhold_truth=(0,)))
    shown = {path.name for path in (folder / "model_0").iterdir()}
    hidden = {path.name for path in (folder / "withheld_truth" / "model_0").iterdir()}
    telling = {"particle_locations.txt", "class_mask.mrc", "occupancy_mask.mrc", "grandmodel.mrc"}
    assert telling <= hidden
    assert "noisefree_projections.mrc" in hidden
    assert not shown & (telling | {"noisefree_projections.mrc"})
    assert {"reconstruction.mrc", "projections.mrc", "alignment_simulated.txt"} <= shown
    record = json.loads((folder / "model_0" / "cryodask.json").read_text())
    assert not record["particles"]
    assert not record["truth"]
    # What participants get is a data set without truth; the organisers' part scores it.
    participant = imported(folder, tmp_path / "participant.zarr")
    assert [entry.kind for entry in participant.groups()] == ["tilt-series", "tomogram"]
    truth = read_truth_folder(folder / "withheld_truth" / "model_0")
    assert len(truth.particles) == len(truths_of_store(reference.store)[0].particles)


def foreign(folder: Path, *, depth: int, values: type = np.float32) -> Path:
    """A model as the organisers write it: their classes, float masks, no record of ours; content 180 slices deep."""
    model = folder / "model_7"
    model.mkdir(parents=True)
    content: npt.NDArray[Any] = np.zeros((180, 16, 16), values)
    content[20:24, 4:8, 4:8] = 1
    content[100:104, 9:13, 9:13] = 2
    margin = (depth - 180) // 2
    occupancy = np.pad(content, ((margin, margin), (0, 0), (0, 0)))
    write_volume(model / "occupancy_mask.mrc", occupancy, 1.0)
    write_volume(model / "class_mask.mrc", np.array([0, 4, 15], values)[occupancy.astype(int)], 1.0)
    write_volume(model / "reconstruction.mrc", occupancy.astype(np.float32) - 1, 1.0)
    (model / "particle_locations.txt").write_text(
        f"1BXN 6 6 {22 + margin} 10 20 30\nfiducial 11 11 {102 + margin} NaN NaN NaN\n"
    )
    write_volume(model / "projections_unbinned.mrc", np.ones((3, 32, 32), np.float32), 1.0, stack=True)
    (model / "alignment_simulated.txt").write_text(
        "#a\n-2.0 1.0 60 0 1 ./x.mrc\n0 0 0 -0.0 1 ./y.mrc\n2.5 0 -60 0 1 ./z.mrc\n"
    )
    return folder


@pytest.mark.parametrize("depth", [512, 180])
def test_the_organisers_folders_are_read(tmp_path: Path, depth: int) -> None:
    store = imported(foreign(tmp_path / "in", depth=depth), tmp_path / "data.zarr")
    (truth,) = truths_of_store(store)
    assert truth.name == "model_007"
    assert truth.shape == (180, 16, 16)
    np.testing.assert_allclose(truth.particles.voxels(truth.shape, 10.0), [[22, 6, 6], [102, 11, 11]])
    mask = store.source("model_007/truth", "class_mask").read(EVERYTHING)
    classes = store.info("model_007/truth")["classes"]
    assert [classes[label - 1] for label in np.unique(mask)[1:]] == ["1BXN", "fiducial"]
    assert store.info("model_007/truth")["molecular_weight_kda"]["1BXN"] == 559.96
    series = store.open("model_007/tilt_series")
    np.testing.assert_array_equal(series["tilt_deg"], [-60, 0, 60])
    np.testing.assert_array_equal(series["shift_x_angstrom"], [10, 0, -12.5])
    tomogram = store.open("model_007/tomogram/scale0")
    assert tomogram["image"].shape == (180, 16, 16)
    assert tomogram.attrs["tilt_deg"] == [-60, 0, 60]
    assert tomogram.attrs["voxel_size_angstrom"] == 10.0


def test_a_model_without_a_class_mask_gets_one_from_its_ids(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "in", depth=180)
    with_mask = imported(folder, tmp_path / "a.zarr").source("model_007/truth", "class_mask").read(EVERYTHING)
    (folder / "model_7" / "class_mask.mrc").unlink()
    without = imported(folder, tmp_path / "b.zarr").source("model_007/truth", "class_mask").read(EVERYTHING)
    np.testing.assert_array_equal(with_mask, without)


def test_models_of_any_name_get_a_number(reference: Reference, tmp_path: Path) -> None:
    named = tmp_path / "named.zarr"
    shutil.copytree(reference.store.path, named)
    for name in ("TS_02", "TS_01"):
        shutil.copytree(named / "model_000", named / name)
    folders = export_shrec(Store(named), tmp_path / "out", ShrecExport(), progress=NullProgress())
    assert folders == {"model_000": "model_0", "TS_01": "model_1", "TS_02": "model_2"}
    first, third = (read_stack(tmp_path / "out" / f"model_{n}" / "projections.mrc")[0] for n in (0, 2))
    np.testing.assert_array_equal(first, third)


def test_labels_are_the_benchmarks_where_all_classes_are() -> None:
    assert shrec_labels(["1bxn", "1s3x", "fiducial"]) == {"1bxn": 4, "1s3x": 12, "fiducial": 15}
    assert shrec_labels(["1bxn", "other"]) == {"1bxn": 1, "other": 2}


# -- what cannot be ------------------------------------------------------------------------------------------------


def test_an_export_refuses_what_it_cannot_do(reference: Reference, layout_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exists: choose another output"):
        exported(reference.store, layout_folder)
    with pytest.raises(ConfigError, match="has no model_3; it has model_0"):
        exported(reference.store, tmp_path / "a", ShrecExport(withhold_truth=(3,)))
    with pytest.raises(ConfigError, match="--depth 11: model_000 is"):
        exported(reference.store, tmp_path / "b", ShrecExport(depth_voxels=11))
    assert not (tmp_path / "b").exists()
    with pytest.raises(DataError, match="no finished model to export"):
        exported(Store(tmp_path / "empty.zarr").create(), tmp_path / "c")


def damage(model: Path, kind: str) -> None:
    record = model / "cryodask.json"
    content = json.loads(record.read_text())
    if kind == "text":
        record.write_text("{")
    elif kind == "version":
        record.write_text(json.dumps({**content, "version": 9}))
    elif kind == "types":
        record.write_text(json.dumps({**content, "images": ["a"]}))
    elif kind == "escape":
        record.write_text(json.dumps({**content, "images": {"counts": "../x.mrc"}}))
    elif kind == "columns":
        del content["particles"]["x_angstrom"]
        record.write_text(json.dumps(content))
    elif kind == "list":
        lines = (model / "particle_locations.txt").read_text().splitlines()
        (model / "particle_locations.txt").write_text("\n".join(lines[::-1]) + "\n")
    elif kind == "tilts":
        content["coordinates"]["tilt_deg"] = content["coordinates"]["tilt_deg"][:-1]
        record.write_text(json.dumps(content))
    elif kind == "labels":
        volume = read_volume(model / "class_mask.mrc", dtype=None)[0]
        write_volume(model / "class_mask.mrc", volume + 50 * (volume > 0).astype(volume.dtype), 10.0, overwrite=True)
    elif kind == "shape":
        write_volume(model / "class_mask.mrc", np.zeros((12, 8, 8), np.float32), 10.0, overwrite=True)
    elif kind == "rotation":
        record.unlink()
        text = (model / "alignment_simulated.txt").read_text().replace("     0.0000000000    1.0", "     3.0    1.0")
        (model / "alignment_simulated.txt").write_text(text)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "is no JSON"),
        ("version", "no record of version 1"),
        ("types", "damaged"),
        ("escape", "no name of a file"),
        ("columns", "table of particles is damaged"),
        ("list", "coordinate frame mismatch|list different particles"),
        ("tilts", "tilts another number"),
        ("labels", "belong to no class"),
        ("shape", "cannot be its middle|not of one model"),
        ("rotation", "in-plane rotation 3.0"),
    ],
)
def test_damaged_models_are_refused(layout_folder: Path, tmp_path: Path, kind: str, message: str) -> None:
    model = tmp_path / "in" / "model_0"
    shutil.copytree(layout_folder / "model_0", model)
    damage(model, kind)
    with pytest.raises((DataError, ConfigError), match=message):
        imported(tmp_path / "in", tmp_path / "back.zarr")


def test_an_imported_model_can_be_reconstructed(reference: Reference, layout_folder: Path, tmp_path: Path) -> None:
    back = imported(layout_folder, tmp_path / "back.zarr")
    again = Store(tmp_path / "again.zarr")
    done = ReconstructJob(parameters=PARAMETERS.reconstruction)
    reconstruct(back, again, done, client=None, progress=NullProgress())
    found, expected = (
        s.source("model_000/tomogram/scale0", "image").read(EVERYTHING) for s in (again, reference.store)
    )
    np.testing.assert_array_equal(found, expected)
