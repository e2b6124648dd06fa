"""New tomograms and tilt series as they arrive in a folder, each taken once and only when it is whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryodask.errors import CryodaskError, DataError
from cryodask.io.mrc_header import HEADER_BYTES, parse_header
from cryodask.io.store import Store
from cryodask.workflows.batch_manifest import Entry, make_entries
from cryodask.workflows.batch_run import Arrivals
from cryodask.workflows.mrc_inputs import MRC_SUFFIXES

LOOK_SECONDS = 1.0
STACK = ".st"
UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload")
"""Names that programs give to what they are still writing; a leading dot means the same."""

COMPANIONS = {
    "aln": ".aln",
    "tilt_com": ".tilt.com",
    "xf": ".xf",
    "xtilt": ".xtilt",
    "tilt_angles": ".tlt",
    "mdoc": ".mdoc",
}
"""Files beside a stack that say how it is aligned: ``NAME.st`` goes with ``NAME.aln`` or ``NAME.st.aln``, and so on."""
ANGLES = ("aln", "tilt_com", "tilt_angles", "mdoc")
"""One of these has to be there: it tells the angles."""

Signature = tuple[int, int, int]
"""Files, bytes, and the time of the last change: what does not change is not being written."""


@dataclass
class _Candidate:
    signature: Signature
    since: float


class WatchedFolder(Arrivals):
    """A folder of tomograms (MRC files) and tilt series (data sets, stacks, Warp's XML).

    One is taken when nothing about it has changed for ``settle_seconds`` and it is whole: an MRC file as long as its
    header says, a stack also with angles beside it, a data set with all groups complete. ``idle_exit_seconds`` without
    work ends the watch; None never.
    """

    def __init__(
        self,
        folder: Path,
        *,
        known: Iterable[Entry],
        stages: Sequence[str] | None,
        settle_seconds: float,
        idle_exit_seconds: float | None,
        notice: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not folder.is_dir():
            raise DataError(f"--watch {folder}: there is no such folder")
        self._folder = folder.absolute()
        entries = list(known)
        self._taken = {start for entry in entries if (start := entry.tilt_series or entry.tomogram) is not None}
        self._names = {entry.name for entry in entries}
        self._stages, self._settle, self._idle_exit = stages, settle_seconds, idle_exit_seconds
        self._notice, self._clock = notice, clock
        self._candidates: dict[str, _Candidate] = {}
        self._told: dict[str, Signature] = {}
        self._looked = -LOOK_SECONDS

    def waiting(self, idle_seconds: float) -> bool:
        return self._idle_exit is None or idle_seconds < self._idle_exit

    def look(self) -> Sequence[Entry]:
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return ()
        self._looked = now
        arrived: list[Entry] = []
        for path in self._seen():
            if self._settled(path, now):
                arrived += self._entries(path)
        return arrived

    def _seen(self) -> list[Path]:
        try:
            paths = sorted(self._folder.iterdir())
        except OSError as error:
            raise DataError(f"--watch {self._folder} cannot be read: {error.strerror}") from error
        return [path for path in paths if str(path) not in self._taken and _may_be_input(path)]

    def _settled(self, path: Path, now: float) -> bool:
        signature = _signature(path)
        before = self._candidates.get(str(path))
        if signature is None:
            return False
        if before is None or before.signature != signature:
            self._candidates[str(path)] = _Candidate(signature, now)
            return self._settle == 0
        return now - before.since >= self._settle

    def _entries(self, path: Path) -> Sequence[Entry]:
        signature = self._candidates[str(path)].signature
        try:
            _require_whole(path)
            row = _row(path)
            entries = make_entries([(str(path), row)], source=str(path), folder=self._folder, stages=self._stages)
            twice = [entry.name for entry in entries if entry.name in self._names]
            if twice:
                entries = tuple(_renamed(entry, path) for entry in entries)
                if any(entry.name in self._names for entry in entries):
                    raise DataError(f"{path}: there is a tomogram {twice[0]} already; give the file another name")
        except CryodaskError as error:
            if self._told.get(str(path)) != signature:
                self._told[str(path)] = signature
                self._notice(f"not taken yet: {error}")
            return ()
        self._taken.add(str(path))
        self._names |= {entry.name for entry in entries}
        return entries


def _row(path: Path) -> dict[str, object]:
    """The entry of one arrival, as a line of a manifest; DataError for a stack whose angles have not come."""
    if path.suffix.lower() in (".zarr", ".xml"):
        return {"tilt_series": str(path)}
    if path.suffix.lower() != STACK:
        return {"tomogram": str(path)}
    beside = companions(path)
    if not set(beside) & set(ANGLES):
        wanted = ", ".join(COMPANIONS[name] for name in ANGLES)
        raise DataError(f"{path}: its tilt angles are not there yet ({path.stem} with one of {wanted})")
    return {"tilt_series": str(path), **{name: str(file) for name, file in beside.items()}}


def companions(path: Path) -> dict[str, Path]:
    """The files beside a stack that say how it is aligned, by the column of a manifest that they belong to."""
    places = {name: [path.with_suffix(end), path.with_name(path.name + end)] for name, end in COMPANIONS.items()}
    return {name: file for name, tried in places.items() for file in tried[::-1] if file.is_file()}


def _renamed(entry: Entry, path: Path) -> Entry:
    return Entry.from_dict({**entry.to_dict(), "name": f"{path.stem}_{entry.name}"})


def _may_be_input(path: Path) -> bool:
    name = path.name.lower()
    if name.startswith(".") or name.endswith(UNFINISHED):
        return False
    return name.endswith((*MRC_SUFFIXES, STACK, ".xml", ".zarr"))


def _signature(path: Path) -> Signature | None:
    """Of a file with its companions, or of everything in a folder; None if it vanishes under our eyes."""
    if path.is_dir():
        files = [Path(where, name) for where, _, names in os.walk(path) for name in names]
    else:
        files = [path, *companions(path).values()]
    total, newest = 0, 0
    try:
        for file in files:
            status = file.stat()
            total, newest = total + status.st_size, max(newest, status.st_mtime_ns)
    except OSError:
        return None
    return len(files), total, newest


def _require_whole(path: Path) -> None:
    """DataError or StoreError if it is cut short, not what its name says, or still being made."""
    if path.is_dir():
        incomplete = [entry.path for entry in Store(path).groups() if not entry.complete]
        if incomplete:
            raise DataError(f"{path}: {incomplete[0]} is not complete")
        return
    if path.suffix.lower() == ".xml":
        return  # small, and written after its images
    with path.open("rb") as file:
        header = parse_header(file.read(HEADER_BYTES), path)
    needed, found = header.data_offset + header.data_bytes, path.stat().st_size
    if found < needed:
        raise DataError(f"{path} has {found} of the {needed} bytes that its header promises")
