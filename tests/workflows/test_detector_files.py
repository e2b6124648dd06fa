"""Series with a target ratio, with a profile or a camera from files; counted classes; the boxes of particles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryodask.errors import ConfigError, DataError, StoreError
from cryodask.io.store import Store
from cryodask.kernels.spectrum import amplitude_profile
from cryodask.model.progress import NullProgress
from cryodask.ops.signal import SignalSums
from cryodask.params.schema import DetectorParameters, RunParameters, SampleParameters
from cryodask.workflows import layout
from cryodask.workflows.reconstruct import ReconstructJob, reconstruct
from cryodask.workflows.signal import measure_snr
from cryodask.workflows.simulate import SimulateJob, simulate
from tests.tiny import PARAMETERS, job
from tests.workflows.conftest import Reference

MODEL = "model_000"
EVERYTHING = (slice(None),) * 3


def with_detector(**options: object) -> RunParameters:
    detector = DetectorParameters(**options)  # type: ignore[arg-type]
    return replace(PARAMETERS, simulation=replace(PARAMETERS.simulation, detector=detector))


def with_sample(**options: object) -> RunParameters:
    sample: SampleParameters = replace(PARAMETERS.simulation.sample, **options)  # type: ignore[arg-type]
    return replace(PARAMETERS, simulation=replace(PARAMETERS.simulation, sample=sample))


def simulated(folder: Path, parameters: RunParameters) -> Store:
    store = Store(folder / "data.zarr")
    simulate(store, job(parameters), client=None, progress=NullProgress())
    return store


@pytest.mark.parametrize("ring_scaling", ["none", "synthetic"])
@pytest.mark.parametrize("target", [0.12, 3.0])
def test_the_tomogram_has_the_wanted_ratio(tmp_path: Path, ring_scaling: str, target: float) -> None:
    parameters = with_detector(ring_scaling=ring_scaling, target_snr=(target, target))
    store = simulated(tmp_path, parameters)
    for image in ("counts", "noise_free"):
        wanted = ReconstructJob(parameters=parameters.reconstruction, image=image)
        reconstruct(store, store, wanted, client=None, progress=NullProgress())
    (found,) = measure_snr(store, [MODEL], client=None, progress=NullProgress()).values()
    assert found == pytest.approx(target, rel=2e-3)
    series, physical = (store.open(g) for g in (layout.tilt_series_group(MODEL), layout.physical_series_group(MODEL)))
    assert series.attrs["target_snr"] == target
    gain = series.attrs["noise_gain"]
    np.testing.assert_array_equal(series["noise_free"], physical["noise_free"])
    noise = [(one["counts"] - one["noise_free"]).to_numpy() for one in (series, physical)]
    np.testing.assert_allclose(noise[0], gain * noise[1], atol=1e-3)


def test_another_target_keeps_the_physical_series(tmp_path: Path) -> None:
    store = simulated(tmp_path, with_detector(target_snr=(0.2, 0.2)))
    before = store.token(layout.physical_series_group(MODEL))
    again = job(with_detector(target_snr=(0.1, 0.1)))
    with pytest.raises(StoreError, match="target_snr"):
        simulate(store, again, client=None, progress=NullProgress())
    assert store.token(layout.physical_series_group(MODEL)) == before


def test_gain_of_made_up_sums() -> None:
    """Signal of variance 2, noise of variance 8, uncorrelated: the ratio is 1/4, and 1 at half the noise."""
    generator = np.random.default_rng(0)
    signal, noise = generator.normal(0, np.sqrt(2), 400_000), generator.normal(0, np.sqrt(8), 400_000)

    def sums(gain: float) -> SignalSums:
        seen, n = signal + gain * noise, gain * noise
        return SignalSums(len(n), seen.sum(), (seen**2).sum(), n.sum(), (n**2).sum(), (seen * n).sum())

    gain = sums(1.0).noise_gain(1.0)
    assert gain == pytest.approx(0.5, rel=0.01)
    assert gain is not None
    assert sums(gain).snr() == pytest.approx(1.0, rel=1e-9)
    assert SignalSums().noise_gain(1.0) is None


def test_a_target_without_particles_is_refused(tmp_path: Path) -> None:
    parameters = with_detector(target_snr=(0.2, 0.2))
    sample = replace(parameters.simulation.sample, particle_count=(0, 0))
    empty = replace(parameters, simulation=replace(parameters.simulation, sample=sample))
    with pytest.raises(ConfigError, match=r"target_snr = 0\.2 cannot be reached in model_000: its 0 protein voxels"):
        simulated(tmp_path, empty)


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "profile.csv"
    file.write_text("0,1\n0.02,3\n0.2,2\n")
    store = simulated(tmp_path, with_detector(ring_scaling="file", ring_scaling_file=str(file)))
    image = store.source(layout.tilt_series_group(MODEL), "scaled").read((slice(0, 1), slice(None), slice(None)))[0]
    ny, nx = image.shape
    found = amplitude_profile(image, 5.0, 2 / (max(ny, nx) * 5.0))
    ratio = found.values[1:] / np.interp(found.k[1:], [0, 0.02, 0.2], [1, 3, 2])
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)


def test_a_camera_of_ones_own_changes_the_token_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "camera.csv"
    tokens: list[str] = []
    for dqe in (0.8, 0.7, 0.8):
        file.write_text(f"0,1,{dqe}\n1,0.5,0.3\n")
        folder = tmp_path / f"run{len(tokens)}"
        folder.mkdir()
        store = simulated(folder, with_detector(camera="file", camera_file=str(file)))
        tokens.append(store.token(layout.tilt_series_group(MODEL)))
    assert tokens[0] == tokens[2] != tokens[1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"camera": "file"}, ConfigError, "name the file in detector.camera_file"),
        ({"ring_scaling": "file"}, ConfigError, "name the file in detector.ring_scaling_file"),
        ({"camera_file": "x.csv"}, ConfigError, "set detector.camera=file"),
        ({"ring_scaling": "synthetic", "ring_scaling_file": "x.csv"}, ConfigError, "set detector.ring_scaling=file"),
        ({"camera": "file", "camera_file": "none.csv"}, DataError, "none.csv does not exist"),
    ],
)
def test_wrong_files_stop_before_anything_is_made(
    tmp_path: Path, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        simulated(tmp_path, with_detector(**options))
    assert not (tmp_path / "data.zarr").exists()


def test_classes_as_counted_or_weighted(tmp_path: Path) -> None:
    store = simulated(tmp_path, with_sample(class_counts={"syn-0060-c1": 2, "syn-0150-c2": 1}))
    names = store.read_table(layout.truth_particles_group(MODEL))["class_id"].to_numpy()
    assert sorted(map(str, names)) == ["syn-0060-c1", "syn-0060-c1", "syn-0150-c2"]
    weighted = tmp_path / "weighted"
    weighted.mkdir()
    store = simulated(weighted, with_sample(class_weights={"syn-0150-c2": 0.0}))
    names = store.read_table(layout.truth_particles_group(MODEL))["class_id"].to_numpy()
    assert set(map(str, names)) == {"syn-0060-c1"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_counts": {"syn-0060-c2": 1}}, "did you mean syn-0060-c1"),
        ({"class_weights": {"other": 1.0}}, "there are syn-0060-c1, syn-0150-c2"),
        ({"class_weights": {"syn-0060-c1": 0.0, "syn-0150-c2": 0.0}}, "no class with a weight"),
    ],
)
def test_wrong_classes_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        assert isinstance(job(with_sample(**options)), SimulateJob)


def test_boxes_hold_their_particles_and_filled_masks_hold_the_masks(reference: Reference) -> None:
    group = layout.truth_group(MODEL)
    mask, filled = (
        reference.store.source(group, name).read(EVERYTHING) for name in ("occupancy_mask", "occupancy_mask_filled")
    )
    table = reference.store.read_table(layout.truth_particles_group(MODEL))
    for index in range(table.sizes["particle"]):
        where = np.argwhere(mask == index + 1)
        for axis, name in enumerate("zyx"):
            assert int(table[f"{name}_first"][index]) == where[:, axis].min()
            assert int(table[f"{name}_stop"][index]) == where[:, axis].max() + 1
    np.testing.assert_array_equal(filled[mask > 0], mask[mask > 0])
    assert (filled > 0).sum() > (mask > 0).sum()
