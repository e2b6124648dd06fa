"""Sizes in bytes, as people write them, and the least that a worker can do with."""

from __future__ import annotations

import re

from cryodask.errors import ConfigError

LEAST_MEMORY_BYTES = 384 * 2**20
"""A worker that has loaded and compiled what stages need holds up to 340 MiB before it has any data, and is ended when
it reaches 95 % of its limit."""

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


def too_little_memory(memory_bytes: int) -> str:
    """What is said of a worker with less than ``LEAST_MEMORY_BYTES``."""
    return (
        f"memory limit of {memory_bytes / 2**20:.0f} MiB a worker: at least {LEAST_MEMORY_BYTES // 2**20} MiB is "
        "needed, most of it for the programs that a worker loads before it has any data"
    )
