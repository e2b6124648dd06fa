"""What a run will cost, before it runs: tasks, bytes written and peak memory per worker, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cryodask.errors import ConfigError
from cryodask.io.store import Store
from cryodask.kernels.rotations import rotation_set, without_symmetry_mates
from cryodask.kernels.slab_rotation import PADDING_VOXELS
from cryodask.model.alignment import TiltAlignment
from cryodask.model.structure import Structure
from cryodask.ops import densities, matching, reconstruction, sample
from cryodask.ops.acquisition import tilts_and_order
from cryodask.ops.bodies import bead_window_bytes
from cryodask.ops.engines import choose_engine
from cryodask.ops.image_preparation import prepare_bytes
from cryodask.ops.low_rank import basis_bytes, low_rank_bytes, tile_edge
from cryodask.ops.projection import simulate_tilt_bytes, simulated_images
from cryodask.ops.templates import fine_template_bytes
from cryodask.ops.vesicles import vesicle_window_bytes
from cryodask.params.schema import RunParameters, SampleParameters
from cryodask.workflows import layout
from cryodask.workflows.engines import low_rank_settings
from cryodask.workflows.reconstruct import ReconstructJob
from cryodask.workflows.series import Series, series_of_store
from cryodask.workflows.target_noise import RECONSTRUCTION
from cryodask.workflows.tomogram_targets import level_shapes

WORKER_BASELINE_BYTES = 340 * 2**20
"""Resident memory of a worker that has imported and compiled everything but holds no data (measured: 290-320 MiB)."""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage of all models together."""

    stage: str
    tasks: int
    """Tasks that compute something; those that only store what another made come on top."""
    bytes_written: int
    """Uncompressed; compression saves a tenth of noise-like data and most of a sparse grand model."""
    task_bytes: int
    """Peak of one task, on top of the worker's baseline."""
    remedy: str = "a smaller sample (--set simulation.sample.box_voxels=...)"
    """What takes less, besides fewer workers and more memory."""
    device_bytes: int = 0
    """Peak of the arrays of one task on a GPU, where GPU workers compute the stage there; 0 where they do not."""

    @property
    def worker_bytes(self) -> int:
        """Peak of a one-threaded worker."""
        return WORKER_BASELINE_BYTES + self.task_bytes


def plan_run(parameters: RunParameters, structures: Sequence[Structure]) -> list[StagePlan]:
    """All stages of ``benchmark``; the stage commands run their part of them."""
    return [
        *plan_simulation(parameters, structures),
        *plan_reconstruction(parameters),
        *plan_matching(parameters, structures),
    ]


