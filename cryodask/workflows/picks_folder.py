"""The folder of picks that ``match`` leaves behind: picks.star and job.json, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryodask.errors import ConfigError, DataError
from cryodask.io.atomic import reason, replacing
from cryodask.io.pick_files import write_star
from cryodask.workflows.match import MatchJob, MatchResult
from cryodask.workflows.search_inputs import SearchInput

PICKS_FILE = "picks.star"
JOB_FILE = "job.json"


def write_picks(folder: Path, job: MatchJob, result: MatchResult) -> None:
    """Write picks and record; each file appears complete under its name, or the old one stays."""
    shape, voxel = common_frame(job.tomograms)
    make_folder(folder)
    write_star(folder / PICKS_FILE, result.picks, shape=shape, voxel_size_angstrom=voxel)
    write_json(folder / JOB_FILE, result.record)


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
