"""One pass over a mask in slabs gives what the kernels give for the whole of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.errors import DataError
from cryodask.kernels.scoring import dilated_ids, extents
from cryodask.ops import mask_scan
from cryodask.ops.mask_scan import scan_mask
from tests.kernels.test_scoring import random_mask


class Slabs:
    """A source that remembers the largest block that was read from it."""

    def __init__(self, mask: npt.NDArray[Any]) -> None:
        self._mask, self.largest = mask, 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self._mask.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._mask.dtype

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        block = self._mask[region]
        self.largest = max(self.largest, block.size)
        return block


@pytest.mark.parametrize("rows", [1, 3, 7, 64])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_slabs_give_what_the_whole_mask_gives(rows: int, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_scan, "ROWS", rows)
    generator = np.random.default_rng(rows)
    mask: npt.NDArray[Any] = random_mask(generator, (6, 13, 9), 20).astype(dtype)
    voxel = np.stack([generator.integers(0, n, 200) for n in mask.shape], axis=1)
    source = Slabs(mask)
    found, ids = scan_mask(source, 20, voxel)
    whole = extents(mask, 20)
    np.testing.assert_array_equal(ids, dilated_ids(mask, voxel))
    np.testing.assert_array_equal(found.radius_voxel, whole.radius_voxel)
    np.testing.assert_array_equal(found.centroid_voxel, whole.centroid_voxel)
    assert source.largest == 6 * min(rows, 13) * 9
    assert len(scan_mask(source, 20, voxel[:0])[1]) == 0
    with pytest.raises(DataError, match="mask and particle list belong to different models"):
        scan_mask(source, 15, voxel)
