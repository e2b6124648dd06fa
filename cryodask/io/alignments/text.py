"""Small text files from strangers: read whole within limits, numbers with the line that is wrong."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError

MAX_BYTES = 2**26
"""64 MiB: a hundred times what the longest alignment takes."""

_SHOWN_CHARACTERS = 40


def read_text(path: Path, what: str) -> str:
    """The text of ``path``; DataError saying ``what`` cannot be read and why. Bytes that are no UTF-8 are Latin-1."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{what} {path} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise DataError(f"{path} is larger than {MAX_BYTES // 2**20} MiB, which no {what} is")
    if b"\0" in content:
        raise DataError(f"{path} is a binary file, not a {what}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_numbers(path: Path, columns: int, what: str) -> npt.NDArray[np.float64]:
    """(lines, columns) numbers, blank lines skipped; DataError naming the line that holds anything else."""
    rows = []
    for number, line in enumerate(read_text(path, what).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != columns:
            wanted = "one number" if columns == 1 else f"{columns} numbers"
            raise DataError(
                f"{path}, line {number}: {shown(line)} has {len(words)} values, a {what} has {wanted} a line"
            )
        rows.append([finite(word, path, number, what) for word in words])
    if not rows:
        raise DataError(f"{path} is empty, not a {what}")
    return np.array(rows)


def finite(word: str, path: Path, line: int | None, what: str) -> float:
    """``word`` as a number; DataError naming the line, where one is given."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        where = f"{path}" if line is None else f"{path}, line {line}"
        raise DataError(f"{where}: {shown(word)} is not a number ({what})")
    return value


def shown(text: str) -> str:
    """``text`` as a message shows it."""
    text = text.strip()
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")
