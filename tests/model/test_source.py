"""Sources of blocks: any region, the array's own dtype, and a way to another process."""

from __future__ import annotations

import pickle

import numpy as np

from cryodask.model.source import ArraySource, BlockSource


def test_regions_are_those_of_the_array() -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    source: BlockSource = ArraySource(array)
    assert source.shape == (2, 3, 4)
    assert source.dtype == np.int16
    region = (slice(1, 2), slice(None), slice(0, 3))
    assert np.array_equal(source.read(region), array[1:2, :, 0:3])
    assert source.read((slice(None),) * 3).dtype == np.int16


def test_a_source_travels() -> None:
    arrived = pickle.loads(pickle.dumps(ArraySource(np.arange(6.0).reshape(2, 3))))
    assert np.array_equal(arrived.read((slice(0, 2), slice(1, 3))), [[1.0, 2.0], [4.0, 5.0]])
