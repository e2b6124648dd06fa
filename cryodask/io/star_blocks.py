"""STAR files as text blocks that remember their line numbers, so that a message can say where a value is wrong.

The starfile library writes our files. It does not read them: it takes a class called ``nan`` for a missing value,
fills short rows and forgets the lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cryodask.errors import DataError

_WORD = re.compile(r"""(?:"(?P<double>.*?)"|'(?P<single>.*?)'|(?P<plain>\S+))(?=\s|$)""")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One data block: a loop's columns, or the name-value pairs of a simple block as a single row."""

    name: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    """Line of the file that each row is on, from 1."""

    def row(self) -> dict[str, str]:
        """The first row by column; empty if there is none."""
        return dict(zip(self.columns, self.rows[0], strict=True)) if self.rows else {}


def split_words(line: str) -> list[str]:
    """Words of a line; a quoted one may hold blanks, and ends at a quote before a blank (CIF's rule)."""
    if '"' not in line and "'" not in line:
        return line.split()
    return [next(group for group in match.groups() if group is not None) for match in _WORD.finditer(line)]


def read_blocks(text: str, path: Path) -> list[Block]:
    """All data blocks of a STAR file's text; DataError naming file and line if it does not follow the format."""
    blocks: list[Block] = []
    name: str | None = None
    columns: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    loop = False

    def close() -> None:
        if name is not None:
            blocks.append(Block(name=name, columns=tuple(columns), rows=rows, lines=lines))

    for number, line in enumerate(text.splitlines(), start=1):
        words = split_words(line)
        if not words or words[0].startswith("#"):
            continue
        if line.lstrip().startswith("data_"):
            close()
            name, columns, rows, lines, loop = words[0].removeprefix("data_"), [], [], [], False
        elif name is None:
            raise DataError(f"{path}, line {number}: {line.strip()!r} before any data_ line; this is no STAR file")
        elif words == ["loop_"]:
            loop = True
        elif line.lstrip().startswith("_") and not (loop and rows):
            columns.append(words[0][1:])
            if not loop:
                rows, lines = [[*(rows[0] if rows else []), words[1] if len(words) > 1 else ""]], [number]
        elif loop:
            if len(words) != len(columns):
                raise DataError(
                    f"{path}, line {number}: {len(words)} values for the {len(columns)} columns of the table"
                )
            rows.append(words)
            lines.append(number)
        else:
            raise DataError(f"{path}, line {number}: {line.strip()!r} belongs to no column")
    close()
    return blocks
