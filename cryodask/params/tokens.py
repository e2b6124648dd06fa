"""Tokens: one short name for everything that a result depends on. The same token means the same bits."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from pathlib import PurePath

from cryodask.errors import ConfigError

SHORT_LENGTH = 12


def token(payload: Mapping[str, object]) -> str:
    """SHA-256, in hex, of the canonical JSON of ``payload``.

    Mappings (text keys), sequences, dataclasses, paths, text, numbers, booleans and None are allowed at any depth.
    Equal values give equal tokens: the order of keys, tuple or list, 5 or 5.0 do not matter. NaN, infinities and
    everything else raise ConfigError that names the place.
    """
    text = json.dumps(_canonical(payload, "payload"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def short_token(full: str) -> str:
    """The first 12 digits, enough to tell the results of one data set apart; for names and messages."""
    return full[:SHORT_LENGTH]


def _canonical(value: object, path: str) -> object:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, Real):
        return _number(value, path)
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _canonical(getattr(value, item.name), f"{path}.{item.name}") for item in fields(value)}
    if isinstance(value, Mapping):
        return {_key(key, path): _canonical(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item, f"{path}[{index}]") for index, item in enumerate(value)]
    raise ConfigError(f"{path}: a {type(value).__name__} cannot be part of a token")


def _number(value: Real, path: str) -> int | float:
    """Whole numbers as int, whichever type held them; numpy's scalars as Python's."""
    if isinstance(value, Integral):
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        raise ConfigError(f"{path}: {number} cannot be part of a token")
    return int(number) if number.is_integer() else number


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise ConfigError(f"{path}: key {key!r} is not text")
    return key
