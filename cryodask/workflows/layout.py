"""Where things lie in a data set: the names of groups, in one place."""

from __future__ import annotations

from typing import Any

from cryodask.errors import DataError, StoreError
from cryodask.io.store import Store

TRUTH_KIND = "truth"
TILT_SERIES_KIND = "tilt-series"
PHYSICAL_SERIES_KIND = "tilt-series-physical"
TOMOGRAM_KIND = "tomogram"
TOMOGRAM_LEVEL_KIND = "tomogram-level"
"""Coarser levels of a tomogram's pyramid, for viewers."""


def structure_group(class_id: str) -> str:
    """Density of one class, shared by all models of the data set."""
    return f"structures/{class_id}"


def model_name(index: int) -> str:
    """Group of the ``index``-th tomogram (0-based)."""
    return f"model_{index:03d}"


def grand_model_group(model: str) -> str:
    """Potentials of the simulated sample."""
    return f"{model}/grand_model"


def truth_group(model: str) -> str:
    """Class and occupancy masks; the particle table is its sub-group ``particles``."""
    return f"{model}/truth"


def truth_particles_group(model: str) -> str:
    """Table of the particles that were placed."""
    return f"{model}/truth/particles"


def tilt_series_group(model: str) -> str:
    """Images and their tilts."""
    return f"{model}/tilt_series"


def physical_series_group(model: str) -> str:
    """Images with the camera's own noise, of a series whose noise is scaled to a target."""
    return f"{model}/tilt_series_physical"


def tomogram_group(model: str, variant: str = "tomogram", level: int = 0) -> str:
    """One level of a reconstruction's pyramid; ``variant`` tells several reconstructions of a model apart."""
    return f"{model}/{variant}/scale{level}"


def search_group(model: str) -> str:
    """The tomogram as the search sees it: filtered, zero mean."""
    return f"{model}/search"


def scores_group(model: str, template: str) -> str:
    """Score and rotation maps of one template."""
    return f"{model}/scores/{template}"


def picks_group(model: str, picker: str) -> str:
    """Table of one picker's picks."""
    return f"{model}/particles/{picker}"


def required(store: Store, group: str, name: str) -> Any:  # noqa: ANN401  (whatever JSON holds)
    """Attribute ``name`` of ``group``; StoreError where the version that made the group did not write it."""
    attrs = store.info(group)
    if name not in attrs:
        raise StoreError(
            f"{group!r} in {store.path} lacks the attribute {name!r}: it was made by another version of cryodask "
            f"({attrs.get('cryodask', {}).get('software_version', 'unknown')}); make it again with --overwrite"
        )
    return attrs[name]


def models_with(store: Store, part: str) -> list[str]:
    """Names of the models that have a complete group ``part`` (such as ``tilt_series``); DataError if none has."""
    entries = store.groups()
    names = [e.path.removesuffix(f"/{part}") for e in entries if e.path.endswith(f"/{part}") and e.complete]
    if not names:
        raise DataError(f"{store.path} holds no complete {part}; run the command that makes it first")
    return names
