"""``simulate``: structures to a data set with grand models, truth and tilt series."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from dask.delayed import Delayed, delayed
from distributed import Client

from cryodask.errors import ConfigError
from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.io.store_spec import SCHEMA_VERSION
from cryodask.kernels.slab_rotation import PADDING_VOXELS
from cryodask.model.images import OPTICS
from cryodask.model.particles import Particles
from cryodask.model.progress import Progress
from cryodask.model.structure import Structure
from cryodask.ops import bodies
from cryodask.ops import sample as sample_ops
from cryodask.ops.acquisition import TiltSettings, draw_tilts, tilts_and_order
from cryodask.ops.carbon import CarbonFilm, draw_carbon
from cryodask.ops.densities import DensitySource
from cryodask.ops.placement import draw_particles, require_classes
from cryodask.ops.projection import ImageCurves, TiltImages, simulate_tilt, simulated_images
from cryodask.ops.vesicles import draw_vesicles
from cryodask.params.loader import to_dict
from cryodask.params.schema import SimulationParameters
from cryodask.params.tokens import token
from cryodask.workflows import layout
from cryodask.workflows.densities import density_token, make_densities
from cryodask.workflows.execution import execute
from cryodask.workflows.image_curves import curves_record, load_curves
from cryodask.workflows.target_noise import scale_noise
from cryodask.workflows.truth_table import with_bounding_boxes

_SAMPLE, _GOLD, _VESICLES, _TARGET, _CARBON = 0, 4, 5, 8, 9
"""First element of each random stream's spawn key (then model); ``ops.acquisition`` has those of the images."""


_MASKS = {"class_mask": "uint8", "occupancy_mask": "int32", "occupancy_mask_filled": "int32"}
_SPLINE_CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True, kw_only=True)
class SimulateJob:
    """Everything that decides what a simulation yields."""

    structures: tuple[Structure, ...]
    parameters: SimulationParameters
    models: int
    seed: int
    storage_rows: int | None = None
    """Rows along y in one stored chunk of the grand model; never changes a value. None stores what one task makes."""

    def __post_init__(self) -> None:
        if not self.structures:
            raise ConfigError("no structure to simulate: the set is empty after its restrictions")
        if self.models < 1:
            raise ConfigError(f"--models is {self.models}, must be at least 1")
        if self.seed < 0:
            raise ConfigError(f"--seed is {self.seed}, must not be negative")
        proteins = {structure.info.class_id for structure in self.structures}
        for name in bodies.body_classes(self.parameters.sample):
            if name in proteins:
                raise ConfigError(
                    f"a structure is named {name!r}, the class of gold beads or of vesicles: rename it, or set "
                    "sample.gold_count or sample.vesicle_count to 0"
                )
        require_classes(self.parameters.sample, proteins)
        step = 2 * sample_ops.TRUTH_BINNING
        if any(n % step for n in self.parameters.sample.box_voxels):
            given = list(self.parameters.sample.box_voxels)
            raise ConfigError(f"simulation.sample.box_voxels {given}: multiples of {step} only")
        if self.storage_rows is not None and sample_ops.SLAB_VOXELS % self.storage_rows:
            raise ConfigError(f"storage_rows is {self.storage_rows}, must divide {sample_ops.SLAB_VOXELS}")


def simulate(
    store: Store, job: SimulateJob, *, client: Client | None, progress: Progress, overwrite: bool = False
) -> list[str]:
    """Fill ``store`` with ``job.models`` simulated tilt series; what is there already is kept. Returns model names."""
    curves = load_curves(job.parameters.detector)
    tilts_and_order(job.parameters.acquisition)  # refuses a wrong list of tilts before anything is made
    store.create()
    densities = make_densities(
        store, job.structures, job.parameters.sample, client=client, progress=progress, overwrite=overwrite
    )
    names = []
    for index in range(job.models):
        model = _Model(store, job, index, densities, curves, overwrite)
        model.make_sample(client, progress)
        model.make_tilt_series(client, progress)
        names.append(model.name)
    return names


