"""The plan against a run: tasks, bytes, and refusals before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from cryodask.errors import ConfigError
from cryodask.io.store import Store
from cryodask.workflows.plan import (
    StagePlan,
    plan_matching,
    plan_run,
    plan_simulation,
    plan_stored_reconstruction,
    require_device_memory,
    require_memory,
)
from cryodask.workflows.reconstruct import ReconstructJob
from tests.tiny import PARAMETERS, nothing_computes, two_structures
from tests.workflows.conftest import Reference

MODEL = "model_000"
PURE_WRITERS = ("_write_slab", "_write_tilt", "_write_scores")
"""Tasks that store what another one made; the plan does not count them."""


def computing(reference: Reference, stage: str) -> int:
    """Tasks of one stage of the tiny run that compute something."""
    return sum(not key.startswith(PURE_WRITERS) for key in reference.keys[f"{MODEL} {stage}"])


def by_stage(stages: Sequence[StagePlan]) -> dict[str, StagePlan]:
    return {stage.stage.split(" (")[0]: stage for stage in stages}


def nbytes(store: Store, group: str, *names: str) -> int:
    dataset = store.open(group)
    return sum(dataset[name].nbytes for name in (names or dataset.data_vars))


def test_a_gpu_that_is_too_small_is_told_with_numbers() -> None:
    stages = plan_simulation(PARAMETERS, ())
    (series,) = (stage for stage in stages if stage.device_bytes)
    assert series.stage == "tilt series"
    assert series.device_bytes == series.task_bytes
    require_device_memory(stages, None)
    require_device_memory(stages, series.device_bytes)
    with pytest.raises(
        ConfigError, match=r"'tilt series' needs 0.0. GiB on each GPU, which has 0.00 GiB.*--cluster loc"
    ):
        require_device_memory(stages, series.device_bytes - 1)


def test_a_run_has_as_many_tasks_as_planned(reference: Reference) -> None:
    planned = by_stage(plan_run(PARAMETERS, two_structures()))
    assert planned["structures"].tasks == len(reference.keys["structures"])
    for stage in ("sample", "tilt series", "filter", "search", "peaks"):
        assert planned[stage].tasks == computing(reference, stage)
    stages = ("images", "tomogram", "noise free images", "tomogram noise free")
    assert planned["tomogram"].tasks == sum(computing(reference, stage) for stage in stages)


def test_a_run_writes_as_many_bytes_as_planned(reference: Reference) -> None:
    store, planned = reference.store, by_stage(plan_run(PARAMETERS, two_structures()))
    scores = [f"{MODEL}/scores/{s.info.class_id}" for s in two_structures()]
    sample = nbytes(store, f"{MODEL}/grand_model") + nbytes(store, f"{MODEL}/truth", "class_mask", "occupancy_mask")
    assert planned["sample"].bytes_written == sample
    assert planned["tilt series"].bytes_written == nbytes(store, f"{MODEL}/tilt_series", "counts", "noise_free")
    tomograms = [f"{MODEL}/{variant}/scale0" for variant in ("tomogram", "tomogram_noise_free")]
    assert planned["tomogram"].bytes_written == sum(nbytes(store, group) for group in tomograms)
    assert planned["filter"].bytes_written == nbytes(store, f"{MODEL}/search", "image")
    assert planned["search"].bytes_written == sum(nbytes(store, group) for group in scores)
    # The size of a particle is only estimated from its weight before its atoms are read.
    densities_made = sum(nbytes(store, f"structures/{s.info.class_id}") for s in two_structures())
    assert densities_made / 4 < planned["structures"].bytes_written < 20 * densities_made


def test_everything_grows_with_the_number_of_models() -> None:
    one = plan_run(PARAMETERS, two_structures())
    three = plan_run(replace(PARAMETERS, models=3), two_structures())
    for single, triple in zip(one, three, strict=True):
        factor = 1 if single.stage == "structures" else 3
        assert triple.tasks == factor * single.tasks
        assert triple.bytes_written == factor * single.bytes_written
        # A worker does one task at a time, however many there are.
        assert triple.worker_bytes == single.worker_bytes


def test_batches_and_slabs_decide_the_tasks() -> None:
    whole = replace(PARAMETERS, matching=replace(PARAMETERS.matching, rotations_per_task=1000))
    # Each of two templates: its preparation, the tile's, one batch and the core of its result.
    assert by_stage(plan_matching(whole, two_structures()))["search"].tasks == 2 * (1 + 1 + 1 + 1)
    # Twenty rotations of the one without symmetry, ten of the other: four and two batches, joined in pairs.
    assert by_stage(plan_matching(PARAMETERS, two_structures()))["search"].tasks == (2 * 4 + 2) + (2 * 2 + 2)


def test_a_stored_series_is_planned_as_it_is_reconstructed(reference: Reference) -> None:
    wanted = ReconstructJob(parameters=replace(PARAMETERS.reconstruction, slab_voxels=8))
    with nothing_computes():
        images, slabs = plan_stored_reconstruction(reference.store, wanted)
        halves = plan_stored_reconstruction(reference.store, replace(wanted, half_sets=True))
    assert (images.stage, slabs.stage) == (f"{MODEL} images", f"{MODEL} tomogram")
    assert (images.tasks, slabs.tasks) == (5, 4)
    assert images.bytes_written == 4 * 5 * 32 * 32
    assert slabs.bytes_written == 4 * 16 * 32 * 32
    assert [stage.tasks for stage in halves] == [5, 12]
    with pytest.raises(ConfigError, match="slab_voxels=8"):
        require_memory([slabs], 1)


def test_a_worker_that_is_too_small_is_refused_with_the_numbers() -> None:
    stages = plan_run(PARAMETERS, two_structures())
    worst = max(stage.worker_bytes for stage in stages)
    assert require_memory(stages, None) == worst
    assert require_memory(stages, worst) == worst
    name = next(stage.stage for stage in stages if stage.worker_bytes == worst)
    with pytest.raises(ConfigError) as caught:
        require_memory(stages, worst - 1)
    message = str(caught.value)
    for part in (repr(name), f"{worst / 2**30:.2f} GiB", "--workers", "--memory-limit"):
        assert part in message


def test_the_benchmarks_own_size_is_a_matter_of_gigabytes() -> None:
    # 360 voxels of ice in a field of 1024 pixels: a task mostly holds two potentials in slices of ten voxels.
    full = replace(PARAMETERS, simulation=type(PARAMETERS.simulation)())
    box = full.simulation.sample.box_voxels
    tilt = by_stage(plan_simulation(full, two_structures()))["tilt series"]
    slices = 2 * 4 * int(np.prod(box)) / 10
    assert slices < tilt.task_bytes < 20 * slices
