"""The memory of a batch: one line of JSON an event, appended, so that whatever kills the run leaves all lines before.

Only the run that holds the folder's lock writes; anybody may read. Lines are handed to the system at once, which a
killed process does not lose, and forced to disk about once a second, which a power cut may cost.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from cryodask.errors import ConfigError, DataError
from cryodask.io.atomic import reason
from cryodask.workflows.batch_manifest import STAGES, Entry
from cryodask.workflows.batch_stages import Outcome

JOURNAL, LOCK = "journal.jsonl", "lock"
SYNC_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a tomogram stopped."""

    stage: str
    reason: str


@dataclass(kw_only=True)
class BatchState:
    """What is known of every tomogram: the sum of the journal."""

    entries: dict[str, Entry] = field(default_factory=dict)
    done: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """(tomogram, stage) to the event that told so: token, seconds, numbers, time."""
    failed: dict[str, Failure] = field(default_factory=dict)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take in one event; those of a kind that this version does not know are passed over."""
        kind, name = event.get("event"), str(event.get("name", ""))
        if kind == "entry":
            entry = Entry.from_dict(event["entry"])
            self.entries[entry.name] = entry
        elif kind == "done":
            self.done[name, str(event["stage"])] = event
        elif kind == "failed":
            self.failed[name] = Failure(stage=str(event["stage"]), reason=str(event["reason"]))
            # It may have been done once, from other inputs; what follows from it then does not count either.
            for stage in STAGES[STAGES.index(self.failed[name].stage) :]:
                self.done.pop((name, stage), None)
        elif kind == "retry":
            self.failed.pop(name, None)
            if event.get("fresh"):
                for key in [key for key in self.done if key[0] == name]:
                    del self.done[key]

    def pending(self, entry: Entry, fingerprints: Mapping[str, str]) -> list[str]:
        """Stages still to run: from the first on that was not done from exactly these inputs and parameters."""
        for position, stage in enumerate(entry.stages):
            event = self.done.get((entry.name, stage))
            if event is None or event["token"] != fingerprints[stage]:
                return list(entry.stages[position:])
        return []

    def is_done(self, entry: Entry) -> bool:
        """Whether every stage of ``entry`` has been done, in whatever version of its inputs."""
        return all((entry.name, stage) in self.done for stage in entry.stages)


def read_state(folder: Path) -> BatchState:
    """The state of a run's folder; DataError if it holds no batch."""
    path = folder / JOURNAL
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(
            f"{folder} holds no batch ({path.name} cannot be read: {error.strerror}): give the folder of a batch run"
        ) from None
    state = BatchState()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            state.apply(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
                continue  # a line that a killed machine did not finish; what it told is done again
            raise DataError(f"{path}, line {number}: not an event of a batch ({error})") from error
    return state


class Journal:
    """The journal of a folder, open for its one writer. Made by ``open_journal``."""

    def __init__(self, file: FileIO, state: BatchState) -> None:
        self._file = file
        self._synced = time.monotonic()
        self.state = state

    def write(self, event: str, **values: Any) -> None:  # noqa: ANN401  (JSON)
        """Append one event; DataError if it cannot be kept, most often for lack of space."""
        record = {"t": round(time.time(), 3), "event": event, **values}
        try:
            line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
            self._append(line)
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                self.sync()
        except OSError as error:
            name = str(self._file.name)
            raise DataError(
                f"cannot write {name}: {reason(error, Path(name).parent)}; then run the same command again to resume"
            ) from error
        self.state.apply(record)

    def _append(self, line: bytes) -> None:
        if self._file.write(line) < len(line):  # unbuffered: a disk that fills up takes a part of the line
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def outcome(self, outcome: Outcome) -> None:
        """Append what became of a stage."""
        known = {"name": outcome.name, "stage": outcome.stage, "token": outcome.token, "host": outcome.host}
        if outcome.reason is None:
            self.write("done", **known, seconds=round(outcome.seconds, 3), numbers=outcome.numbers or {})
        else:
            self.write("failed", **known, reason=outcome.reason, exit_code=outcome.exit_code)

    def sync(self) -> None:
        """Force what was written to disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


@contextmanager
def open_journal(folder: Path) -> Iterator[Journal]:
    """The journal of ``folder``, for one run at a time; ConfigError naming the run that has it already."""
    with _locked(folder / LOCK):
        path = folder / JOURNAL
        state = read_state(folder) if path.exists() else BatchState()
        try:
            file = path.open("ab", buffering=0)
        except OSError as error:
            raise DataError(f"cannot write {path}: {reason(error, folder)}") from error
        with file:
            if file.tell() and path.read_bytes()[-1:] != b"\n":
                file.write(b"\n")
            journal = Journal(file, state)
            try:
                yield journal
            finally:
                with contextlib.suppress(OSError):
                    journal.sync()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        file = path.open("a+")
    except OSError as error:
        raise DataError(f"cannot write {path}: {reason(error, path.parent)}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise ConfigError(
                f"{path.parent} is in use by {owner}: wait for that run, end it, or choose another --output"
            ) from None
        except OSError as error:
            raise DataError(
                f"{path.parent}: this file system has no locks ({error.strerror}), and two runs would collide; "
                "choose an --output on another one"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
