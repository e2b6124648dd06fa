"""The 1024-byte header of an MRC file, read with distrust (Cheng et al. 2015, and what programs really write)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import dtype_from_mode

from cryodask.errors import DataError

HEADER_BYTES = 1024

# IMOD marks its files, and those of them whose bytes are signed, in what the standard leaves free (header bytes 152
# and 156); without the second mark its bytes are unsigned.
_IMOD_STAMP = 1146047817
_IMOD_SIGNED_BYTES = 1
_IMAGE_STACK = 0
_VOXEL_TOLERANCE = 0.01


@dataclass(frozen=True, kw_only=True)
class MrcHeader:
    """What is needed to read the data behind a header."""

    shape: tuple[int, int, int]
    """(sections, rows, columns) as they lie in the file."""
    dtype: np.dtype[Any]
    """Byte order included."""
    axes: tuple[int, int, int]
    """Which of x = 1, y = 2, z = 3 the sections, rows and columns run along; (3, 2, 1) is the usual order."""
    data_offset: int
    cell_angstrom: tuple[float, float, float]
    """Spacing along (x, y, z) as written, 0 where nothing is written."""
    is_stack: bool
    """Marked as a stack of images; many programs mark volumes so too."""

    @property
    def data_bytes(self) -> int:
        sections, rows, columns = self.shape
        return sections * rows * columns * self.dtype.itemsize

    def voxel_size_angstrom(self, path: Path, *, planar: bool) -> float | None:
        """The one voxel size of the file, None if it says none; DataError where axes differ by over 1 %.

        The spacing along z is ignored where ``planar`` (it has no meaning in a tilt series) or the file is marked as a
        stack (volumes so marked carry any value).
        """
        spacings = self.cell_angstrom[:2] if planar or self.is_stack else self.cell_angstrom
        if any(not np.isfinite(spacing) or spacing <= 0 for spacing in spacings):
            return None
        if max(spacings) > min(spacings) * (1 + _VOXEL_TOLERANCE):
            shown = " x ".join(f"{spacing:g}" for spacing in spacings)
            raise DataError(
                f"{path}: voxels of {shown} angstrom are not cubes; resample the file to equal spacing first"
            )
        return float(spacings[0])


def parse_header(raw: bytes, path: Path) -> MrcHeader:
    """Read a header; DataError if it is not one, or describes something that is not a 3-D array of real numbers."""
    if len(raw) < HEADER_BYTES:
        raise DataError(f"{path} has only {len(raw)} bytes, an MRC header has {HEADER_BYTES}: the file is cut short")
    header = _plausible(raw)
    if header is None:
        raise DataError(f"{path} is not an MRC file: its size, mode and axes make no sense in either byte order")
    sections, rows, columns = (int(header[name]) for name in ("nz", "ny", "nx"))
    mode = int(header["mode"])
    if mode not in (0, 1, 2, 6, 12):
        raise DataError(f"{path} has MRC mode {mode}: only real numbers (modes 0, 1, 2, 6, 12) can be read; convert it")
    dtype = dtype_from_mode(mode).newbyteorder(header.dtype["mode"].byteorder)
    if mode == 0 and _has_unsigned_bytes(header):
        dtype = np.dtype(np.uint8)
    volumes = int(header["ispg"]) >= 401
    if volumes and int(header["mz"]) != sections:
        raise DataError(f"{path} is a stack of volumes of {int(header['mz'])} sections each; split it into volumes")
    axes = tuple(int(header[name]) for name in ("maps", "mapr", "mapc"))
    cell, counts = header["cella"], [int(header[name]) for name in ("mx", "my", "mz")]
    spacings = [float(cell[axis]) / n if n > 0 else 0.0 for axis, n in zip("xyz", counts, strict=True)]
    return MrcHeader(
        shape=(sections, rows, columns),
        dtype=dtype,
        axes=(3, 2, 1) if axes == (0, 0, 0) else (axes[0], axes[1], axes[2]),
        data_offset=HEADER_BYTES + int(header["nsymbt"]),
        cell_angstrom=(spacings[0], spacings[1], spacings[2]),
        is_stack=int(header["ispg"]) == _IMAGE_STACK,
    )


def _plausible(raw: bytes) -> Any:  # noqa: ANN401
    """The header in the byte order in which it makes sense; None if there is none.

    Neither the machine stamp nor the word "MAP" decides: older programs leave both empty.
    """
    for order in "<>":
        header = np.frombuffer(raw[:HEADER_BYTES], dtype=HEADER_DTYPE.newbyteorder(order))[0]
        sizes = [int(header[name]) for name in ("nx", "ny", "nz")]
        axes = sorted(int(header[name]) for name in ("mapc", "mapr", "maps"))
        known_mode = int(header["mode"]) in (0, 1, 2, 3, 4, 6, 12, 16, 101)
        if min(sizes) > 0 and known_mode and axes in ([1, 2, 3], [0, 0, 0]) and int(header["nsymbt"]) >= 0:
            return header
    return None


def _has_unsigned_bytes(header: Any) -> bool:  # noqa: ANN401
    order = header.dtype["mode"].byteorder.replace("=", "<")
    stamp, flags = np.frombuffer(bytes(header["extra2"])[40:48], dtype=f"{order}i4")
    return bool(stamp == _IMOD_STAMP and not flags & _IMOD_SIGNED_BYTES)
