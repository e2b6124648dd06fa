"""Time and memory of evaluating many tomograms of the benchmark's size, with masks in Zarr, on two worker processes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.cluster import ClusterSpec, connect
from cryodask.io.pick_files import write_star
from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.model.evaluation import SHREC21_CLASS_IDS, SHREC21_MOLECULAR_WEIGHT_KDA
from cryodask.model.particles import Particles, concatenate
from cryodask.model.progress import NullProgress
from cryodask.workflows.evaluate import evaluate, read_submissions
from cryodask.workflows.run_record import peak_memory_bytes

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

SHAPE = (180, 512, 512)
ROWS = 16
"""As ``simulate`` stores masks: one chunk holds so many rows along y."""
VOXEL = 10.0
PARTICLES = PICKS = 1500
DIFFERENT = 8
"""Tomograms that differ; the others are further names of their files, read and unpacked all the same."""
SECONDS = 120.0


def truth_of(seed: int) -> tuple[npt.NDArray[np.int32], Particles]:
    """Balls of the classes' sizes at free places of a grid, shifted by a voxel or two."""
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(12, n - 12, 24) for n in SHAPE), indexing="ij"), -1).reshape(-1, 3)
    centres = generator.permutation(grid)[:PARTICLES] + generator.integers(-2, 3, (PARTICLES, 3))
    classes = generator.choice(SHREC21_CLASS_IDS[:-2], PARTICLES)
    radius = {name: 3 + 7 * k // 12 for k, name in enumerate(SHREC21_CLASS_IDS[:-2])}
    mask = np.zeros(SHAPE, dtype=np.int32)
    for number, (centre, name) in enumerate(zip(centres, classes, strict=True), start=1):
        r = radius[str(name)]
        ball = sum(axis**2 for axis in np.ogrid[-r : r + 1, -r : r + 1, -r : r + 1]) <= r * r
        mask[tuple(slice(c - r, c + r + 1) for c in centre)][ball] = number
    position = (centres - (np.array(SHAPE) - 1) / 2) * VOXEL
    return mask, Particles.create(list(classes), position, zxz_deg=generator.uniform(0, 180, (PARTICLES, 3)))


def picks_of(truth: Particles, name: str, seed: int) -> Particles:
    generator = np.random.default_rng(seed)
    near = truth.take(generator.integers(0, len(truth), PICKS))
    return Particles.create(
        near.class_id,
        near.position_angstrom + generator.normal(0, 25, (PICKS, 3)),
        tomogram=name,
        score=generator.random(PICKS),
        zxz_deg=near.zxz_deg,
    )


def data_set(folder: Path, tomograms: int) -> Path:
    """A data set of truths, and the picks of all its tomograms in ``picks.star``."""
    store = Store(folder / "data.zarr").create()
    attrs = {
        "voxel_size_angstrom": VOXEL,
        "classes": list(SHREC21_CLASS_IDS),
        "radius_angstrom": dict.fromkeys(SHREC21_CLASS_IDS),
        "mask_radius_angstrom": dict.fromkeys(SHREC21_CLASS_IDS),
        "molecular_weight_kda": dict(SHREC21_MOLECULAR_WEIGHT_KDA),
    }
    chunks = (SHAPE[0], ROWS, SHAPE[2])
    variable = Variable(name="occupancy_mask", dims=("z", "y", "x"), shape=SHAPE, dtype="int32", chunks=chunks)
    parts = []
    for number in range(min(DIFFERENT, tomograms)):
        mask, particles = truth_of(number)
        group = f"model_{number:03d}/truth"
        store.prepare(group, GroupSpec(kind="truth", token="t", parameters={}, variables=(variable,), attrs=attrs))
        store.write(group, "occupancy_mask", (0, 0, 0), mask)
        store.mark_done(group, 0)
        store.finish(group)
        store.write_table(f"{group}/particles", particles.to_dataset(), kind="particles", token="t", parameters={})
        for again in range(number, tomograms, DIFFERENT):
            name = f"model_{again:03d}"
            parts.append(picks_of(particles, name, again))
            if again >= DIFFERENT:
                linked(folder / "data.zarr" / f"model_{number:03d}", folder / "data.zarr" / name)
    write_star(folder / "picks.star", concatenate(parts), shape=SHAPE, voxel_size_angstrom=VOXEL)
    return folder / "data.zarr"


def linked(source: Path, target: Path) -> None:
    """A copy of a group that shares its chunks."""
    shutil.copytree(source, target, ignore=lambda folder, names: ["c"] if Path(folder).name == "occupancy_mask" else [])
    (target / "truth" / "occupancy_mask" / "c").symlink_to(source / "truth" / "occupancy_mask" / "c")


@pytest.mark.parametrize("mode", ["shrec21", "strict", "czii"])
@pytest.mark.parametrize("tomograms", [1, 100, 1000])
def test_many_tomograms(mode: str, tomograms: int, tmp_path: Path) -> None:
    data = data_set(tmp_path, tomograms)
    with connect(ClusterSpec(workers=2, memory_limit_bytes=2**31)) as session:
        assert session.client is not None
        start = time.perf_counter()
        truths, picks = read_submissions([tmp_path / "picks.star"], [data])
        read = time.perf_counter() - start
        result = evaluate(truths, picks, mode, client=session.client, progress=NullProgress())
        total = time.perf_counter() - start
        peak = peak_memory_bytes(session.client) / 2**20
    assert result["n_tomograms"] == tomograms
    assert result["localization"]["RR"] == PICKS * tomograms
    assert result["ceiling"]["localization"]["F1"] == 1
    print(f"{mode}, {tomograms} tomograms: {total:.1f} s, {read:.1f} s of it reading picks; {peak:.0f} MiB a worker")
    assert total < max(3.0, SECONDS * tomograms / 1000)
