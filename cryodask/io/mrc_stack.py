"""Image stacks in MRC files that tasks read image by image, where they run."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.io.mrc_header import HEADER_BYTES, MrcHeader, parse_header
from cryodask.io.scratch import RawArray

_OPENERS: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open}


@dataclass(frozen=True)
class ImageStack:
    """A ``BlockSource`` (image, y, x) over images that lie in one file or in several. Picklable."""

    images: tuple[tuple[RawArray, int], ...]
    """File and section of each."""
    labels: tuple[str, ...]
    """How messages name each file."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return (len(self.images), *self.images[0][0].shape[1:])  # type: ignore[return-value]  # checked when opened

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.images[0][0].dtype

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        """The block at ``region``; DataError naming the section that holds NaN or infinities."""
        chosen = range(len(self.images))[region[0]]
        return np.concatenate([self._image(index, region[1:]) for index in chosen])

    def _image(self, index: int, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        array, section = self.images[index]
        image = array.read((slice(section, section + 1), *region))
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            count = int(np.count_nonzero(~np.isfinite(image)))
            raise DataError(
                f"{self.labels[index]}: section {section} has {count} values that are NaN or infinite; "
                f"replace them, or give --exclude {index}"
            )
        return image

    def part(self, indices: Sequence[int]) -> ImageStack:
        """The images ``indices``, in that order."""
        return ImageStack(tuple(self.images[i] for i in indices), tuple(self.labels[i] for i in indices))


@dataclass(frozen=True)
class OpenStack:
    """A stack and what its header says."""

    stack: ImageStack
    pixel_size_angstrom: float | None


def open_stack(path: Path, scratch: Path) -> OpenStack:
    """A stack of one MRC file, plain or compressed; a compressed one is unpacked into ``scratch`` first.

    DataError for anything but a complete stack of real images.
    """
    array, header = _array(path, scratch)
    images = tuple((array, section) for section in range(array.shape[0]))
    return OpenStack(ImageStack(images, (str(path),) * len(images)), header.voxel_size_angstrom(path, planar=True))


def open_images(places: Sequence[tuple[Path, int]], scratch: Path) -> OpenStack:
    """Images given one by one as file and section; they must have one size."""
    opened: dict[Path, tuple[RawArray, MrcHeader]] = {}
    images: list[tuple[RawArray, int]] = []
    labels: list[str] = []
    for path, section in places:
        if path not in opened:
            opened[path] = _array(path, scratch)
        array = opened[path][0]
        if not 0 <= section < array.shape[0]:
            raise DataError(f"{path} has {array.shape[0]} sections, there is no section {section + 1}")
        if images and array.shape[1:] != images[0][0].shape[1:]:
            raise DataError(f"{path} has images of {array.shape[1:]} pixels, {labels[0]} {images[0][0].shape[1:]}")
        images.append((array, section))
        labels.append(str(path))
    header = opened[places[0][0]][1]
    return OpenStack(ImageStack(tuple(images), tuple(labels)), header.voxel_size_angstrom(places[0][0], planar=True))


def _array(path: Path, scratch: Path) -> tuple[RawArray, MrcHeader]:
    try:
        with path.open("rb") as file:
            raw = file.read(HEADER_BYTES)
            size = path.stat().st_size
        opener = next((opener for magic, opener in _OPENERS.items() if raw.startswith(magic)), None)
        if opener is None:
            header = _checked(parse_header(raw, path), path)
            needed = header.data_offset + header.data_bytes
            if size < needed:
                raise DataError(
                    f"{path}: its header describes {header.shape} values, {needed} bytes, but the file has {size}: "
                    "it is cut short or not an MRC file; copy or make it again"
                )
            return RawArray(str(path.absolute()), header.shape, header.dtype, header.data_offset), header
        with opener(path) as stream:
            header = _checked(parse_header(stream.read(HEADER_BYTES), path), path)
            return _unpacked(stream, header, path, scratch), header
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}; copy or make it again") from error


def _checked(header: MrcHeader, path: Path) -> MrcHeader:
    if header.axes != (3, 2, 1):
        raise DataError(
            f"{path}: its images do not lie one behind the other (axes {header.axes} of z 3, y 2, x 1); "
            "write the stack again with the usual axis order"
        )
    return header


def _unpacked(stream: Any, header: MrcHeader, path: Path, scratch: Path) -> RawArray:  # noqa: ANN401  (gzip or bz2)
    """No more than the header says there is, so that no file can fill the disk with what it does not name."""
    target = scratch / f"{len(list(scratch.iterdir()))}.raw"
    stream.read(header.data_offset - HEADER_BYTES)
    left = header.data_bytes
    with target.open("wb") as file:
        while left:
            piece = stream.read(min(left, 1 << 22))
            if not piece:
                raise DataError(
                    f"{path} is cut short: its header describes {header.shape} values; copy or make it again"
                )
            file.write(piece)
            left -= len(piece)
    return RawArray(str(target), header.shape, header.dtype)


def clean_name(path: Path) -> str:
    """A name for groups and files, from a file's name without its endings."""
    name = path.name
    for suffix in (".gz", ".bz2", ".mrc", ".mrcs", ".st", ".ali", ".preali", ".map", ".rec", ".xml"):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    safe = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_+-") else "_" for letter in name)
    return safe.lstrip("+-") or "tomogram"
