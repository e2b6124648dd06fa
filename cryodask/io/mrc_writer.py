"""MRC volumes that are larger than memory: made under a partial name, filled piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.io.atomic import replacing

_MODES = {"int8": 0, "int16": 1, "float32": 2, "uint16": 6, "float16": 12}


@contextmanager
def filled_volume(
    path: Path, shape: tuple[int, int, int], dtype: npt.DTypeLike, voxel_size_angstrom: float, *, stack: bool = False
) -> Iterator[npt.NDArray[Any]]:
    """Yield an array of zeros on disk, to be filled; with the end of the block it becomes the file ``path``.

    float32, float16, int8, int16 or uint16; a volume (z, y, x), or with ``stack`` images (tilt, y, x). DataError for
    what MRC cannot hold, or where the operating system refuses.
    """
    name = np.dtype(dtype).name
    if name not in _MODES or min(shape) < 1:
        raise DataError(f"{path}: MRC cannot hold {name} of shape {shape}")
    with replacing(path) as partial, mrcfile.new_mmap(partial, shape=shape, mrc_mode=_MODES[name], fill=0) as file:
        file.voxel_size = voxel_size_angstrom
        if stack:
            file.set_image_stack()
        yield file.data
        _set_statistics(file)


def _set_statistics(file: Any) -> None:  # noqa: ANN401  (an MrcMemmap)
    """Minimum, maximum, mean and deviation in the header, from one section at a time: the whole may not fit memory."""
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    for section in file.data:
        values = np.asarray(section, dtype=np.float64)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        total += float(values.sum())
        squares += float((values**2).sum())
    mean = total / file.data.size
    file.header.dmin, file.header.dmax, file.header.dmean = low, high, mean
    file.header.rms = np.sqrt(max(0.0, squares / file.data.size - mean**2))
