"""Structures, parameters and small helpers that the tests of ops, workflows and the Python API share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed
from distributed import Client

from cryodask.io.builtin_structures import builtin_structures
from cryodask.io.elements import CARBON, make_atoms
from cryodask.io.store import Store
from cryodask.model.progress import NullProgress, Progress, Stage
from cryodask.model.source import ArraySource
from cryodask.model.structure import Atoms, Structure, StructureInfo
from cryodask.ops.densities import DensitySource, ParticleDensity
from cryodask.params.schema import (
    AcquisitionParameters,
    MatchingParameters,
    MicroscopeParameters,
    ReconstructionParameters,
    RunParameters,
    SampleParameters,
    SimulationParameters,
)
from cryodask.workflows.match import MatchJob, MatchResult, match
from cryodask.workflows.reconstruct import ReconstructJob, reconstruct
from cryodask.workflows.search_inputs import templates_of_store, tomograms_of_store
from cryodask.workflows.simulate import SimulateJob, simulate

Floats = npt.NDArray[np.float64]

SAMPLE = SampleParameters(box_voxels=(32, 64, 64), particle_count=(3, 3))

PARAMETERS = RunParameters(
    simulation=SimulationParameters(
        sample=SAMPLE,
        microscope=MicroscopeParameters(defocus_um=(3.0, 3.0)),
        acquisition=AcquisitionParameters(tilt_count=5, shift_sigma_angstrom=(8.0, 8.0)),
    ),
    reconstruction=ReconstructionParameters(slab_voxels=16),
    matching=MatchingParameters(angular_step_deg=90, rotations_per_task=6, threshold_z=3.0),
)
"""Seconds for the whole chain; shifts are drawn, so that every random stream takes part."""

CHIRAL_BALLS = (
    ((0.0, 0.0, 0.0), 18.0),
    ((38.0, 0.0, 0.0), 14.0),
    ((0.0, 30.0, 0.0), 11.0),
    ((8.0, 0.0, 26.0), 9.0),
)
"""Centres (x, y, z) and radii in angstrom: no rotation and no reflection turns the four balls into themselves."""


@dataclass(frozen=True, kw_only=True)
class Balls:
    """A structure of touching balls of carbon, as dense as protein."""

    class_id: str = "balls"
    balls: tuple[tuple[tuple[float, float, float], float], ...] = CHIRAL_BALLS

    @property
    def info(self) -> StructureInfo:
        return StructureInfo(class_id=self.class_id, name="balls", source="test", assembly="asu", content_sha256="b")

    def load(self) -> Atoms:
        reach = max(float(np.abs(np.array(centre)).max()) + radius for centre, radius in self.balls)
        axis = np.arange(-reach, reach, 2.5)
        grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        inside = np.any([np.linalg.norm(grid - np.array(c), axis=1) < r for c, r in self.balls], axis=0)
        points = grid[inside]
        none = np.zeros(len(points))
        return make_atoms(points, np.full(len(points), CARBON), none + 1, none)


def two_structures() -> tuple[Structure, ...]:
    """The two lightest complexes that come with the package; the second has a two-fold axis."""
    return tuple(builtin_structures()[:2])


def job(parameters: RunParameters = PARAMETERS, seed: int = 3, storage_rows: int | None = None) -> SimulateJob:
    return SimulateJob(
        structures=two_structures(),
        parameters=parameters.simulation,
        models=parameters.models,
        seed=seed,
        storage_rows=storage_rows,
    )


def with_tilts(count: int) -> RunParameters:
    """The tiny run with another number of tilts."""
    simulation = PARAMETERS.simulation
    acquisition = replace(simulation.acquisition, tilt_count=count)
    return replace(PARAMETERS, simulation=replace(simulation, acquisition=acquisition))


def source_of(density: ParticleDensity) -> DensitySource:
    return DensitySource(
        ArraySource(density.electrostatic_v),
        ArraySource(density.displaced_fraction),
        ArraySource(density.solid),
        density.voxel_size_angstrom,
        density.radius_angstrom,
    )


def search_job(store: Store, parameters: RunParameters = PARAMETERS) -> MatchJob:
    return MatchJob(
        tomograms=tuple(tomograms_of_store(store)),
        templates=tuple(templates_of_store(store)),
        parameters=parameters.matching,
    )


def run_chain(
    store: Store,
    *,
    client: Client | None = None,
    progress: Progress | None = None,
    storage_rows: int | None = None,
    parameters: RunParameters = PARAMETERS,
) -> MatchResult:
    """Simulate, reconstruct with and without noise, and match, all in one store."""
    shown = progress or NullProgress()
    simulate(store, job(parameters, storage_rows=storage_rows), client=client, progress=shown)
    for image in ("counts", "noise_free"):
        wanted = ReconstructJob(parameters=parameters.reconstruction, image=image)
        reconstruct(store, store, wanted, client=client, progress=shown)
    return match(store, search_job(store, parameters), client=client, progress=shown)


def contents(store: Store) -> dict[str, npt.NDArray[Any]]:
    """Every array of every complete group, by ``group/variable``."""
    found = {}
    for entry in store.groups():
        assert entry.complete, f"{entry.path} is not complete"
        dataset = store.open(entry.path)
        for name, variable in dataset.variables.items():
            found[f"{entry.path}/{name}"] = variable.to_numpy()
    return found


def assert_same_bits(one: dict[str, npt.NDArray[Any]], other: dict[str, npt.NDArray[Any]]) -> None:
    """The same arrays with the same values, NaN equal to NaN."""
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert values.dtype == other[name].dtype
        assert values.shape == other[name].shape
        if values.dtype.kind in "biuf":
            assert values.tobytes() == other[name].tobytes(), f"{name} differs"
        else:
            assert np.array_equal(values, other[name]), f"{name} differs"


class RecordedProgress:
    """Keeps the stages it was shown: names, totals, and how much of each was done."""

    def __init__(self) -> None:
        self.totals: dict[str, int | None] = {}
        self.done: dict[str, int] = {}

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        self.totals[name], self.done[name] = total, 0
        yield _RecordedStage(self, name)


class _RecordedStage:
    def __init__(self, record: RecordedProgress, name: str) -> None:
        self._record, self._name = record, name

    def advance(self, n: int = 1) -> None:
        self._record.done[self._name] += n


class ComputedTooEarly(AssertionError):
    """Something was computed where only a graph was to be built."""


@contextmanager
def nothing_computes() -> Iterator[None]:
    """Any dask computation within this block fails."""

    def refuse(*_: object, **__: object) -> None:
        raise ComputedTooEarly("a graph was computed while it was being built")

    with dask.config.set(scheduler=refuse):
        yield


def keys_of(tasks: Sequence[Delayed]) -> set[str]:
    """Names of all functions' calls in the graphs of ``tasks``; shared ones once."""
    return {str(key) for task in tasks for key in task.dask}


def gaussian(shape: tuple[int, ...], centre: Sequence[float], sigma: float) -> npt.NDArray[np.float32]:
    """Gaussian of height 1 about ``centre``, in voxels and in the order of the axes."""
    total: Any = 0.0
    for axis, (n, middle) in enumerate(zip(shape, centre, strict=True)):
        at = [1] * len(shape)
        at[axis] = n
        total = total + ((np.arange(n) - middle) ** 2).reshape(at)
    values: npt.NDArray[np.float32] = np.exp(-total / (2 * sigma**2)).astype(np.float32)
    return values


def centroid(values: npt.NDArray[Any], least: float = 0.2) -> Floats:
    """Centre of mass of what exceeds ``least`` times the maximum, less that threshold."""
    weight = np.clip(np.asarray(values, dtype=np.float64) - least * float(values.max()), 0, None)
    axes = np.indices(values.shape)
    return np.array([float((index * weight).sum() / weight.sum()) for index in axes])
