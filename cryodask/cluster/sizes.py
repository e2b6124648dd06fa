"""Sizes in bytes, as people write them."""

from __future__ import annotations

import re

from cryodask.errors import ConfigError

_UNITS = {
    unit.lower(): factor
    for power, letter in enumerate("kMGT", start=1)
    for unit, factor in ((f"{letter}B", 1000**power), (f"{letter}iB", 1024**power))
}


def parse_size(text: str) -> int:
    """Bytes of a size such as "4GiB" or "500 MB"; the unit is required. Raises ConfigError."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*", text)
    if match is None or match[2].lower() not in _UNITS:
        raise ConfigError(f"size {text!r}: expected a number and a unit, for example 4GiB or 500MB")
    return int(float(match[1]) * _UNITS[match[2].lower()])
