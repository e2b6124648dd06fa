"""What ``match`` leaves behind: a folder with picks.star and job.json, or tables in the data set itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryodask.errors import ConfigError, DataError, NotInStoreError
from cryodask.io.atomic import reason, replacing
from cryodask.io.pick_files import write_star
from cryodask.io.pick_star import Frame
from cryodask.io.pick_writers import write_formats
from cryodask.io.store import Store
from cryodask.model.particles import Particles, concatenate
from cryodask.params import token
from cryodask.workflows import layout
from cryodask.workflows.match import MatchJob, MatchResult
from cryodask.workflows.search_inputs import SearchInput

PICKS_FILE = "picks.star"
JOB_FILE = "job.json"
PICKER = "tm"
"""Name under which a search's picks lie in a data set."""
PICKS_KIND = "picks"


def write_picks(folder: Path, job: MatchJob, result: MatchResult, formats: Sequence[str] = ()) -> None:
    """Write picks and record; each file appears complete under its name, or the old one stays.

    ``formats`` are those of ``io.pick_writers.FORMATS`` to write besides.
    """
    shape, voxel = common_frame(job.tomograms)
    make_folder(folder)
    write_star(folder / PICKS_FILE, result.picks, shape=shape, voxel_size_angstrom=voxel)
    write_formats(folder, result.picks, Frame(shape=shape, voxel_size_angstrom=voxel), formats)
    write_json(folder / JOB_FILE, result.record)


def store_picks(store: Store, job: MatchJob, result: MatchResult) -> None:
    """Add the picks to the data set they were found in, as one table a tomogram; those of an earlier search go."""
    for tomogram in job.tomograms:
        store.write_table(
            layout.picks_group(tomogram.name, PICKER),
            result.picks.of_tomogram(tomogram.name).to_dataset(),
            kind=PICKS_KIND,
            token=token({"tomogram": tomogram.token, "record": {**result.record, "seconds": None}}),
            parameters={key: value for key, value in result.record.items() if key != "seconds"},
            overwrite=True,
        )


def stored_picks(store: Store) -> Particles:
    """All picks that ``store_picks`` added to a data set; NotInStoreError if there are none."""
    groups = [entry.path for entry in store.groups() if entry.kind == PICKS_KIND and entry.complete]
    if not groups:
        raise NotInStoreError(f"{store.path} holds no picks: run `cryodask match {store.path} -o {store.path}` first")
    return concatenate([Particles.from_dataset(store.read_table(group)) for group in groups])


def common_frame(tomograms: Sequence[SearchInput]) -> tuple[tuple[int, int, int], float]:
    """Shape and voxel size (angstrom) of all tomograms; ConfigError naming two that differ, one file holds one."""
    first = tomograms[0]
    frame = first.shape, first.voxel_size_angstrom
    for other in tomograms:
        if (other.shape, other.voxel_size_angstrom) != frame:
            raise ConfigError(
                f"tomogram {other.name} of {other.shape} voxels of {other.voxel_size_angstrom:g} angstrom differs from "
                f"{first.name} of {frame[0]} voxels of {frame[1]:g}: search those of one size at a time"
            )
    return frame


def make_folder(folder: Path) -> None:
    """Make ``folder`` unless it is there; DataError if a file is in the way or it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {folder}: {reason(error, folder.parent)}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"cannot write into the folder {folder}: no permission; choose another place")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """JSON for people and programs, in one step."""
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