# -- one model -----------------------------------------------------------------------------------------------------


class _Model:
    """The stages of one simulated tomogram, each resumable."""

    def __init__(
        self,
        store: Store,
        job: SimulateJob,
        index: int,
        densities: Mapping[str, DensitySource],
        curves: ImageCurves,
        overwrite: bool,
    ) -> None:
        self.store, self.job, self.index, self.densities, self.overwrite = store, job, index, densities, overwrite
        self.curves = curves
        self.name = layout.model_name(index)
        sample = job.parameters.sample
        self.sample_record = {
            "structures": {s.info.class_id: density_token(s, job.parameters.sample) for s in job.structures},
            "sample": to_dict(sample),
            "microscope": {"voltage_kv": job.parameters.microscope.voltage_kv},
            "seed": job.seed,
            "model": index,
            "slab_voxels": sample_ops.SLAB_VOXELS,
            "spline_axes": "xzy",
            "schema_version": SCHEMA_VERSION,
        }
        self.sample_token = token(self.sample_record)

    def _generator(self, stage: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.job.seed, spawn_key=(stage, self.index)))

    def make_sample(self, client: Client | None, progress: Progress) -> None:
        """Grand model, masks and particle table."""
        sample = self.job.parameters.sample
        film = draw_carbon(sample, self._generator(_CARBON), (self.job.seed, (_CARBON, self.index)))
        blocked = None if film is None else film.obstacles(sample)
        vesicles = draw_vesicles(sample, self._generator(_VESICLES), blocked)
        others_so_far = bodies.spheres(vesicles)
        blocked = others_so_far if blocked is None else bodies.joined(others_so_far, blocked)
        gold = bodies.draw_gold(sample, self._generator(_GOLD), blocked)
        others: list[bodies.Body] = [*gold, *vesicles]
        particles = draw_particles(
            self.densities,
            self.job.parameters.sample,
            self._generator(_SAMPLE),
            self.name,
            others,
            film,
        )
        ny = self.job.parameters.sample.box_voxels[1]
        slabs = [(start, min(start + sample_ops.SLAB_VOXELS, ny)) for start in range(0, ny, sample_ops.SLAB_VOXELS)]
        grand, truth = layout.grand_model_group(self.name), layout.truth_group(self.name)
        pending = set(self.store.prepare(grand, self._grand_model_spec(len(slabs)), overwrite=self.overwrite))
        pending |= set(self.store.prepare(truth, self._truth_spec(len(slabs)), overwrite=self.overwrite))
        tasks = [self._slab_task(block, slabs[block], particles, others, film) for block in sorted(pending)]
        execute(tasks, client=client, progress=progress, stage=f"{self.name} sample")
        self.store.finish(grand)
        if not self.store.is_complete(truth):
            self.store.write_table(
                layout.truth_particles_group(self.name),
                with_bounding_boxes(particles, self.store.source(truth, "occupancy_mask", allow_incomplete=True)),
                kind="particles",
                token=self.sample_token,
                parameters=self.sample_record,
                overwrite=self.overwrite,
            )
            self.store.finish(truth)

    def _slab_task(
        self,
        block: int,
        rows: tuple[int, int],
        particles: Particles,
        others: Sequence[bodies.Body],
        film: CarbonFilm | None,
    ) -> Delayed:
        slab = delayed(sample_ops.sample_slab, pure=False)(
            particles, self.densities, rows, self.job.parameters.sample, self.job.parameters.microscope, others, film
        )
        task: Delayed = delayed(_write_slab, pure=False)(self.store, self.name, block, rows[0], slab)
        return task

    def _grand_model_spec(self, blocks: int) -> GroupSpec:
        sample = self.job.parameters.sample
        rows = self.job.storage_rows or sample_ops.SLAB_VOXELS
        nz, ny, nx = sample.box_voxels
        padding = 2 * PADDING_VOXELS
        variables = []
        for potential in ("electrostatic", "absorption"):
            for name, dims, shape, chunks, text in (
                (
                    f"{potential}_v",
                    ("z", "y", "x"),
                    (nz, ny, nx),
                    (nz, rows, nx),
                    f"{potential} potential above that of ice",
                ),
                (
                    f"{potential}_spline_v",
                    ("x_padded", "z_padded", "y"),
                    (nx + padding, nz + padding, ny),
                    (spline_chunk(nx + padding, (nz + padding) * rows), nz + padding, rows),
                    f"cubic B-spline coefficients of {potential}_v along z and x",
                ),
            ):
                variables.append(
                    Variable(
                        name=name,
                        dims=dims,
                        shape=shape,
                        dtype="float32",
                        chunks=chunks,
                        attrs={"units": "V", "long_name": text},
                    )
                )
        return GroupSpec(
            kind="grand-model",
            token=self.sample_token,
            parameters=self.sample_record,
            variables=tuple(variables),
            attrs={"voxel_size_angstrom": sample.voxel_size_angstrom},
            blocks=blocks,
        )

    def _truth_spec(self, blocks: int) -> GroupSpec:
        sample = self.job.parameters.sample
        binning = sample_ops.TRUTH_BINNING
        nz, ny, nx = (n // binning for n in sample.box_voxels)
        chunks = (nz, sample_ops.SLAB_VOXELS // binning, nx)
        others = dict.fromkeys(bodies.body_classes(sample), None)
        return GroupSpec(
            kind=layout.TRUTH_KIND,
            token=self.sample_token,
            parameters=self.sample_record,
            variables=tuple(
                Variable(name=name, dims=("z", "y", "x"), shape=(nz, ny, nx), dtype=dtype, chunks=chunks)
                for name, dtype in _MASKS.items()
            ),
            attrs={
                "voxel_size_angstrom": sample.voxel_size_angstrom * binning,
                "classes": [*sorted(self.densities), *others],
                "radius_angstrom": {name: d.radius_angstrom for name, d in sorted(self.densities.items())} | others,
                "mask_radius_angstrom": {s.info.class_id: s.info.mask_radius_angstrom for s in self.job.structures}
                | others,
                "molecular_weight_kda": {s.info.class_id: s.info.molecular_weight_kda for s in self.job.structures}
                | others,
            },
            blocks=blocks,
        )

    def make_tilt_series(self, client: Client | None, progress: Progress) -> None:
        """All images, with and without noise; for a target signal-to-noise ratio by way of the physical one."""
        parameters = self.job.parameters
        tilts = draw_tilts(parameters, self.job.seed, self.index)
        spec = self._tilt_series_spec(tilts, parameters)
        group, target = layout.tilt_series_group(self.name), parameters.detector.target_snr
        if target is None:
            self._make_images(group, spec, tilts, client, progress)
            return
        if not self.overwrite and self.store.is_complete(group, spec.token):
            return
        # Without the target in its token: another target need not simulate it again.
        untouched = replace(parameters, detector=replace(parameters.detector, target_snr=None))
        physical = replace(self._tilt_series_spec(tilts, untouched), kind=layout.PHYSICAL_SERIES_KIND)
        self._make_images(layout.physical_series_group(self.name), physical, tilts, client, progress)
        drawn = float(self._generator(_TARGET).uniform(*target))
        scale_noise(self.store, self.name, spec, drawn, client=client, progress=progress, overwrite=self.overwrite)

    def _make_images(
        self, group: str, spec: GroupSpec, tilts: Sequence[TiltSettings], client: Client | None, progress: Progress
    ) -> None:
        pending = self.store.prepare(group, spec, overwrite=self.overwrite)
        grand = layout.grand_model_group(self.name)
        sources = [self.store.source(grand, f"{name}_spline_v") for name in ("electrostatic", "absorption")]
        parameters = self.job.parameters
        ice = bodies.ice_absorption_v(parameters.sample, parameters.microscope)
        tasks = [
            delayed(_write_tilt, pure=False)(
                self.store,
                group,
                index,
                delayed(simulate_tilt, pure=False)(*sources, tilts[index], parameters, ice, self.curves),
            )
            for index in pending
        ]
        execute(tasks, client=client, progress=progress, stage=f"{self.name} tilt series")
        self.store.finish(group)

    def _tilt_series_spec(self, tilts: Sequence[TiltSettings], parameters: SimulationParameters) -> GroupSpec:
        _, ny, nx = parameters.sample.box_voxels
        record = {
            **self.sample_record,
            "simulation": to_dict(parameters),
            "curves": curves_record(self.curves),
            "sample_token": self.sample_token,
        }
        units = {
            "tilt_deg": "degree",
            "dose_e_per_a2": "1/angstrom^2",
            "defocus_um": "um",
            "shift_y_angstrom": "angstrom",
            "shift_x_angstrom": "angstrom",
            "astigmatism_um": "um",
            "astigmatism_deg": "degree",
            "acquisition_order": "1",
            "prior_dose_e_per_a2": "1/angstrom^2",
        }
        return GroupSpec(
            kind=layout.TILT_SERIES_KIND,
            token=token(record),
            parameters=record,
            variables=tuple(
                Variable(
                    name=name,
                    dims=("tilt", "y", "x"),
                    shape=(len(tilts), ny, nx),
                    dtype="float32",
                    chunks=(1, ny, nx),
                    attrs={"units": "electrons per pixel", "long_name": text},
                )
                for name, text in simulated_images(parameters).items()
            ),
            coordinates={
                name: (("tilt",), np.array([float(getattr(tilt, name)) for tilt in tilts]), {"units": unit})
                for name, unit in units.items()
            },
            attrs={
                "pixel_size_angstrom": parameters.sample.voxel_size_angstrom,
                "sample_thickness_angstrom": parameters.sample.box_voxels[0] * parameters.sample.voxel_size_angstrom,
                **{name: value for name, value in to_dict(parameters.microscope).items() if name in OPTICS},
                "defocus_um": float(np.median([tilt.defocus_um for tilt in tilts])),
                **({} if tilts[0].damage_snr is None else {"beam_damage_snr": tilts[0].damage_snr}),
            },
            blocks=len(tilts),
        )


def spline_chunk(nx: int, others: int) -> int:
    """Voxels along x of a stored chunk of coefficients, of which ``others`` lie at each x: equal parts of some 8 MiB.

    Every tilt reads all of them. What is decompressed into buffers beyond the 32 MiB that glibc keeps is given back
    after each chunk, and costs a page fault every 4 KiB of the next: half of the time of reading.
    """
    parts = max(1, math.ceil(nx * others * 4 / _SPLINE_CHUNK_BYTES))
    return math.ceil(nx / parts)


def _write_slab(store: Store, model: str, block: int, row: int, slab: sample_ops.SampleSlab) -> None:
    grand, truth = layout.grand_model_group(model), layout.truth_group(model)
    if block in store.pending(grand):
        for name in ("electrostatic", "absorption"):
            store.write(grand, f"{name}_v", (0, row, 0), getattr(slab, f"{name}_v"))
            store.write(grand, f"{name}_spline_v", (0, 0, row), getattr(slab, f"{name}_spline_v"))
        store.mark_done(grand, block)
    if block in store.pending(truth):
        for name in _MASKS:
            store.write(truth, name, (0, row // sample_ops.TRUTH_BINNING, 0), getattr(slab, name))
        store.mark_done(truth, block)


def _write_tilt(store: Store, group: str, index: int, images: TiltImages) -> None:
    for field in fields(images):
        image = getattr(images, field.name)
        if image is not None:
            store.write(group, field.name, (index, 0, 0), image[None])
    store.mark_done(group, index)
