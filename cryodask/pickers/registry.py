"""The pickers that are installed: our own, and those of other packages by entry points of ``cryodask.pickers``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from cryodask.errors import PluginError
from cryodask.pickers.protocol import Picker

GROUP = "cryodask.pickers"

OWN = {
    "tm": "cryodask.pickers.matching:TemplateMatching",
    "tm-f": "cryodask.pickers.matching:FilteredTemplateMatching",
    "tm-c": "cryodask.pickers.likelihood:MultiClassLikelihood",
    "gold-log": "cryodask.pickers.gold:GoldBeads",
    "dog": "cryodask.pickers.dog:DifferenceOfGaussians",
}
"""Held here too, so that a checkout that is on the path without being installed has them."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One line of ``pick --list``: a picker, or why it cannot be used."""

    name: str
    source: str
    """Package that brings it."""
    picker: Picker | None = None
    problem: str | None = None


def listed_pickers() -> list[Listed]:
    """All pickers, our own first; one that does not load is listed with the reason and harms no other."""
    return [_load(entry) for entry in _entries()]


def get_picker(name: str) -> Picker:
    """The picker called ``name``; PluginError with what there is, or with the reason why it does not load."""
    entries = {entry.name: entry for entry in reversed(_entries())}
    if name not in entries:
        close = get_close_matches(name, entries, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise PluginError(
            f"there is no picker {name!r}{hint} (`cryodask pick --list` has {', '.join(sorted(entries))})"
        )
    found = _load(entries[name])
    if found.picker is None:
        raise PluginError(f"the picker {name!r} of {found.source} cannot be used: {found.problem}")
    return found.picker


def _entries() -> list[EntryPoint]:
    own = [EntryPoint(name=name, value=value, group=GROUP) for name, value in OWN.items()]
    others: Iterable[EntryPoint] = entry_points(group=GROUP)
    foreign = {(e.name, e.value): e for e in others if OWN.get(e.name) != e.value}
    return own + [foreign[key] for key in sorted(foreign)]


def _load(entry: EntryPoint) -> Listed:
    source = "cryodask" if OWN.get(entry.name) == entry.value else _package(entry)
    if source != "cryodask" and entry.name in OWN:
        return Listed(name=entry.name, source=source, problem="its name is that of one of cryodask's own pickers")
    try:
        picker = entry.load()()
        missing = [part for part in ("name", "summary", "needs_templates", "pick") if not hasattr(picker, part)]
    except Exception as error:  # noqa: BLE001  (another's code: whatever it raises must not stop the others)
        return Listed(name=entry.name, source=source, problem=f"{type(error).__name__}: {error}")
    if missing:
        return Listed(name=entry.name, source=source, problem=f"it lacks {', '.join(missing)} of the Picker protocol")
    return Listed(name=entry.name, source=source, picker=picker)


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value.partition(":")[0]
