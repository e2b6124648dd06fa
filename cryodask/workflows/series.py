"""A tilt series on its way into a tomogram: images that tasks can read, their alignment, and what else is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import xarray as xr

from cryodask.io.store import Store
from cryodask.model.alignment import TiltAlignment
from cryodask.model.images import OPTICS, TiltSeries, image_to_use
from cryodask.model.source import BlockSource
from cryodask.ops.reconstruction import ReconstructionGeometry
from cryodask.params.schema import ReconstructionParameters
from cryodask.workflows import layout


@dataclass(frozen=True, eq=False, kw_only=True)
class Series:
    """One tilt series."""

    name: str
    images: BlockSource
    """(image, y, x); one for each entry of ``alignment``."""
    alignment: TiltAlignment
    pixel_size_angstrom: float
    thickness_angstrom: float | None
    """Depth of the sample, where something says it."""
    source: Mapping[str, object]
    """What the images are, for tokens and records; JSON."""
    optics: Mapping[str, float] = field(default_factory=dict)

    def geometry(self, parameters: ReconstructionParameters) -> ReconstructionGeometry:
        """Shapes and sizes of the tomogram that this series will give."""
        return ReconstructionGeometry.plan(
            (self.images.shape[1], self.images.shape[2]),
            self.pixel_size_angstrom,
            self.alignment,
            self.thickness_angstrom,
            parameters,
        )


def series_of_store(store: Store, name: str, image: str, group: str | None = None) -> Series:
    """The tilt series of a model in a data set, from its own group or another of its kind."""
    group = group or layout.tilt_series_group(name)
    dataset = store.open(group)
    variable = image_to_use(dataset, image)
    source = {"tilt_series": store.token(group), "image": variable}
    return series_of_dataset(dataset, variable, store.source(group, variable), name=name, source=source)


def series_of_dataset(
    dataset: xr.Dataset, variable: str, images: BlockSource, *, name: str, source: Mapping[str, object]
) -> Series:
    """A tilt series whose numbers are in ``dataset`` and whose images ``images`` reads; DataError if it is none."""
    series = TiltSeries.parse(dataset, variable)
    return Series(
        name=name,
        images=images,
        alignment=series.alignment,
        pixel_size_angstrom=series.pixel_size_angstrom,
        thickness_angstrom=dataset.attrs.get("sample_thickness_angstrom"),
        source=source,
        optics={key: dataset.attrs[key] for key in OPTICS if key in dataset.attrs},
    )
