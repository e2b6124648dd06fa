"""The data set store: what is written comes back, interruptions resume, damage and misuse raise."""

from __future__ import annotations

import json
import pickle
import resource
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cryodask.errors import ConfigError, NotInStoreError, StoreError
from cryodask.io.ome import ome_multiscales
from cryodask.io.store import SCHEMA_VERSION, GroupSpec, Store, Variable
from cryodask.model.particles import Particles

SHAPE = (7, 9)


def spec(
    *, token: str = "t1", chunks: tuple[int, int] = (3, 9), dtype: str = "float32", **parameters: object
) -> GroupSpec:
    return GroupSpec(
        kind="test",
        token=token,
        parameters={"seed": 1, "sample": {"sizes": (1, 2)}, **parameters},
        variables=(Variable(name="v", dims=("y", "x"), shape=SHAPE, dtype=dtype, chunks=chunks, attrs={"units": "V"}),),
        coordinates={"y": (("y",), np.arange(7) * 5.0, {"units": "angstrom"})},
        attrs={"note": "n"},
        blocks=3,
    )


def fill(store: Store, group: str, values: npt.NDArray[Any], rows: int = 3) -> None:
    for block, first in enumerate(range(0, SHAPE[0], rows)):
        store.write(group, "v", (first, 0), values[first : first + rows])
        store.mark_done(group, block)
    store.finish(group, {"mean": 1.5})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data.zarr").create()


@pytest.fixture
def values() -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)


def chunk_files(store: Store, array: str) -> list[Path]:
    return sorted(file for file in Path(store.path, array, "c").rglob("*") if file.is_file())


def test_round_trip_through_own_reader_and_through_xarray(store: Store, values: npt.NDArray[np.float32]) -> None:
    assert store.prepare("m/grand", spec()) == [0, 1, 2]
    fill(store, "m/grand", values)
    opened = store.open("m/grand")
    plain = xr.open_zarr(Path(store.path, "m/grand"), consolidated=False)
    for dataset in (opened, plain):
        np.testing.assert_array_equal(dataset["v"].to_numpy(), values)
        np.testing.assert_array_equal(dataset["y"].to_numpy(), np.arange(7) * 5.0)
        assert dataset["v"].dims == ("y", "x")
        assert dataset["v"].attrs["units"] == "V"
        assert "y" in dataset.coords
    assert opened["v"].chunks == ((3, 3, 1), (9,))
    assert opened.attrs == {"note": "n", "mean": 1.5}
    assert store.parameters("m/grand") == {"seed": 1, "sample": {"sizes": [1, 2]}}


def test_table_of_contents(store: Store, values: npt.NDArray[np.float32]) -> None:
    store.prepare("m/b", spec())
    store.prepare("m/a", spec())
    fill(store, "m/a", values)
    assert [(e.path, e.kind, e.complete) for e in store.groups()] == [("m/a", "test", True), ("m/b", "test", False)]
    assert store.is_complete("m/a")
    assert store.is_complete("m/a", "t1")
    assert not store.is_complete("m/a", "t2")
    assert not store.is_complete("m/b")
    assert not store.is_complete("m")


def _write_row_block(task: tuple[Store, int, npt.NDArray[np.float32]]) -> None:
    store, block, rows = task
    store.write("g", "v", (3 * block, 0), rows)
    store.mark_done("g", block)


def test_workers_in_other_processes_write(store: Store, values: npt.NDArray[np.float32]) -> None:
    store.prepare("g", spec())
    tasks = [(store, block, values[3 * block : 3 * block + 3]) for block in range(3)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_write_row_block, tasks))
    store.finish("g")
    np.testing.assert_array_equal(store.open("g")["v"].to_numpy(), values)


@settings(max_examples=12, deadline=None)
@example(rows=1, columns=1, dtype="uint8")
@given(rows=st.integers(1, 7), columns=st.integers(1, 9), dtype=st.sampled_from(["float32", "int16", "uint8"]))
def test_chunking_does_not_change_the_data(
    tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int, dtype: str
) -> None:
    store = Store(tmp_path_factory.mktemp("s") / "d").create()
    data = np.random.default_rng(rows * 10 + columns).integers(0, 3, SHAPE).astype(dtype)
    store.prepare("g", spec(chunks=(rows, columns), dtype=dtype))
    for y in range(0, SHAPE[0], rows):
        for x in range(0, SHAPE[1], columns):
            store.write("g", "v", (y, x), data[y : y + rows, x : x + columns])
    for block in range(3):
        store.mark_done("g", block)
    store.finish("g")
    np.testing.assert_array_equal(store.open("g")["v"].to_numpy(), data)
    source = pickle.loads(pickle.dumps(store.source("g", "v")))
    np.testing.assert_array_equal(source.read((slice(2, 5), slice(1, 8))), data[2:5, 1:8])
    assert (source.shape, source.dtype) == (SHAPE, np.dtype(dtype))


