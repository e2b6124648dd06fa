"""The defocus that the tomograms of a data set were recorded at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cryodask.io.store import Store
from cryodask.workflows import layout


def defocus_of_store(store: Store, names: Sequence[str]) -> Mapping[str, float]:
    """Mean defocus (um) of the tilt series of those of the named tomograms that have one."""
    found = {}
    for name in names:
        group = layout.tilt_series_group(name)
        if not store.is_complete(group):
            continue
        attrs = store.info(group)
        if "defocus_um" in str(attrs.get("coordinates", "")).split():
            found[name] = float(store.source(group, "defocus_um").read((slice(None),)).mean())
        elif attrs.get("defocus_um") is not None:
            found[name] = float(attrs["defocus_um"])
    return found
