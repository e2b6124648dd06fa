"""``import`` of a microscope's tilt series: images and alignment into a data set that every command takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.io.store_spec import SCHEMA_VERSION
from cryodask.model.alignment import FOCUS
from cryodask.model.progress import Progress
from cryodask.params.tokens import token
from cryodask.workflows import layout
from cryodask.workflows.series import Series

_UNITS = {
    "tilt_deg": "degree",
    "x_tilt_deg": "degree",
    "tilt_axis_deg": "degree",
    "shift_y_angstrom": "angstrom",
    "shift_x_angstrom": "angstrom",
    "dose_e_per_a2": "1/angstrom^2",
    "prior_dose_e_per_a2": "1/angstrom^2",
    "acquisition_order": "1",
    "defocus_um": "um",
    "astigmatism_um": "um",
    "astigmatism_deg": "degree",
    "excluded": "1",
}


def import_series(series: Sequence[Series], store: Store, *, progress: Progress, overwrite: bool = False) -> list[str]:
    """Add each series to ``store`` as the tilt series of a model of its name; returns the names.

    Images are stored as float32 in ``counts``, whatever they are: electrons, or what a program made of them.
    """
    store.create()
    for each in series:
        group = layout.tilt_series_group(each.name)
        pending = store.prepare(group, _spec(each), overwrite=overwrite)
        with progress.stage(f"{each.name} import", total=len(pending)) as stage:
            for index in pending:
                image = each.images.read((slice(index, index + 1), slice(None), slice(None)))
                store.write(group, "counts", (index, 0, 0), np.asarray(image, dtype=np.float32))
                store.mark_done(group, index)
                stage.advance()
        store.finish(group)
    return [each.name for each in series]


def _spec(series: Series) -> GroupSpec:
    record = {**series.source, "schema_version": SCHEMA_VERSION}
    count, ny, nx = series.images.shape
    thickness = series.thickness_angstrom
    coordinates = {name: (("tilt",), values, {"units": _UNITS[name]}) for name, values in _columns(series).items()}
    distorted: dict[str, tuple[tuple[str, ...], npt.NDArray[np.float64], dict[str, str]]] = {}
    if not series.alignment.is_rigid:
        distorted["matrix_xy"] = (("tilt", "raw_xy", "aligned_xy"), series.alignment.matrix_xy, {"units": "1"})
    return GroupSpec(
        kind=layout.TILT_SERIES_KIND,
        token=token(record),
        parameters=record,
        variables=(
            Variable(
                name="counts",
                dims=("tilt", "y", "x"),
                shape=(count, ny, nx),
                dtype="float32",
                chunks=(1, ny, nx),
                attrs={"units": "electrons per pixel", "long_name": "images as imported"},
            ),
        ),
        coordinates={**coordinates, **distorted},
        attrs={
            "pixel_size_angstrom": series.pixel_size_angstrom,
            **({} if thickness is None else {"sample_thickness_angstrom": thickness}),
            **series.optics,
        },
        blocks=count,
    )


def _columns(series: Series) -> dict[str, npt.NDArray[np.float64]]:
    alignment, pixel = series.alignment, series.pixel_size_angstrom
    columns = {
        "tilt_deg": alignment.tilt_deg,
        "x_tilt_deg": alignment.x_tilt_deg,
        "tilt_axis_deg": alignment.tilt_axis_deg,
        "shift_y_angstrom": alignment.shift_y_px * pixel,
        "shift_x_angstrom": alignment.shift_x_px * pixel,
        "excluded": alignment.excluded,
        "dose_e_per_a2": alignment.dose_e_per_a2,
        "prior_dose_e_per_a2": alignment.prior_dose_e_per_a2,
        "acquisition_order": alignment.acquisition_order,
        **{name: getattr(alignment, name) for name in FOCUS},
    }
    return {name: np.asarray(values, dtype=np.float64) for name, values in columns.items() if values is not None}
