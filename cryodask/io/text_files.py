"""Text files: read whole, and their words as numbers, with the file and the line that is wrong."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError

MAX_SMALL_BYTES = 2**26
"""64 MiB: a hundred times what the longest alignment takes."""

_SHOWN_CHARACTERS = 40


def read_text(path: Path) -> str:
    """Contents of a text file of any size in UTF-8; DataError if it is missing or not text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error


def read_small_text(path: Path, what: str) -> str:
    """Contents of a file that other programs write, of no more than 64 MiB; bytes that are no UTF-8 are Latin-1.

    DataError saying that ``what`` cannot be read, and why.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SMALL_BYTES + 1)
    except OSError as error:
        raise DataError(f"{what} {path} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_SMALL_BYTES:
        raise DataError(f"{path} is larger than {MAX_SMALL_BYTES // 2**20} MiB, which no {what} is")
    if b"\0" in content:
        raise DataError(f"{path} is a binary file, not a {what}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_numbers(path: Path, columns: int, what: str) -> npt.NDArray[np.float64]:
    """(lines, columns) numbers, blank lines skipped; DataError naming the line that holds anything else."""
    rows = []
    for number, line in enumerate(read_small_text(path, what).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != columns:
            wanted = "one number" if columns == 1 else f"{columns} numbers"
            raise DataError(
                f"{path}, line {number}: {shown(line)} has {len(words)} values, a {what} has {wanted} a line"
            )
        rows.append([finite_number(word, path, number, what) for word in words])
    if not rows:
        raise DataError(f"{path} is empty, not a {what}")
    return np.array(rows)


def any_number(word: str, path: Path, line: int | None, what: str = "") -> float:
    """``word`` as a number, NaN and infinity included; DataError naming file, line and ``what`` it is otherwise."""
    try:
        return float(word)
    except ValueError:
        raise _refusal(word, path, line, what, "not a number") from None


def finite_number(word: str, path: Path, line: int | None, what: str = "") -> float:
    """``word`` as a finite number; DataError naming file, line and ``what`` it is otherwise."""
    value = any_number(word, path, line, what)
    if not math.isfinite(value):
        raise _refusal(word, path, line, what, "not a finite number")
    return value


def shown(text: str) -> str:
    """``text`` as a message shows it."""
    text = text.strip()
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")


def _refusal(word: str, path: Path, line: int | None, what: str, problem: str) -> DataError:
    where = f"{path}" if line is None else f"{path}, line {line}"
    return DataError(f"{where}: {shown(word)} is {problem}{f' ({what})' if what else ''}")
