"""MRC files as inputs of a search: volumes that tasks read where they run, voxel sizes, names, tilt angles."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError, DataError
from cryodask.io.alignments.mdoc import read_mdoc
from cryodask.io.mrc import read_volume
from cryodask.io.store_spec import check_name

MRC_SUFFIXES = (".mrc", ".rec", ".map", ".ccp4")

VOXEL_SIZE_RANGE_ANGSTROM = (0.1, 1000.0)
"""Wider than any electron microscopy of molecules; a value outside is nanometres, metres or nonsense."""

_SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class MrcVolume:
    """A ``BlockSource`` on an MRC volume. Holds the path only: the file must be visible where tasks run."""

    path: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        """The block at ``region``; DataError if the file is no longer what it was."""
        values, _ = read_volume(self.path)
        if values.shape != self.shape:
            raise DataError(f"{self.path} has changed since this run began: run the command again")
        return values[region]


@dataclass(frozen=True, eq=False)
class MrcInput:
    """A volume that was read once, to know that it is sound."""

    name: str
    """The file's name without its endings; it names a class or a tomogram."""
    source: MrcVolume
    values: npt.NDArray[np.float32]
    voxel_size_angstrom: float
    token: str
    """Hash of the file's content and the voxel size."""


def read_mrc_input(path: Path, voxel_size_angstrom: float | None, option: str) -> MrcInput:
    """Read and check an MRC volume; a voxel size given here wins over the header's.

    ``option`` is what a message tells the user to give the voxel size with. Raises DataError for anything but a volume
    of finite numbers with a name and a voxel size that can be used, ConfigError for an impossible voxel size given.
    """
    if voxel_size_angstrom is not None:
        _check_given(voxel_size_angstrom, option)
    name = path.name
    for suffix in (".gz", ".bz2", *MRC_SUFFIXES):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    try:
        check_name(name)
    except ConfigError as error:
        raise DataError(f"{path}: {error}; rename the file") from error
    values, header = read_volume(path)
    voxel = header if voxel_size_angstrom is None else voxel_size_angstrom
    if voxel is None:
        raise DataError(f"{path} does not say how large its voxels are: give {option} ANGSTROM")
    low, high = VOXEL_SIZE_RANGE_ANGSTROM
    if not low <= voxel <= high:
        raise DataError(f"{path}: its header says voxels of {voxel:g} angstrom: give {option} ANGSTROM")
    source = MrcVolume(str(path.absolute()), values.shape)
    return MrcInput(name, source, values, voxel, _file_hash(path, voxel))


def _check_given(voxel_size_angstrom: float, option: str) -> None:
    low, high = VOXEL_SIZE_RANGE_ANGSTROM
    if not low <= voxel_size_angstrom <= high:
        raise ConfigError(f"{option} {voxel_size_angstrom:g}: expected a size from {low:g} to {high:g} angstrom")


def is_mrc(path: Path) -> bool:
    """Whether the name says MRC, plain or compressed."""
    name = path.name.lower().removesuffix(".gz").removesuffix(".bz2")
    return name.endswith(MRC_SUFFIXES) and not name.startswith(".")


def _file_hash(path: Path, *settings: float) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(repr(settings).encode())
    return digest.hexdigest()


def read_acquired_tilts(path: Path) -> tuple[float, ...]:
    """Angles in degrees in the order of acquisition: SerialEM's .mdoc, by its dates, or a list that has that order.

    DataError for a file that is neither.
    """
    if path.suffix.lower() != ".mdoc":
        return read_tilt_angles(path)
    mdoc = read_mdoc(path)
    return tuple(mdoc.tilt_deg[np.argsort(mdoc.acquisition_order)].tolist())


def read_tilt_angles(path: Path) -> tuple[float, ...]:
    """Angles of a .tlt or .rawtlt file, one a line, in degrees; DataError naming the line that is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(
            f"tilt angles {path} cannot be read: {error.strerror}; give a file with one angle a line"
        ) from error
    angles = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            angle = float(line)
        except ValueError:
            angle = math.nan
        if not abs(angle) <= 90:
            shown = line.strip()
            shown = shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "..."
            raise DataError(f"{path}, line {number}: {shown!r} is not a tilt angle between -90 and 90 degrees")
        angles.append(angle)
    if len(set(angles)) < 2:
        raise DataError(f"{path} holds fewer than two different tilt angles; give one a line")
    return tuple(angles)
