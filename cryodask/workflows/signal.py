"""Measuring the signal-to-noise ratio of the tomograms of a simulated data set."""

from __future__ import annotations

from functools import reduce

from dask.delayed import delayed
from distributed import Client

from cryodask.io.store import Store
from cryodask.model.evaluation import NON_PROTEIN_CLASSES
from cryodask.model.progress import Progress
from cryodask.ops.signal import SignalSums, signal_sums
from cryodask.workflows import layout
from cryodask.workflows.execution import execute
from cryodask.workflows.reconstruct import NOISE_FREE

_ROWS = 64


def measure_snr(
    store: Store, models: list[str], *, client: Client | None, progress: Progress, all_classes: bool = False
) -> dict[str, float | None]:
    """SNR over the protein voxels of every tomogram; None where the masks are on another grid than the tomogram.

    With ``all_classes`` the voxels of gold count too, as in the figures of the SHREC 2021 paper.
    """
    return {name: _snr(store, name, client, progress, all_classes) for name in models}


def _snr(store: Store, model: str, client: Client | None, progress: Progress, all_classes: bool) -> float | None:
    noisy = store.source(layout.tomogram_group(model), "image")
    noise_free = store.source(layout.tomogram_group(model, NOISE_FREE), "image")
    mask = store.source(layout.truth_group(model), "class_mask")
    if not noisy.shape == noise_free.shape == mask.shape:
        return None
    classes = layout.required(store, layout.truth_group(model), "classes")
    counted = len(classes) if all_classes else sum(name not in NON_PROTEIN_CLASSES for name in classes)
    ny = mask.shape[1]
    tasks = [
        delayed(signal_sums, pure=False)(noisy, noise_free, mask, (start, min(start + _ROWS, ny)), labels=counted)
        for start in range(0, ny, _ROWS)
    ]
    parts = execute(tasks, client=client, progress=progress, stage=f"{model} signal-to-noise ratio")
    return reduce(SignalSums.merge, parts, SignalSums()).snr()
