"""MRC volumes and tilt stacks: read whole, checked; written whole, in one step."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import mrcfile
import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.io.atomic import replacing
from cryodask.io.mrc_header import HEADER_BYTES, MrcHeader, parse_header

# No deflate stream holds more than 1032 bytes a byte; bzip2 has no such limit worth checking.
_MOST_BYTES_PER_GZIP_BYTE = 1032


def read_volume(path: str | Path, *, dtype: npt.DTypeLike | None = np.float32) -> tuple[npt.NDArray[Any], float | None]:
    """A 3-D volume as [z, y, x] and its voxel size in angstrom, None where the file does not say.

    Plain, gzip or bzip2, told apart by content. Axes stored in another order are put right. ``dtype`` None keeps the
    file's numbers. DataError for anything else than an MRC volume of finite numbers: missing, cut short, one image.
    """
    path = Path(path)
    array, header = _read(path)
    if header.axes != (3, 2, 1):
        array = array.transpose([header.axes.index(axis) for axis in (3, 2, 1)])
    if min(array.shape) < 2:
        raise DataError(f"{path} has shape {array.shape}: a volume was expected, this is an image or a row of images")
    return _finish(array, dtype), header.voxel_size_angstrom(path, planar=False)


def read_stack(path: str | Path, *, dtype: npt.DTypeLike | None = np.float32) -> tuple[npt.NDArray[Any], float | None]:
    """A stack of images as [tilt, y, x] (one image is a stack of one) and the pixel size in angstrom, or None."""
    path = Path(path)
    array, header = _read(path)
    if header.axes != (3, 2, 1):
        raise DataError(
            f"{path}: its images do not lie one behind the other (axes {header.axes} of z 3, y 2, x 1); "
            "write the stack again with the usual axis order"
        )
    return _finish(array, dtype), header.voxel_size_angstrom(path, planar=True)


def write_volume(
    path: str | Path,
    array: npt.NDArray[Any],
    voxel_size_angstrom: float,
    *,
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0),
    stack: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a volume [z, y, x], or with ``stack`` a tilt series [tilt, y, x]; all of it or nothing.

    MRC holds float32 and 16-bit integers: float64 is rounded to float32, other integers and booleans become 16-bit if
    they fit. ``origin_angstrom`` is (z, y, x). DataError for other dtypes, NaN, or a file in the way.
    """
    path = Path(path)
    data = _storable(np.asarray(array), path)
    if not (np.isfinite(voxel_size_angstrom) and voxel_size_angstrom > 0):
        raise DataError(f"{path}: the voxel size must be positive, got {voxel_size_angstrom}")
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists: choose another name, or allow overwriting")
    with replacing(path) as partial, mrcfile.new(partial, data=data) as file:
        file.voxel_size = voxel_size_angstrom
        if stack:
            file.set_image_stack()
        for axis, value in zip("zyx", origin_angstrom, strict=True):
            file.header.origin[axis] = value


def _read(path: Path) -> tuple[npt.NDArray[Any], MrcHeader]:
    """The array in the file's own order, all of its values finite."""
    try:
        with _opened(path) as (stream, most_bytes):
            header = parse_header(stream.read(HEADER_BYTES), path)
            needed = header.data_offset + header.data_bytes
            if most_bytes is not None and needed > most_bytes:
                raise DataError(
                    f"{path}: its header describes {header.shape} values, {needed} bytes, but the file has "
                    f"{most_bytes}: it is cut short or not an MRC file; copy or make it again"
                )
            _skip(stream, header.data_offset - HEADER_BYTES, path)
            array = np.empty(header.shape, dtype=header.dtype)
            _fill(stream, array, path)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except MemoryError as error:
        raise DataError(f"{path}: its {header.shape} values do not fit into memory") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}; copy or make it again") from error
    for index, section in enumerate(array):
        if not np.isfinite(section).all():
            count = int(np.count_nonzero(~np.isfinite(section)))
            raise DataError(f"{path}: section {index} has {count} values that are NaN or infinite; replace them first")
    return array, header


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], int | None]]:
    """The uncompressed stream, and the most bytes it can have if that is known."""
    with path.open("rb") as file:
        magic, size = file.read(3), path.stat().st_size
        file.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(file) as stream:
                yield cast("IO[bytes]", stream), size * _MOST_BYTES_PER_GZIP_BYTE
        elif magic == b"BZh":
            with bz2.open(file) as stream:
                yield stream, None
        else:
            yield file, size


def _skip(stream: IO[bytes], count: int, path: Path) -> None:
    while count > 0:
        read = len(stream.read(min(count, 1 << 20)))
        if not read:
            raise DataError(f"{path} is cut short within its extended header; copy or make it again")
        count -= read


def _fill(stream: IO[bytes], array: npt.NDArray[Any], path: Path) -> None:
    for index, section in enumerate(array):
        content = stream.read(section.nbytes)
        if len(content) < section.nbytes:
            raise DataError(
                f"{path} is cut short: section {index} of {len(array)} is incomplete; copy or make it again"
            )
        section[...] = np.frombuffer(content, dtype=array.dtype).reshape(section.shape)


def _finish(array: npt.NDArray[Any], dtype: npt.DTypeLike | None) -> npt.NDArray[Any]:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=") if dtype is None else dtype)


def _storable(array: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    if array.ndim != 3 or array.size == 0:
        raise DataError(f"{path}: cannot write an array of shape {array.shape}, it must have three axes")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            data = array.astype(np.float32, copy=False)
        if not np.isfinite(data).all():
            raise DataError(f"{path}: the array has values that are NaN, infinite or too large for float32")
        return data
    if array.dtype.kind in "iub":
        low, high = int(array.min()), int(array.max())
        for candidate in (np.int8, np.int16, np.uint16):
            limits = np.iinfo(candidate)
            if limits.min <= low and high <= limits.max:
                return array.astype(candidate, copy=False)
        raise DataError(f"{path}: integers from {low} to {high} do not fit into 16 bits; write them as float32")
    raise DataError(f"{path}: MRC cannot hold {array.dtype}; write real numbers")