def test_resumes_between_write_and_record(store: Store, values: npt.NDArray[np.float32]) -> None:
    store.prepare("g", spec())
    store.write("g", "v", (0, 0), values[:3])
    store.mark_done("g", 0)
    store.write("g", "v", (3, 0), values[3:6])  # killed here, before mark_done
    assert store.prepare("g", spec()) == [1, 2]
    with pytest.raises(StoreError, match="2 blocks are missing"):
        store.finish("g")
    with pytest.raises(StoreError, match=r"not complete.*2 of its blocks"):
        store.open("g")
    seen = store.open("g", allow_incomplete=True)["v"].to_numpy()
    np.testing.assert_array_equal(seen[:6], values[:6])
    assert np.isnan(seen[6]).all()
    fill(store, "g", values)
    assert store.prepare("g", spec()) == []
    np.testing.assert_array_equal(store.open("g")["v"].to_numpy(), values)


def test_killed_process_leaves_a_resumable_group(store: Store, values: npt.NDArray[np.float32]) -> None:
    code = (
        "import os, signal, sys, numpy as np\n"
        "from cryodask.io.store import Store\n"
        "s = Store(sys.argv[1])\n"
        "s.write('g', 'v', (0, 0), np.ones((3, 9), np.float32)); s.mark_done('g', 0)\n"
        "s.write('g', 'v', (3, 0), np.ones((3, 9), np.float32))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    store.prepare("g", spec())
    assert subprocess.run([sys.executable, "-c", code, store.path], check=False).returncode == -9
    left_over = Path(store.path, "g", "v", "c", "1", "0.123.partial")
    left_over.write_bytes(b"half")
    skeleton = Path(store.path, ".g.abc.partial")
    skeleton.mkdir()
    assert store.prepare("g", spec()) == [1, 2]
    assert not left_over.exists()
    assert not skeleton.exists()


def test_failure_while_laying_the_skeleton_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(zarr.Group, "update_attributes", fail)
        with pytest.raises(KeyboardInterrupt):
            store.prepare("m/g", spec())
    assert store.groups() == []
    assert [file.name for file in Path(store.path).iterdir()] == ["zarr.json"]
    assert store.prepare("m/g", spec()) == [0, 1, 2]


def test_other_token_is_refused_with_the_differences(store: Store, values: npt.NDArray[np.float32]) -> None:
    store.prepare("g", spec(thickness=3))
    fill(store, "g", values)
    other = spec(token="t2", thickness=4)
    with pytest.raises(StoreError, match=r"thickness: stored 3, asked for 4[\s\S]*--overwrite") as caught:
        store.prepare("g", other)
    assert "seed" not in str(caught.value)
    with pytest.raises(StoreError, match="other inputs"):
        store.prepare("g", spec(token="t2", thickness=3))
    np.testing.assert_array_equal(store.open("g")["v"].to_numpy(), values)
    assert store.prepare("g", other, overwrite=True) == [0, 1, 2]
    assert np.isnan(store.open("g", allow_incomplete=True)["v"].to_numpy()).all()
    assert [file.name for file in Path(store.path).glob(".*")] == []


def test_container_of_groups_is_not_replaced_by_accident(store: Store, values: npt.NDArray[np.float32]) -> None:
    store.prepare("m/g", spec())
    fill(store, "m/g", values)
    with pytest.raises(StoreError, match="holds other groups"):
        store.prepare("m", spec())
    assert store.is_complete("m/g")


@pytest.mark.parametrize(
    ("start", "shape", "dtype", "message"),
    [
        ((1, 0), (3, 9), "float32", "whole chunks"),
        ((0, 0), (2, 9), "float32", "whole chunks"),
        ((0, 0), (3, 8), "float32", "whole chunks"),
        ((6, 0), (3, 9), "float32", "whole chunks"),
        ((-3, 0), (3, 9), "float32", "whole chunks"),
        ((0, 0), (3, 9), "float64", "holds float32, the block is float64"),
        ((0,), (3,), "float32", "does not fit"),
    ],
)
def test_misplaced_writes_are_refused(
    store: Store, start: tuple[int, ...], shape: tuple[int, ...], dtype: str, message: str
) -> None:
    store.prepare("g", spec())
    with pytest.raises(StoreError, match=message):
        store.write("g", "v", start, np.zeros(shape, dtype))
    assert not Path(store.path, "g", "v", "c").exists()


def test_the_shard_is_the_unit_of_writing(store: Store) -> None:
    variable = Variable(name="v", dims=("y", "x"), shape=(8, 8), dtype="float32", chunks=(2, 4), shards=(4, 8))
    store.prepare("g", GroupSpec(kind="k", token="t", parameters={}, variables=(variable,)))
    with pytest.raises(StoreError, match="whole chunks of 4"):
        store.write("g", "v", (2, 0), np.zeros((2, 8), np.float32))
    store.write("g", "v", (0, 0), np.zeros((4, 8), np.float32))
    store.write("g", "v", (4, 0), np.ones((4, 8), np.float32))
    store.mark_done("g", 0)
    store.finish("g")
    assert store.open("g")["v"].to_numpy().sum() == 32
    assert len(chunk_files(store, "g/v")) == 2


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_chunk_raises_naming_the_file(store: Store, values: npt.NDArray[np.float32], damage: str) -> None:
    store.prepare("g", spec())
    fill(store, "g", values)
    file = chunk_files(store, "g/v")[1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(content if damage == "flip" else content[:-7])
    with pytest.raises(StoreError, match=r"'g/v' is damaged: .*c/1/0: .*--overwrite"):
        store.open("g")["v"].to_numpy()
    with pytest.raises(StoreError, match=r"'g/v' is damaged: .*c/1/0: "):
        store.source("g", "v").read((slice(4, 5), slice(0, 9)))
    np.testing.assert_array_equal(store.source("g", "v").read((slice(0, 3), slice(0, 9))), values[:3])


def test_every_flipped_byte_of_a_chunk_is_noticed(store: Store, values: npt.NDArray[np.float32]) -> None:
    store.prepare("g", spec())
    fill(store, "g", values)
    file = chunk_files(store, "g/v")[0]
    content = file.read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(StoreError):
            store.source("g", "v").read((slice(0, 3), slice(0, 9)))


def test_all_zero_blocks_are_files_too(store: Store) -> None:
    store.prepare("g", spec(dtype="uint8"))
    fill(store, "g", np.zeros(SHAPE, np.uint8))
    assert len(chunk_files(store, "g/v")) == 3


def test_full_disk_is_a_store_error_and_leaves_no_half_file(store: Store) -> None:
    rng = np.random.default_rng(0)
    variable = Variable(name="v", dims=("x",), shape=(40000,), dtype="float32", chunks=(40000,))
    store.prepare("g", GroupSpec(kind="k", token="t", parameters={}, variables=(variable,)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(StoreError, match=r"cannot write g/v in .*File too large.*continues"):
            store.write("g", "v", (0,), rng.normal(size=40000).astype(np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert chunk_files(store, "g/v") == []


def test_tables_keep_their_text(store: Store) -> None:
    particles = Particles.create(
        ["1bxn", "nan", "µ-ä", ""], np.arange(12.0).reshape(4, 3), tomogram="model_0", score=[1, 2, np.nan, 4]
    )
    for _ in range(2):  # the same token may be written again
        store.write_table("m/truth", particles.to_dataset(), kind="particles", token="t", parameters={"a": 1})
    back = Particles.from_dataset(store.read_table("m/truth"))
    assert list(back.class_id) == list(particles.class_id)
    assert list(back.tomogram) == ["model_0"] * 4
    np.testing.assert_array_equal(back.position_angstrom, particles.position_angstrom)
    np.testing.assert_array_equal(back.score, particles.score)
    assert store.is_complete("m/truth", "t")
    with pytest.raises(StoreError, match="a: stored 1, asked for 2"):
        store.write_table("m/truth", particles.to_dataset(), kind="particles", token="u", parameters={"a": 2})


def test_empty_table(store: Store) -> None:
    empty = Particles.create([], np.empty((0, 3)))
    store.write_table("t", empty.to_dataset(), kind="particles", token="t", parameters={})
    assert len(Particles.from_dataset(store.read_table("t"))) == 0


def test_paths_that_are_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotInStoreError, match="no data set at"):
        Store(tmp_path / "missing").groups()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.tex").write_text("keep me")
    for action in (Store(folder).groups, Store(folder).create):
        with pytest.raises(StoreError, match="not a data set"):
            action()
    assert [file.name for file in folder.iterdir()] == ["thesis.tex"]
    with pytest.raises(StoreError, match="is a data set already"):
        Store(Store(tmp_path / "d").create().path).create(exist_ok=False)


@pytest.mark.parametrize(("version", "remedy"), [(SCHEMA_VERSION + 1, "newer"), (SCHEMA_VERSION - 1, "again")])
def test_other_schema_versions_are_refused(store: Store, version: int, remedy: str) -> None:
    file = Path(store.path, "zarr.json")
    content = json.loads(file.read_text())
    content["attributes"]["cryodask"]["schema_version"] = version
    file.write_text(json.dumps(content))
    for action in (store.groups, store.create, lambda: store.prepare("g", spec()), lambda: store.open("g")):
        with pytest.raises(StoreError, match=f"schema version {version}.*{remedy}"):
            action()


def test_missing_groups_and_variables(store: Store) -> None:
    store.prepare("here", spec())
    with pytest.raises(NotInStoreError, match=r"no group 'gone'; its groups: here"):
        store.open("gone")
    with pytest.raises(NotInStoreError, match=r"no variable 'w'; it has v, y"):
        store.source("here", "w", allow_incomplete=True)
    with pytest.raises(NotInStoreError, match="here/w"):
        store.write("here", "w", (0, 0), np.zeros((3, 9), np.float32))
    with pytest.raises(FileNotFoundError):
        store.write("gone", "v", (0, 0), np.zeros((3, 9), np.float32))


@pytest.mark.parametrize("name", ["../x", "a//b", "/a", ".hidden", "a b", "", "x.partial"])
def test_names_cannot_leave_the_store(store: Store, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name"):
        store.prepare(name, spec())
    with pytest.raises(ConfigError, match="cannot name"):
        store.source(name, "v")


def test_parameters_must_be_json(store: Store) -> None:
    with pytest.raises(ConfigError, match="JSON"):
        store.prepare("g", spec(bad={1, 2}))
    with pytest.raises(ConfigError, match="JSON"):
        store.prepare("g", spec(bad=float("nan")))


def test_pyramid_opens_as_a_tree_and_as_ome_zarr(store: Store) -> None:
    for level, n in enumerate((8, 4)):
        size = 10.0 * 2**level
        image = Variable(name="image", dims=("z", "y", "x"), shape=(n, n, n), dtype="float32", chunks=(n, n, n))
        coordinates: dict[str, Any] = {
            axis: ((axis,), np.arange(n) * size + (size - 10) / 2, {"units": "angstrom"}) for axis in "zyx"
        }
        group = f"m/tomogram/scale{level}"
        level_spec = GroupSpec(kind="tomogram", token="t", parameters={}, variables=(image,), coordinates=coordinates)
        store.prepare(group, level_spec)
        store.write(group, "image", (0, 0, 0), np.full((n, n, n), level, np.float32))
        store.mark_done(group, 0)
        store.finish(group)
    store.annotate("m/tomogram", ome_multiscales("tomogram", [10.0, 20.0]))
    tree = xr.open_datatree(Path(store.path, "m/tomogram"), engine="zarr", consolidated=False)
    assert tree["scale1/image"].shape == (4, 4, 4)
    multiscale = store.info("m/tomogram")["ome"]["multiscales"][0]
    for dataset in multiscale["datasets"]:
        array = zarr.open_array(Path(store.path, "m/tomogram", dataset["path"]), mode="r")
        scale = dataset["coordinateTransformations"][0]["scale"]
        offset = dataset["coordinateTransformations"][1:] or [{"translation": [0.0] * 3}]
        z = store.open(f"m/tomogram/{dataset['path'].split('/')[0]}")["z"].to_numpy()
        np.testing.assert_allclose(z, np.arange(array.shape[0]) * scale[0] + offset[0]["translation"][0])
    with pytest.raises(ConfigError, match="positive"):
        ome_multiscales("x", [0.0])
