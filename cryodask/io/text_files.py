"""Text files: read whole, and their words as numbers, with the file and the line that is wrong."""

from __future__ import annotations

import math
from pathlib import Path

from cryodask.errors import DataError


def read_text(path: Path) -> str:
    """Contents of a text file; DataError if it is missing or not text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error


def any_number(word: str, path: Path, line: int) -> float:
    """``word`` as a number, NaN and infinity included; DataError naming file and line otherwise."""
    try:
        return float(word)
    except ValueError:
        raise DataError(f"{path}, line {line}: {word!r} is not a number") from None


def finite_number(word: str, path: Path, line: int) -> float:
    """``word`` as a finite number; DataError naming file and line otherwise."""
    value = any_number(word, path, line)
    if not math.isfinite(value):
        raise DataError(f"{path}, line {line}: {word!r} is not a finite number")
    return value
