"""A data set with a vesicle: truth, plan, and what evaluation leaves out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cryodask.io.store import Store
from cryodask.model.progress import NullProgress
from cryodask.ops.evaluation import count_tomogram
from cryodask.ops.evaluation_result import finalise
from cryodask.workflows import layout
from cryodask.workflows.evaluate import truths_of_store
from cryodask.workflows.simulate import SimulateJob, simulate
from tests.tiny import PARAMETERS, two_structures


def test_a_vesicle_is_in_the_truth_and_left_out_of_the_score(tmp_path: Path) -> None:
    tiny = PARAMETERS.simulation
    sample = replace(
        tiny.sample, box_voxels=(64, 128, 192), voxel_size_angstrom=10.0, gold_count=(1, 1), vesicle_count=(1, 1)
    )
    parameters = replace(tiny, sample=sample, acquisition=replace(tiny.acquisition, tilt_count=2))
    store = Store(tmp_path / "data.zarr")
    job = SimulateJob(structures=two_structures(), parameters=parameters, models=1, seed=3)
    (model,) = simulate(store, job, client=None, progress=NullProgress())
    truth = store.open(layout.truth_group(model))
    assert truth.attrs["classes"][-2:] == ["fiducial", "vesicle"]
    assert np.count_nonzero(truth["class_mask"] == len(truth.attrs["classes"])) > 1000

    (known,) = truths_of_store(store)
    for mode in ("strict", "czii", "shrec21"):
        result = finalise(count_tomogram(known, known.particles, mode=mode))
        assert result["localization"]["TP"] == len(known.particles) - 1
        assert "vesicle" not in result["classification"]["f1"]
