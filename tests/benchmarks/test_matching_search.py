"""Whole searches: what 512 x 512 x 180 voxels and the twelve classes take, and two workers against one.

The first is a prediction: of every class one tile is searched as a worker would, with its halo, and its time taken as
often as there are tiles. Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cryodask.cluster import ClusterSpec, connect
from cryodask.io.store import Store
from cryodask.io.structures import load_structure_set
from cryodask.kernels.low_rank_search import low_rank_scores
from cryodask.model.images import Tomogram
from cryodask.model.progress import NullProgress
from cryodask.model.source import ArraySource
from cryodask.ops.low_rank import LowRankSettings, make_banks, tile_edge
from cryodask.ops.matching import TILE_VOXELS, Tile, prepare_tile, tiles
from cryodask.ops.templates import TemplateSource
from cryodask.params.schema import MatchingParameters
from cryodask.workflows.match import MatchJob, match
from cryodask.workflows.search_inputs import NamedTemplate, tomogram_in_memory
from tests.benchmarks.test_matching_speed import COARSE_DEG, KEEP, STEP_DEG, template_of, volume
from tests.tiny import gaussian

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(3000),
    pytest.mark.skipif(os.environ.get("OMP_NUM_THREADS") != "1", reason="one thread: set OMP_NUM_THREADS=1"),
]

WHOLE = (180, 512, 512)
CLASSES = ("1s3x", "3qm1", "3gl1", "1bxn", "2cg9", "1u6g", "3h84", "3d2f", "3cf3", "1qvr", "4cr2", "5mrc")
SETTINGS = LowRankSettings(angular_step_deg=STEP_DEG, coarse_step_deg=COARSE_DEG, tolerance=0.1, keep=KEEP)


def test_what_a_whole_search_will_take(shared_data: Path) -> None:
    total, hour = 0.0, 3600.0
    for class_id in CLASSES:
        template = template_of(shared_data, class_id)
        (structure,) = load_structure_set(shared_data / "structures", [class_id]).structures
        edge = tile_edge((structure.info.mask_radius_angstrom or 100.0) / 10.0, TILE_VOXELS)
        parts = tiles(WHOLE, edge)
        start = time.process_time()
        banks = make_banks(template, SETTINGS)
        made = time.process_time() - start
        # A tile in the middle of noise that is as wide as its halo; tiles at the faces have less of it.
        depth = min(edge, WHOLE[0])
        side = edge + 2 * template.reach_voxels
        source = ArraySource(np.resize(volume(128), (depth + 2 * template.reach_voxels, side, side)))
        tile = Tile((template.reach_voxels,) * 3, (depth, edge, edge))
        prepared = prepare_tile(source, tile, template)
        start = time.process_time()
        low_rank_scores(prepared, banks)
        one = time.process_time() - start
        voxels = float(np.prod(tile.shape))
        share = float(np.prod(WHOLE)) / voxels
        total += made + share * one
        print(
            f"{class_id}: K {len(banks.coarse.basis.kernels)}/{len(banks.fine.basis.kernels)}, basis and banks "
            f"{made:.1f} s, one of {len(parts)} tiles of {tile.shape} {one:.1f} s, whole {made + share * one:.0f} s",
            flush=True,
        )
    print(f"twelve classes, one hand: {total / hour:.2f} hours of one core, {total / 120:.0f} minutes on two")
    assert total / 120 < 45


def test_two_workers_against_one(tmp_path: Path) -> None:
    image = np.tile(volume(128), (1, 2, 2))
    tomogram = tomogram_in_memory(
        Tomogram.parse(xr.Dataset({"image": (("z", "y", "x"), image)}, attrs={"voxel_size_angstrom": 10.0})), "m"
    )
    centres = ((12, 12, 12), (8, 14, 12), (16, 12, 7), (12, 17, 16))
    density = np.sum([gaussian((25, 25, 25), centre, 1.8) for centre in centres], axis=0).astype(np.float32)
    template = NamedTemplate(
        source=TemplateSource(
            template_id="t", density=ArraySource(density), voxel_size_angstrom=10.0, radius_angstrom=80.0
        ),
        token="t",
    )
    parameters = MatchingParameters(angular_step_deg=STEP_DEG, keep=KEEP, engine="low-rank", whiten=False)
    job = MatchJob(tomograms=(tomogram,), templates=(template,), parameters=parameters)
    seconds = {}
    for workers in (1, 2):
        with connect(ClusterSpec(workers=workers, memory_limit_bytes=4 * 2**30)) as session:
            store = Store(tmp_path / f"{workers}.zarr")
            record = match(store, job, client=session.client, progress=NullProgress()).record
            seconds[workers] = record["seconds_by_stage"]["search"]
            assert store.info("m/scores/t")["cryodask"]["blocks"] == 4
    print(f"search of four tiles: one worker {seconds[1]:.1f} s, two {seconds[2]:.1f} s: {seconds[1] / seconds[2]:.2f}")
    assert seconds[1] > 1.7 * seconds[2]
