"""The first half of a reconstruction: every image prepared once and left on disk for the slabs to read rows from."""

from __future__ import annotations

from pathlib import Path

from distributed import Client

from cryodask.io.scratch import RawArray, raw_array
from cryodask.model.progress import Progress
from cryodask.ops.image_preparation import image_tasks, resolve_normalization
from cryodask.ops.reconstruction import ReconstructionGeometry, preparation, preparation_tasks
from cryodask.params.schema import ReconstructionParameters
from cryodask.workflows.execution import execute
from cryodask.workflows.series import Series


def aligned_images(
    series: Series,
    geometry: ReconstructionGeometry,
    parameters: ReconstructionParameters,
    folder: Path,
    *,
    client: Client | None,
    progress: Progress,
    normalization: str | None = None,
    stage: str = "images",
) -> RawArray:
    """Prepared images (tilt, y, x) of those that are used, in a file in ``folder``, which workers must see."""
    tasks = image_tasks(series.alignment, parameters, series.optics.get("defocus_um"))
    chosen = normalization or series_normalization(series, parameters)
    how = preparation(geometry, parameters, chosen, series.optics)
    aligned = raw_array(folder / f"{stage}.raw", (len(tasks), *geometry.shape[1:]))
    delayed_tasks = preparation_tasks(series.images, tasks, how, aligned)
    execute(delayed_tasks, client=client, progress=progress, stage=f"{series.name} {stage.replace('_', ' ')}")
    return aligned


def series_normalization(series: Series, parameters: ReconstructionParameters) -> str:
    """Decided by the image with the least tilt, once for all."""
    least = min(series.alignment.used, key=lambda index: abs(float(series.alignment.tilt_deg[index])))
    return resolve_normalization(series.images, int(least), parameters)
