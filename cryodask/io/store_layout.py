"""How groups, arrays and their records look on disk; used by the store, which decides when they are made."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from cryodask._version import __version__
from cryodask.errors import StoreError
from cryodask.io.store_spec import SCHEMA_VERSION, Coordinate, Variable, check_name

METADATA = "zarr.json"


def record_of(kind: str, token: str, parameters: dict[str, Any], *, blocks: int, complete: bool) -> dict[str, Any]:
    return {
        "kind": kind,
        "schema_version": SCHEMA_VERSION,
        "software_version": __version__,
        "token": token,
        "parameters": parameters,
        "blocks": blocks,
        "complete": complete,
    }


def create_group(folder: Path, attrs: Mapping[str, Any], coordinates: Mapping[str, Coordinate]) -> zarr.Group:
    names = {"coordinates": " ".join(coordinates)} if coordinates else {}  # as xarray writes and reads it
    group = zarr.create_group(str(folder), zarr_format=3, attributes={**attrs, **names})
    for name, coordinate in coordinates.items():
        create_whole(group, name, coordinate)
    return group


def create_whole(group: zarr.Group, name: str, column: Coordinate) -> None:
    """One array in one chunk, with its values; text becomes variable-length strings."""
    dims, values, attrs = column
    values = np.asarray(values)
    if values.dtype.kind in "UOT":
        values = values.astype(np.dtypes.StringDType())
    array = group.create_array(
        check_name(name),
        shape=values.shape,
        chunks=tuple(max(1, size) for size in values.shape),
        dtype=values.dtype,
        compressors=_compressors(),
        dimension_names=dims,
        attributes=dict(attrs),
        config={"write_empty_chunks": True},
    )
    if values.size:
        array[...] = values


def create_array(group: zarr.Group, variable: Variable, *, name: str | None = None) -> None:
    group.create_array(
        name or variable.name,
        shape=variable.shape,
        chunks=variable.chunks,
        shards=variable.shards,
        dtype=variable.dtype,
        fill_value=variable.fill_value,
        compressors=_compressors(),
        dimension_names=variable.dims,
        attributes=dict(variable.attrs),
    )


def _compressors() -> list[Any]:
    # LZ4 keeps up with the disk; the checksum comes last, over the compressed bytes, so that damage raises.
    return [BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"), Crc32cCodec()]


def metadata(folder: Path) -> dict[str, Any]:
    file = folder / METADATA
    try:
        metadata: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read: {error}. Restore it from a copy") from error
    return metadata


def attributes(folder: Path) -> dict[str, Any]:
    attributes: dict[str, Any] = metadata(folder).get("attributes", {})
    return attributes


@contextlib.contextmanager
def reasons(what: str) -> Iterator[None]:
    """Errors of the operating system as StoreError, saying ``what`` failed and why."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = ": free some space, then run the same command again, it continues" if full else ""
        raise StoreError(f"{what}: {error.strerror or error}{remedy}") from error
