"""A series with ring scaling and beam damage: what is stored, planned, and reconstructed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cryodask.io.store import Store
from cryodask.model.progress import NullProgress
from cryodask.params.schema import DetectorParameters
from cryodask.workflows import layout
from cryodask.workflows.plan import plan_simulation
from cryodask.workflows.reconstruct import ReconstructJob, reconstruct
from cryodask.workflows.signal import measure_snr
from cryodask.workflows.simulate import simulate
from tests.tiny import PARAMETERS, job, two_structures
from tests.workflows.conftest import Reference

MODEL = "model_000"
DETECTOR = DetectorParameters(ring_scaling="synthetic", beam_damage_snr=(0.6, 1.4))
SCALED = replace(PARAMETERS, simulation=replace(PARAMETERS.simulation, detector=DETECTOR))


def test_scaled_images_are_stored_planned_and_reconstructed(reference: Reference, tmp_path: Path) -> None:
    store = Store(tmp_path / "data.zarr")
    simulate(store, job(SCALED), client=None, progress=NullProgress())
    series = store.open(layout.tilt_series_group(MODEL))
    assert set(series.data_vars) == {"counts", "noise_free", "scaled", "scaled_noise_free"}
    assert 0.6 <= series.attrs["beam_damage_snr"] <= 1.4
    (planned,) = (stage for stage in plan_simulation(SCALED, two_structures()) if stage.stage == "tilt series")
    assert planned.bytes_written == sum(series[name].nbytes for name in series.data_vars)

    plain = reference.store.open(layout.tilt_series_group(MODEL))
    # The damage has random numbers of its own: nothing else is drawn anew.
    assert np.array_equal(series["noise_free"], plain["noise_free"])
    assert not np.array_equal(series["counts"], plain["counts"])
    means = [series[name].mean(("y", "x")).to_numpy() for name in ("counts", "scaled")]
    np.testing.assert_allclose(means[0], means[1], rtol=1e-5)

    for image in ("counts", "noise_free"):
        wanted = ReconstructJob(parameters=SCALED.reconstruction, image=image)
        reconstruct(store, store, wanted, client=None, progress=NullProgress())
    used = {name: store.info(layout.tomogram_group(MODEL, name))["cryodask"]["parameters"]["image"]
            for name in ("tomogram", "tomogram_noise_free")}  # fmt: skip
    assert used == {"tomogram": "scaled", "tomogram_noise_free": "scaled_noise_free"}
    snr = measure_snr(store, [MODEL], client=None, progress=NullProgress())[MODEL]
    assert snr is not None
    assert np.isfinite(snr)
