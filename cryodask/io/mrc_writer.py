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

_MODES = {"int8": 0, "int16": 1, "float32": 2, "uint16": 6}


@contextmanager
def filled_volume(
    path: Path, shape: tuple[int, int, int], dtype: npt.DTypeLike, voxel_size_angstrom: float, *, stack: bool = False
) -> Iterator[npt.NDArray[Any]]:
    """Yield an array of zeros on disk, to be filled; with the end of the block it becomes the file ``path``.

    float32, int8, int16 or uint16; a volume (z, y, x), or with ``stack`` images (tilt, y, x). DataError for what MRC
    cannot hold, or where the operating system refuses.
    """
    name = np.dtype(dtype).name
    if name not in _MODES or min(shape) < 1:
        raise DataError(f"{path}: MRC cannot hold {name} of shape {shape}")
    with replacing(path) as partial, mrcfile.new_mmap(partial, shape=shape, mrc_mode=_MODES[name], fill=0) as file:
        file.voxel_size = voxel_size_angstrom
        if stack:
            file.set_image_stack()
        yield file.data
        file.update_header_stats()
