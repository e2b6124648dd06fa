"""A source of blocks: how an array reaches a task without the task's code knowing where it is stored."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class BlockSource(Protocol):
    """Picklable. A task opens it on its worker and reads only what it needs, halos included."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        """The block at ``region``, as a numpy array."""
        ...


class BlockSink(Protocol):
    """Picklable counterpart of a source: where a task leaves the block it computed."""

    def write(self, start: tuple[int, ...], block: npt.NDArray[Any]) -> None:
        """Store ``block`` with its first element at ``start``."""
        ...


class ArraySource:
    """A source over an array in memory: for the Python API and for tests."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        return self._array[region]
