"""A reconstruction beside nothing but reading and writing the same arrays: same store, codec, workers, warm cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from dask.delayed import delayed
from distributed import Client

from cryodask.cluster import ClusterSpec, connect
from cryodask.io.scratch import RawArray, raw_array
from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.model.progress import NullProgress
from cryodask.model.source import BlockSource
from cryodask.params.schema import ReconstructionParameters
from cryodask.workflows import layout
from cryodask.workflows.execution import execute
from cryodask.workflows.reconstruct import ReconstructJob, reconstruct

TILTS, PIXELS, SHAPE, ROWS = 61, 1024, (180, 512, 512), 32
REPEATS = 3
MODEL = "model_000"
LARGEST_RATIO = 4.0
"""What the test itself holds; docs/performance.md has what was measured."""


def make_series(path: Path) -> Store:
    """Noisy counts, with shifts as a simulation has them."""
    store = Store(path).create()
    rng = np.random.default_rng(0)
    group = layout.tilt_series_group(MODEL)
    columns = {
        "tilt_deg": np.linspace(-60, 60, TILTS),
        "shift_y_angstrom": rng.normal(0, 10, TILTS),
        "shift_x_angstrom": rng.normal(0, 10, TILTS),
    }
    images = Variable(
        name="counts",
        dims=("tilt", "y", "x"),
        shape=(TILTS, PIXELS, PIXELS),
        dtype="float32",
        chunks=(1, PIXELS, PIXELS),
    )
    spec = GroupSpec(
        kind=layout.TILT_SERIES_KIND,
        token="benchmark",
        parameters={},
        variables=(images,),
        coordinates={name: (("tilt",), values, {}) for name, values in columns.items()},
        attrs={"pixel_size_angstrom": 5.0, "sample_thickness_angstrom": 10.0 * SHAPE[0]},
        blocks=TILTS,
    )
    for index in store.prepare(group, spec):
        noise = rng.poisson(50, (1, PIXELS, PIXELS)) + rng.normal(0, 1, (1, PIXELS, PIXELS))
        store.write(group, "counts", (index, 0, 0), noise.astype(np.float32))
        store.mark_done(group, index)
    store.finish(group)
    return store


def read_only(images: BlockSource, index: int) -> None:
    images.read((slice(index, index + 1), slice(None), slice(None)))


def write_only(volume: BlockSource, store: Store, group: str, block: int) -> None:
    rows = slice(block * ROWS, (block + 1) * ROWS)
    store.write(group, "image", (0, rows.start, 0), volume.read((slice(None), rows, slice(None))))
    store.mark_done(group, block)


def read_and_write(data: Store, volume: BlockSource, output: Store, client: Client) -> None:
    """Every image read and dropped, every slab of a tomogram that is there already written."""
    images = data.source(layout.tilt_series_group(MODEL), "counts")
    reads = [delayed(read_only, pure=False)(images, index) for index in range(TILTS)]
    execute(reads, client=client, progress=NullProgress(), stage="read")
    group = layout.tomogram_group(MODEL)
    image = Variable(
        name="image", dims=("z", "y", "x"), shape=SHAPE, dtype="float32", chunks=(SHAPE[0], ROWS, SHAPE[2])
    )
    output.create()
    blocks = output.prepare(
        group, GroupSpec(kind="tomogram", token="x", parameters={}, variables=(image,), blocks=SHAPE[1] // ROWS)
    )
    writes = [delayed(write_only, pure=False)(volume, output, group, block) for block in blocks]
    execute(writes, client=client, progress=NullProgress(), stage="write")


def cost(client: Client, run: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall, and of the workers' processors, which a busy machine lengthens less."""
    before = sum(client.run(time.process_time).values())
    started = time.perf_counter()
    run()
    wall = time.perf_counter() - started
    return wall, sum(client.run(time.process_time).values()) - before


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_reconstruction_beside_reading_and_writing(tmp_path: Path) -> None:
    data = make_series(tmp_path / "data.zarr")
    job = ReconstructJob(parameters=ReconstructionParameters())
    with connect(ClusterSpec(workers=2, memory_limit_bytes=2 * 2**30)) as session:
        client = session.client
        assert client is not None

        def make(name: str) -> Store:
            output = Store(tmp_path / f"{name}.zarr")
            reconstruct(data, output, job, client=client, progress=NullProgress())
            return output

        first = make("warm")  # compiles, and fills the page cache
        values = first.source(layout.tomogram_group(MODEL), "image").read((slice(None),) * 3)
        volume: RawArray = raw_array(tmp_path / "volume.raw", SHAPE)
        volume.write((0, 0, 0), values)
        read_and_write(data, volume, Store(tmp_path / "warm_io.zarr"), client)
        pairs = []
        for number in range(REPEATS):
            empty = Store(tmp_path / f"io{number}.zarr")
            floor = cost(client, partial(read_and_write, data, volume, empty, client))
            made = cost(client, partial(make, f"made{number}"))
            pairs.append((*floor, *made))
    floor_wall, floor_cpu, made_wall, made_cpu = np.median(np.array(pairs), axis=0)
    print(
        f"\nreading and writing {floor_wall:.2f} s ({floor_cpu:.2f} s of processor time), "
        f"reconstruction {made_wall:.2f} s ({made_cpu:.2f} s): {made_wall / floor_wall:.2f} times "
        f"({made_cpu / floor_cpu:.2f} times the processor time)"
    )
    assert made_cpu / floor_cpu <= LARGEST_RATIO
