"""Scaling a simulated series' noise so that its tomogram has a wanted signal-to-noise ratio."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
from dask.delayed import delayed
from distributed import Client

from cryodask.errors import ConfigError
from cryodask.io.scratch import scratch_folder
from cryodask.io.store import GroupSpec, Store
from cryodask.io.store_source import StoredArray
from cryodask.model.evaluation import NON_PROTEIN_CLASSES
from cryodask.model.progress import Progress
from cryodask.model.source import BlockSource
from cryodask.ops.reconstruction import slab_tasks, slabs
from cryodask.ops.signal import SignalSums, slab_sums
from cryodask.params.schema import ReconstructionParameters
from cryodask.workflows import layout
from cryodask.workflows.aligned_images import aligned_images
from cryodask.workflows.execution import execute
from cryodask.workflows.series import series_of_store

RECONSTRUCTION = ReconstructionParameters()
"""How the tomogram is made that the ratio is measured on: the defaults."""

_COMPANION = {"counts": "noise_free", "scaled": "scaled_noise_free"}


def scale_noise(
    store: Store,
    model: str,
    spec: GroupSpec,
    target_snr: float,
    *,
    client: Client | None,
    progress: Progress,
    overwrite: bool = False,
) -> None:
    """Make the group ``spec`` (the model's tilt series) from its physical series, which must be complete.

    Each image becomes e + g (image - e), e being its noise-free companion and g one factor for the series, found from
    the tomograms of both. ConfigError where no factor reaches the target: no protein voxels, or no noise.
    """
    group = layout.tilt_series_group(model)
    if not overwrite and store.is_complete(group, spec.token):
        return
    sums = _measure(store, model, client, progress)
    gain = sums.noise_gain(target_snr)
    if gain is None:
        raise ConfigError(
            f"detector.target_snr = {target_snr:g} cannot be reached in {model}: its {sums.count} protein voxels have "
            "no signal or no noise to scale"
        )
    physical = layout.physical_series_group(model)
    measured = {"target_snr": target_snr, "physical_snr": sums.snr(), "noise_gain": gain}
    pending = store.prepare(group, replace(spec, attrs={**spec.attrs, **measured}), overwrite=overwrite)
    sources = {variable.name: store.source(physical, variable.name) for variable in spec.variables}
    tasks = [delayed(_write_scaled, pure=False)(store, group, sources, index, gain) for index in pending]
    execute(tasks, client=client, progress=progress, stage=f"{model} noise to a ratio of {target_snr:.3g}")
    store.finish(group)


def _measure(store: Store, model: str, client: Client | None, progress: Progress) -> SignalSums:
    """Sums over the protein voxels of the tomogram that the physical series gives; nothing of it is stored."""
    physical, truth = layout.physical_series_group(model), layout.truth_group(model)
    mask = store.source(truth, "class_mask")
    classes = layout.required(store, truth, "classes")
    labels = sum(name not in NON_PROTEIN_CLASSES for name in classes)
    with scratch_folder(Path(store.path)) as folder:
        made = []
        for image in ("counts", "noise_free"):
            series = series_of_store(store, model, image, physical)
            geometry = series.geometry(RECONSTRUCTION)
            if geometry.shape != tuple(mask.shape):
                raise ConfigError(
                    f"detector.target_snr needs the truth of {model} on the tomogram's grid {geometry.shape}, it is on "
                    f"{tuple(mask.shape)}: choose sample.box_voxels that are even multiples"
                )
            aligned = aligned_images(
                series, geometry, RECONSTRUCTION, folder, client=client, progress=progress, stage=f"images_{image}"
            )
            made.append(slab_tasks(aligned, geometry, RECONSTRUCTION))
        tasks = [
            delayed(_sums, pure=False)(one, other, mask, rows, labels)
            for one, other, rows in zip(*made, slabs(geometry, RECONSTRUCTION), strict=True)
        ]
        parts = execute(tasks, client=client, progress=progress, stage=f"{model} physical noise")
    return reduce(SignalSums.merge, parts, SignalSums())


def _sums(
    noisy: np.ndarray, noise_free: np.ndarray, mask: BlockSource, rows: tuple[int, int], labels: int
) -> SignalSums:
    return slab_sums(noisy, noise_free, mask.read((slice(None), slice(*rows), slice(None))), labels=labels)


def _write_scaled(store: Store, group: str, sources: dict[str, StoredArray], index: int, gain: float) -> None:
    region = (slice(index, index + 1), slice(None), slice(None))
    images = {name: source.read(region) for name, source in sources.items()}
    for name, image in images.items():
        expected = images.get(_COMPANION.get(name, name), image)
        store.write(group, name, (index, 0, 0), expected + np.float32(gain) * (image - expected))
    store.mark_done(group, index)
