"""Simulate, reconstruct, match and evaluate, all tiny: the same bits wherever and however it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from cryodask.cluster import ClusterSpec, connect
from cryodask.errors import ConfigError, DataError, StoreError
from cryodask.io.store import Store
from cryodask.model.evaluation import Truth
from cryodask.model.images import TiltSeries, Tomogram
from cryodask.model.progress import NullProgress
from cryodask.workflows import layout
from cryodask.workflows.evaluate import evaluate, truths_of_store
from cryodask.workflows.match import MatchResult, match
from cryodask.workflows.plan import plan_run
from cryodask.workflows.reconstruct import NOISE_FREE, ReconstructJob, reconstruct
from cryodask.workflows.run_record import peak_memory_bytes
from cryodask.workflows.search_inputs import templates_of_store
from cryodask.workflows.signal import measure_snr
from cryodask.workflows.simulate import SimulateJob, simulate, spline_chunk
from tests.tiny import (
    PARAMETERS,
    RecordedProgress,
    assert_same_bits,
    contents,
    job,
    nothing_computes,
    run_chain,
    search_job,
    two_structures,
)
from tests.workflows.conftest import Reference

MODEL = "model_000"


def assert_same_run(store: Store, result: MatchResult, reference: Reference) -> None:
    assert_same_bits(contents(store), contents(reference.store))
    assert [(e.path, e.token) for e in store.groups()] == [(e.path, e.token) for e in reference.store.groups()]
    for name in ("position_angstrom", "zxz_deg", "score"):
        assert getattr(result.picks, name).tobytes() == getattr(reference.result.picks, name).tobytes()
    assert result.picks.class_id.tolist() == reference.result.picks.class_id.tolist()


def truth_of(reference: Reference) -> Truth:
    (truth,) = truths_of_store(reference.store)
    return truth


# -- what the chain makes ------------------------------------------------------------------------------------------


def test_the_data_set_holds_what_its_layout_says(reference: Reference) -> None:
    classes = [s.info.class_id for s in two_structures()]
    expected = {f"{MODEL}/{part}" for part in ("grand_model", "truth", "truth/particles", "tilt_series", "search")}
    expected |= {f"{MODEL}/tomogram/scale0", f"{MODEL}/{NOISE_FREE}/scale0"}
    expected |= {f"structures/{name}" for name in classes} | {f"{MODEL}/scores/{name}" for name in classes}
    assert {entry.path for entry in reference.store.groups()} == expected
    assert all(entry.complete for entry in reference.store.groups())


def test_tilt_series_and_tomogram_are_what_the_model_layer_expects(reference: Reference) -> None:
    series = TiltSeries.parse(reference.store.open(layout.tilt_series_group(MODEL)))
    assert series.tilt_deg.tolist() == [-60, -30, 0, 30, 60]
    assert series.pixel_size_angstrom == 5.0
    assert np.abs(series.coordinate("shift_x_angstrom")).max() > 0
    assert np.ptp(series.coordinate("dose_e_per_a2")) == 0
    assert 100 <= series.coordinate("dose_e_per_a2").sum() <= 120
    tomogram = Tomogram.parse(reference.store.open(layout.tomogram_group(MODEL)))
    assert tomogram.shape == (16, 32, 32)
    assert tomogram.voxel_size_angstrom == 10.0
    assert list(tomogram.tilt_deg or ()) == [-60, -30, 0, 30, 60]
    assert tomogram.optics["defocus_um"] == 3.0


def test_proteins_are_dark_in_images_and_tomogram(reference: Reference) -> None:
    mask = reference.store.open(layout.truth_group(MODEL))["class_mask"].to_numpy() > 0
    clean = reference.store.open(layout.tomogram_group(MODEL, NOISE_FREE))["image"].to_numpy()
    assert clean[mask].mean() < clean[~mask].mean() - clean.std() / 2
    image = reference.store.open(layout.tilt_series_group(MODEL))["noise_free"].sel(tilt=2).to_numpy()
    # The shifts are smaller than the particles: binned, the image at no tilt lies over the projected mask.
    shadow = mask.any(axis=0)
    binned = image.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert binned[shadow].mean() < binned[~shadow].mean()


def test_signal_to_noise_is_measured_within_the_proteins(reference: Reference) -> None:
    store = reference.store
    snr = measure_snr(store, [MODEL], client=None, progress=NullProgress())[MODEL]
    inside = store.open(layout.truth_group(MODEL))["class_mask"].to_numpy() > 0
    noisy, clean = (
        store.open(layout.tomogram_group(MODEL, variant))["image"].to_numpy()[inside].astype(np.float64)
        for variant in ("tomogram", NOISE_FREE)
    )
    noise = noisy - clean
    assert snr == pytest.approx((noisy.var() - noise.var()) / noise.var(), rel=1e-6)


def test_picks_are_found_where_particles_are(reference: Reference) -> None:
    truth, picks = truth_of(reference), reference.result.picks
    best = picks.position_angstrom[:2]
    distances = np.linalg.norm(best[:, None] - truth.particles.position_angstrom[None], axis=2).min(axis=1)
    assert (distances < 30).all()
    score = evaluate([truth], picks, "strict", client=None, progress=NullProgress())
    assert score["localization"]["TP"] >= 2


@pytest.mark.parametrize("mode", ["shrec21", "strict"])
def test_the_truth_scores_perfectly_against_itself(reference: Reference, mode: str) -> None:
    truth = truth_of(reference)
    score = evaluate([truth], truth.particles, mode, client=None, progress=NullProgress())
    assert score["localization"]["F1"] == 1.0
    assert score["classification"]["macro_f1"] == 1.0
    assert score["ceiling"]["localization"]["F1"] == 1.0


def test_the_record_says_what_was_searched(reference: Reference) -> None:
    record = reference.result.record
    assert record["templates"] == [s.info.class_id for s in two_structures()]
    assert record["rotations"] == 20
    # The two-fold template shows every view twice.
    assert record["rotations_by_template"] == {"syn-0060-c1": 20, "syn-0150-c2": 10}
    assert record["picks"] == len(reference.result.picks)


# -- the same bits -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_worker_and_other_chunks_give_the_same_bits_within_the_planned_memory(
    reference: Reference, tmp_path: Path
) -> None:
    store = Store(tmp_path / "data.zarr")
    # What the process that starts the workers holds, or once held, is not theirs.
    assert np.ones(2**26).nbytes == 2**29
    with connect(ClusterSpec(workers=1, memory_limit_bytes=2**30)) as session:
        result = run_chain(store, client=session.client, storage_rows=8)
        peak = peak_memory_bytes(session.client)
    assert_same_run(store, result, reference)
    chunks = [s.open(layout.grand_model_group(MODEL))["electrostatic_v"].chunks for s in (store, reference.store)]
    assert chunks == [((32,), (8,) * 8, (64,)), ((32,), (32, 32), (64,))]
    planned = max(stage.worker_bytes for stage in plan_run(PARAMETERS, two_structures()))
    assert 100 * 2**20 < peak < planned, (
        f"a worker held {peak / 2**20:.0f} MiB, the plan says {planned / 2**20:.0f} MiB"
    )


@pytest.mark.slow
def test_two_workers_give_the_same_bits(reference: Reference, two_workers: Client, tmp_path: Path) -> None:
    store = Store(tmp_path / "data.zarr")
    progress = RecordedProgress()
    result = run_chain(store, client=two_workers, storage_rows=16, progress=progress)
    assert_same_run(store, result, reference)
    assert progress.done == reference.progress.done
    again = evaluate([truth_of(reference)], result.picks, "strict", client=two_workers, progress=NullProgress())
    here = evaluate([truth_of(reference)], result.picks, "strict", client=None, progress=NullProgress())
    assert again == here


# -- on what is there already --------------------------------------------------------------------------------------


def test_a_second_run_computes_nothing_but_the_peaks(reference: Reference, tmp_path: Path) -> None:
    store = reference.copy(tmp_path)
    progress = RecordedProgress()
    with pytest.MonkeyPatch.context() as patch:
        for written in ("write", "mark_done"):
            patch.setattr(Store, written, lambda *_: pytest.fail("a finished group was written to"))
        result = run_chain(store, progress=progress)
    worked = {name for name, done in progress.done.items() if done}
    assert worked == {f"{MODEL} peaks"}
    assert_same_run(store, result, reference)


def test_finished_stages_build_no_tasks(reference: Reference, tmp_path: Path) -> None:
    store = reference.copy(tmp_path)
    with nothing_computes():
        simulate(store, job(), client=None, progress=NullProgress())
        wanted = ReconstructJob(parameters=PARAMETERS.reconstruction)
        assert reconstruct(store, store, wanted, client=None, progress=NullProgress()) == [MODEL]


def test_another_seed_or_parameter_is_refused_by_name(reference: Reference, tmp_path: Path) -> None:
    store = reference.copy(tmp_path)
    with pytest.raises(StoreError, match=r"seed: stored 3, asked for 4(.|\n)*--overwrite"):
        simulate(store, job(seed=4), client=None, progress=NullProgress())
    deeper = replace(PARAMETERS.simulation, microscope=replace(PARAMETERS.simulation.microscope, defocus_um=(4.0, 4.0)))
    with pytest.raises(StoreError, match=r"microscope.defocus_um\[0\]: stored 3.*, asked for 4"):
        simulate(store, job(replace(PARAMETERS, simulation=deeper)), client=None, progress=NullProgress())
    hann = ReconstructJob(parameters=replace(PARAMETERS.reconstruction, window="hann"))
    with pytest.raises(StoreError, match=r'reconstruction\.window: stored "ram-lak", asked for "hann"'):
        reconstruct(store, store, hann, client=None, progress=NullProgress())
    finer = replace(PARAMETERS, matching=replace(PARAMETERS.matching, angular_step_deg=70.0))
    with pytest.raises(StoreError, match=r"angular_step_deg: stored 90.*, asked for 70"):
        match(store, search_job(store, finer), client=None, progress=NullProgress())
    assert_same_bits(contents(store), contents(reference.store))


def test_overwriting_replaces_and_returns(reference: Reference, tmp_path: Path) -> None:
    store = reference.copy(tmp_path)
    simulate(store, job(seed=4), client=None, progress=NullProgress(), overwrite=True)
    tilt_series, grand = layout.tilt_series_group(MODEL), layout.grand_model_group(MODEL)
    for group, name in ((tilt_series, "counts"), (grand, "electrostatic_v")):
        ours, theirs = (s.open(group)[name].to_numpy() for s in (store, reference.store))
        assert not np.array_equal(ours, theirs)
    # What was made of the old tilt series is not taken for a result of the new one.
    with pytest.raises(StoreError, match="tilt_series: stored"):
        reconstruct(
            store, store, ReconstructJob(parameters=PARAMETERS.reconstruction), client=None, progress=NullProgress()
        )
    simulate(store, job(seed=3), client=None, progress=NullProgress(), overwrite=True)
    result = run_chain(store)
    assert_same_run(store, result, reference)


def test_results_may_go_to_another_store(reference: Reference, tmp_path: Path) -> None:
    output = Store(tmp_path / "tomograms.zarr")
    wanted = ReconstructJob(parameters=PARAMETERS.reconstruction)
    reconstruct(reference.store, output, wanted, client=None, progress=NullProgress())
    group = layout.tomogram_group(MODEL)
    assert [entry.path for entry in output.groups()] == [group]
    assert np.array_equal(output.open(group)["image"], reference.store.open(group)["image"])


# -- what cannot be done -------------------------------------------------------------------------------------------


def test_jobs_that_make_no_sense_are_refused() -> None:
    simulation = PARAMETERS.simulation
    with pytest.raises(ConfigError, match="no structure to simulate"):
        SimulateJob(structures=(), parameters=simulation, models=1, seed=0)
    with pytest.raises(ConfigError, match="--models is 0"):
        SimulateJob(structures=two_structures(), parameters=simulation, models=0, seed=0)
    with pytest.raises(ConfigError, match="--seed is -1"):
        job(seed=-1)
    with pytest.raises(ConfigError, match="storage_rows is 5, must divide 32"):
        job(storage_rows=5)
    odd = replace(simulation, sample=replace(simulation.sample, box_voxels=(32, 62, 64)))
    with pytest.raises(ConfigError, match=r"box_voxels \[32, 62, 64\]: multiples of 4"):
        job(replace(PARAMETERS, simulation=odd))


def test_chunks_of_spline_coefficients_fit_what_the_allocator_keeps() -> None:
    """At full size they would hold 51 MB each otherwise, and reading them would cost mostly page faults."""
    planes = 384 * 32
    part = spline_chunk(1048, planes)
    assert 4 * 2**20 < part * planes * 4 <= 8 * 2**20
    assert spline_chunk(56, 40 * 32) == 56


def test_stages_say_which_one_comes_before_them(tmp_path: Path) -> None:
    empty = Store(tmp_path / "empty.zarr").create()
    with pytest.raises(DataError, match="holds no complete tilt_series; run the command that makes it first"):
        reconstruct(
            empty, empty, ReconstructJob(parameters=PARAMETERS.reconstruction), client=None, progress=NullProgress()
        )
    with pytest.raises(DataError, match="holds no structures to make templates of"):
        templates_of_store(empty)
    with pytest.raises(DataError, match="holds no complete truth"):
        truths_of_store(empty)


def test_a_template_that_is_not_there_is_named(reference: Reference) -> None:
    with pytest.raises(ConfigError, match="has no class 'nonsense'; it has syn-0060-c1, syn-0150-c2"):
        templates_of_store(reference.store, ["nonsense", "syn-0060-c1"])
    (one,) = templates_of_store(reference.store, ["syn-0150-c2"])
    assert one.source.symmetry == "C2"
