"""IMOD's .defocus: what ctfplotter measured of ranges of views, in nanometres, underfocus positive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.io.text_files import finite_number, read_small_text

_NM_PER_UM = 1000.0

_ASTIGMATISM, _PHASE_SHIFT = 1, 4
"""Bits of the flags in the first line of version 3; the others are about units and columns that are not read."""

_LEAST_COLUMNS = 5
_LIKELY_UM = 50.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Defocus:
    """One value for each image of a stack."""

    defocus_um: npt.NDArray[np.float64]
    ignored: tuple[str, ...]
    """What else the file says, which is not followed."""


def read_defocus(path: Path, count: int) -> Defocus:
    """Read a .defocus of version 2 or 3 for a stack of ``count`` images; DataError where an image has no value.

    A line is for a range of views, counted from 1. A view in several ranges gets their mean.
    """
    lines = [
        (number, line.split()) for number, line in enumerate(read_small_text(path, "defocus file").splitlines(), 1)
    ]
    lines = [(number, words) for number, words in lines if words]
    if not lines:
        raise DataError(f"{path} is empty: IMOD's .defocus was expected")
    flags = _flags(lines[0][1])
    rows = lines if flags is None else lines[1:]
    two = flags is not None and flags & _ASTIGMATISM
    total, covered = np.zeros(count), np.zeros(count)
    for number, words in rows:
        if len(words) < _LEAST_COLUMNS + bool(two):
            raise DataError(
                f"{path}, line {number}: views, angles and a defocus were expected, there are {len(words)} words"
            )
        values = [finite_number(word, path, number, "defocus") for word in words[: _LEAST_COLUMNS + bool(two)]]
        first, last = int(values[0]), int(values[1])
        if not 1 <= first <= last <= count:
            raise DataError(f"{path}, line {number}: views {first} to {last}, but the stack has {count} images")
        mean = float(np.mean(values[4:])) / _NM_PER_UM
        if not abs(mean) <= _LIKELY_UM:
            raise DataError(f"{path}, line {number}: a defocus of {mean:g} um; IMOD writes nanometres")
        total[first - 1 : last] += mean
        covered[first - 1 : last] += 1
    missing = np.flatnonzero(covered == 0)
    if missing.size:
        raise DataError(f"{path} has no defocus of view {missing[0] + 1}")
    ignored = [
        name for bit, name in ((_ASTIGMATISM, "astigmatism"), (_PHASE_SHIFT, "phase shift")) if (flags or 0) & bit
    ]
    return Defocus(defocus_um=total / covered, ignored=tuple(ignored))


def _flags(words: list[str]) -> int | None:
    """Of a first line that holds flags and the version, five or more numbers ending in 3; None for version 2."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    is_header = len(numbers) >= _LEAST_COLUMNS and numbers[-1] == 3 and not any(numbers[1:-1])
    return int(numbers[0]) if is_header else None