def plan_simulation(parameters: RunParameters, structures: Sequence[Structure]) -> list[StagePlan]:
    """Densities, grand models and tilt series."""
    box = parameters.simulation.sample.box_voxels
    nz, ny, nx = box
    models = parameters.models
    largest = max((densities.density_side_estimate(s.info) for s in structures), default=0)
    tilts = len(tilts_and_order(parameters.simulation.acquisition)[0])
    padded = (nz + 2 * PADDING_VOXELS) * ny * (nx + 2 * PADDING_VOXELS)
    truth = nz * ny * nx // sample.TRUTH_BINNING**3
    stages = [
        StagePlan(
            stage="structures",
            tasks=len(structures),
            bytes_written=sum(2 * 4 * densities.density_side_estimate(s.info) ** 3 for s in structures),
            task_bytes=max((densities.particle_density_bytes(s.info) for s in structures), default=0),
        ),
        StagePlan(
            stage="sample",
            tasks=models * -(-ny // sample.SLAB_VOXELS),
            bytes_written=models * (2 * 4 * (nz * ny * nx + padded) + 5 * truth),
            task_bytes=sample.sample_slab_bytes(box, largest) + _body_bytes(parameters.simulation.sample),
        ),
        StagePlan(
            stage="tilt series",
            tasks=models * tilts,
            bytes_written=models * tilts * len(simulated_images(parameters.simulation)) * 4 * ny * nx,
            task_bytes=simulate_tilt_bytes(parameters.simulation),
            device_bytes=simulate_tilt_bytes(parameters.simulation),
        ),
    ]
    if parameters.simulation.detector.target_snr is not None:
        stages.append(_noise_stage(parameters, stages[-1].bytes_written))
    return stages


def _noise_stage(parameters: RunParameters, series_bytes: int) -> StagePlan:
    """Measuring the physical noise on tomograms that are not kept, and writing the series with the wanted noise."""
    geometry = planned_geometry(replace(parameters, reconstruction=RECONSTRUCTION))
    slabs = len(reconstruction.slabs(geometry, RECONSTRUCTION))
    # A task that sums has both tomograms' slabs at hand.
    return StagePlan(
        stage="noise to a target",
        tasks=parameters.models * (3 * slabs + 3 * len(geometry.tilt_deg)),
        bytes_written=series_bytes,
        task_bytes=2 * reconstruction.reconstruct_slab_bytes(geometry, RECONSTRUCTION),
    )


def _body_bytes(parameters: SampleParameters) -> int:
    """Of the gold bead or the vesicle that one slab works on."""
    return max(bead_window_bytes(parameters), vesicle_window_bytes(parameters, sample.SLAB_VOXELS))


def plan_reconstruction(parameters: RunParameters) -> list[StagePlan]:
    """Tomograms, with and without noise."""
    geometry = planned_geometry(parameters)
    slabs = len(reconstruction.slabs(geometry, parameters.reconstruction))
    return [
        StagePlan(
            stage="tomogram (twice, with and without noise)",
            tasks=2 * parameters.models * (slabs + len(geometry.tilt_deg)),
            bytes_written=parameters.models
            * 4
            * (int(np.prod(geometry.shape)) + _pyramid_voxels(geometry, parameters)),
            task_bytes=_reconstruction_bytes(parameters, geometry),
            device_bytes=reconstruction.reconstruct_slab_bytes(geometry, parameters.reconstruction),
        )
    ]


def _pyramid_voxels(geometry: reconstruction.ReconstructionGeometry, parameters: RunParameters) -> int:
    """Of all levels together."""
    rows = min(parameters.reconstruction.slab_voxels, geometry.shape[1])
    return sum(int(np.prod(shape)) for shape in level_shapes(geometry.shape, rows))


def _reconstruction_bytes(parameters: RunParameters, geometry: reconstruction.ReconstructionGeometry) -> int:
    """Of preparing an image or of making a slab, whichever is more."""
    _, ny, nx = parameters.simulation.sample.box_voxels
    slab = reconstruction.reconstruct_slab_bytes(geometry, parameters.reconstruction)
    return max(slab, prepare_bytes((ny, nx)))


def plan_stored_reconstruction(data: Store, job: ReconstructJob) -> list[StagePlan]:
    """Tomograms from the tilt series that a data set holds."""
    names = layout.models_with(data, "tilt_series")
    return [stage for name in names for stage in plan_series(series_of_store(data, name, job.image), job)]


def plan_series(series: Series, job: ReconstructJob) -> list[StagePlan]:
    """The tomogram of one tilt series, and those of its half sets if the job wants them."""
    geometry = series.geometry(job.parameters)
    volumes = 3 if job.half_sets else 1
    voxel_bytes = np.dtype(job.parameters.output_dtype).itemsize
    return [
        StagePlan(
            stage=f"{series.name} images",
            remedy="images that are binned before",
            tasks=len(geometry.tilt_deg),
            bytes_written=4 * len(geometry.tilt_deg) * geometry.shape[1] * geometry.shape[2],
            task_bytes=prepare_bytes((series.images.shape[1], series.images.shape[2])),
        ),
        StagePlan(
            stage=f"{series.name} {job.variant}",
            remedy="fewer rows at once (--set reconstruction.slab_voxels=8)",
            tasks=volumes * len(reconstruction.slabs(geometry, job.parameters)),
            bytes_written=volumes * voxel_bytes * int(np.prod(geometry.shape)),
            task_bytes=reconstruction.reconstruct_slab_bytes(geometry, job.parameters),
            device_bytes=reconstruction.reconstruct_slab_bytes(geometry, job.parameters),
        ),
    ]


def plan_matching(parameters: RunParameters, structures: Sequence[Structure]) -> list[StagePlan]:
    """Filtered tomograms, score maps and peaks."""
    geometry = planned_geometry(parameters)
    voxels = int(np.prod(geometry.shape))
    rotations = rotation_set(parameters.matching.angular_step_deg)
    per_task = parameters.matching.rotations_per_task
    batches = [
        len(matching.batches(len(without_symmetry_mates(rotations, s.info.symmetry)), per_task)) for s in structures
    ]
    tiles = matching.tiles(geometry.shape)
    radii = [densities.radius_estimate_angstrom(s.info) for s in structures]
    reach = int(max(radii, default=0) / geometry.voxel_size_angstrom) + 2
    fine = max((fine_template_bytes(r, densities.DENSITY_VOXEL_ANGSTROM, geometry.voxel_size_angstrom) for r in radii),
               default=0)  # fmt: skip
    search = fine + max(matching.search_bytes(tiles[0].shape, reach), _low_rank_bytes(parameters, structures))
    return [
        StagePlan(
            stage="filter",
            tasks=parameters.models,
            bytes_written=parameters.models * 4 * voxels,
            task_bytes=matching.filter_bytes(voxels),
        ),
        StagePlan(
            stage=f"search ({len(rotations)} rotations)",
            # A template is prepared once; on each tile once more, then searched in batches that are joined in pairs.
            tasks=parameters.models * sum(len(tiles) * (2 * count + 1) + 1 for count in batches),
            bytes_written=parameters.models * len(structures) * 8 * voxels,
            task_bytes=search,
            device_bytes=search,
        ),
        StagePlan(
            stage="peaks",
            tasks=parameters.models * len(structures),
            bytes_written=0,
            task_bytes=matching.peaks_bytes(voxels),
        ),
    ]


def _low_rank_bytes(parameters: RunParameters, structures: Sequence[Structure]) -> int:
    """Peak of the low-rank tasks, of tiles and of the making of bases; 0 where the other engine searches for all."""
    geometry = planned_geometry(parameters)
    settings = low_rank_settings(parameters.matching)
    rotations = len(rotation_set(parameters.matching.angular_step_deg))
    worst = 0
    for structure in structures:
        radius = densities.radius_estimate_angstrom(structure.info) / geometry.voxel_size_angstrom
        choice = choose_engine(
            parameters.matching.engine,
            radius_voxels=radius,
            shape=geometry.shape,
            tilt_deg=geometry.tilt_deg,
            rotations=rotations,
            settings=settings,
        )
        if choice.engine == "low-rank":
            tile = matching.tiles(geometry.shape, tile_edge(radius, matching.TILE_VOXELS))[0]
            worst = max(worst, low_rank_bytes(tile, radius, settings.keep), basis_bytes(radius))
    return worst


def planned_geometry(parameters: RunParameters) -> reconstruction.ReconstructionGeometry:
    """Geometry of the tomograms that the simulated tilt series will give."""
    box = parameters.simulation.sample
    acquisition = parameters.simulation.acquisition
    nz, ny, nx = box.box_voxels
    tilts = tilts_and_order(acquisition)[0]
    thickness = nz * box.voxel_size_angstrom
    return reconstruction.ReconstructionGeometry.plan(
        (ny, nx), box.voxel_size_angstrom, TiltAlignment.of(tilts), thickness, parameters.reconstruction
    )


def require_memory(stages: Sequence[StagePlan], memory_limit_bytes: int | None) -> int:
    """Peak bytes per worker over all stages; ConfigError naming stage and numbers if a worker has less."""
    worst = max(stages, key=lambda stage: stage.worker_bytes)
    if memory_limit_bytes is not None and worst.worker_bytes > memory_limit_bytes:
        raise ConfigError(
            f"stage {worst.stage!r} needs {worst.worker_bytes / 2**30:.2f} GiB in each worker, "
            f"which has {memory_limit_bytes / 2**30:.2f} GiB: use fewer --workers, a larger --memory-limit, "
            f"or {worst.remedy}"
        )
    return worst.worker_bytes


def require_device_memory(stages: Sequence[StagePlan], device_bytes: int | None) -> None:
    """ConfigError naming stage and numbers if a GPU has less memory than the arrays of a task take."""
    worst = max(stages, key=lambda stage: stage.device_bytes)
    if device_bytes is not None and worst.device_bytes > device_bytes:
        raise ConfigError(
            f"stage {worst.stage!r} needs {worst.device_bytes / 2**30:.2f} GiB on each GPU, which has "
            f"{device_bytes / 2**30:.2f} GiB: use {worst.remedy}, or --cluster local"
        )
