"""Gold from the parameters to the truth of a data set, and to what evaluation makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryodask.errors import ConfigError
from cryodask.io.store import Store
from cryodask.model.progress import NullProgress
from cryodask.ops.evaluation import count_tomogram
from cryodask.ops.evaluation_result import finalise
from cryodask.workflows import layout
from cryodask.workflows.evaluate import truths_of_store
from cryodask.workflows.reconstruct import ReconstructJob, reconstruct
from cryodask.workflows.signal import measure_snr
from cryodask.workflows.simulate import SimulateJob, simulate
from tests.tiny import PARAMETERS, Balls, two_structures

SIMULATION = replace(PARAMETERS.simulation, sample=replace(PARAMETERS.simulation.sample, gold_count=(2, 2)))


def test_fiducials_are_in_the_truth(tmp_path: Path) -> None:
    store = Store(tmp_path / "gold.zarr")
    job = SimulateJob(structures=two_structures(), parameters=SIMULATION, models=1, seed=3)
    (model,) = simulate(store, job, client=None, progress=NullProgress())
    truth = store.open(layout.truth_group(model))
    names = list(store.open(layout.truth_particles_group(model))["class_id"].to_numpy())
    assert truth.attrs["classes"][-1] == "fiducial"
    assert names.count("fiducial") == 2
    mask = truth["class_mask"].to_numpy()
    assert set(np.unique(truth["occupancy_mask"].to_numpy()[mask == len(truth.attrs["classes"])])) == {4, 5}
    assert store.open(layout.tilt_series_group(model))["noise_free"].to_numpy().min() > 0

    for image in ("counts", "noise_free"):
        reconstruct(
            store,
            store,
            ReconstructJob(parameters=PARAMETERS.reconstruction, image=image),
            client=None,
            progress=NullProgress(),
        )
    proteins_only, everything = (
        measure_snr(store, [model], client=None, progress=NullProgress(), all_classes=gold)[model]
        for gold in (False, True)
    )
    assert proteins_only is not None
    assert everything is not None
    # Gold has eight times the contrast of protein.
    assert everything > proteins_only

    (known,) = truths_of_store(store)
    result = finalise(count_tomogram(known, known.particles, mode="shrec21"))
    assert result["localization"]["TP"] == 5
    assert result["classification"]["f1"]["fiducial"] == 1.0
    proteins = [value for name, value in result["classification"]["f1"].items() if name != "fiducial"]
    assert result["classification"]["macro_f1"] == np.mean([value for value in proteins if value is not None])


def test_a_structure_cannot_take_the_name_of_the_beads() -> None:
    with pytest.raises(ConfigError, match="class of gold beads"):
        SimulateJob(structures=(Balls(class_id="fiducial"),), parameters=SIMULATION, models=1, seed=0)
