"""What a group of the data set store holds, described before anything is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError

SCHEMA_VERSION = 1
"""Raised whenever the meaning of what is stored changes; stores of another version are refused."""

RECORD = "cryodask"
"""Attribute of every group that this package wrote: kind, token, parameters and so on."""

COMPLETED = "completed"
"""Variable with one entry a block: 1 once the block's data are on disk."""

Coordinate = tuple[tuple[str, ...], npt.NDArray[Any], Mapping[str, Any]]
"""Dimensions, values and attributes."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One array of a group."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    """Size of the files, a multiple of ``chunks``; None makes every chunk a file of its own."""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """``units`` and ``long_name`` at least, where they apply."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.name == COMPLETED:
            raise ConfigError(f"a variable cannot be called {COMPLETED!r}: that is the store's own record")
        for what, value in (("dims", self.dims), ("chunks", self.chunks), ("shards", self.shards)):
            if value is not None and len(value) != len(self.shape):
                raise ConfigError(f"variable {self.name!r}: {what} {value} do not fit the shape {self.shape}")
        if any(size < 1 for size in self.chunks):
            raise ConfigError(f"variable {self.name!r}: chunks {self.chunks} must be at least 1 along every axis")

    @property
    def fill_value(self) -> float | int | bool:
        """NaN for floating point, so that what was never written cannot pass for data; else zero."""
        dtype = np.dtype(self.dtype)
        if np.issubdtype(dtype, np.inexact):
            return float("nan")
        return False if dtype == np.bool_ else 0


@dataclass(frozen=True, kw_only=True)
class GroupSpec:
    """A group: its arrays, where they come from (token and parameters) and in how many pieces they are made."""

    kind: str
    token: str
    """Hash of everything that can change the data; equal tokens mean equal data."""
    parameters: Mapping[str, Any]
    """What the token was made of, as far as a person wants to read it; must be JSON."""
    variables: tuple[Variable, ...]
    coordinates: Mapping[str, Coordinate] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    blocks: int = 1
    """Number of pieces of work that are completed, and recorded, independently."""

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise ConfigError(f"group of kind {self.kind!r}: blocks is {self.blocks}, it must be at least 1")
        if RECORD in self.attrs:
            raise ConfigError(f"group of kind {self.kind!r}: the attribute {RECORD!r} is the store's own")


def check_name(path: str) -> str:
    """``path`` itself if every part of it can name a group or variable, else ConfigError."""
    parts = path.split("/")
    if not all(_NAME.fullmatch(part) and not part.endswith(".partial") for part in parts):
        raise ConfigError(
            f"{path!r} cannot name a group or variable: use letters, digits and _ . + - in parts joined by '/'"
        )
    return path


def as_json(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """``parameters`` as they look after a round trip through JSON (tuples become lists)."""
    try:
        result: dict[str, Any] = json.loads(json.dumps(dict(parameters), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"parameters cannot be stored as JSON: {error}") from error
    return result


def differences(stored: Any, wanted: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401
    """One line for each dotted path at which two JSON values differ."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in sorted({*stored, *wanted}):
            yield from differences(stored.get(key), wanted.get(key), f"{path}.{key}" if path else key)
    elif isinstance(stored, list) and isinstance(wanted, list) and len(stored) == len(wanted):
        for index, (one, other) in enumerate(zip(stored, wanted, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif stored != wanted:
        yield f"{path}: stored {json.dumps(stored)}, asked for {json.dumps(wanted)}"
