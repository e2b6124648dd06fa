"""OME-Zarr 0.4 (Zarr v2) images for viewers and programs that do not read Zarr v3 yet, such as copick's."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import numcodecs
import zarr

from cryodask.errors import DataError
from cryodask.io.atomic import reason
from cryodask.model.source import BlockSource

CHUNK_VOXELS = 128
"""Along each axis: 8 MiB a chunk, read at once from any direction."""


def write_ome_zarr04(
    path: Path, name: str, levels: Sequence[BlockSource], voxel_size_angstrom: float, *, overwrite: bool = False
) -> None:
    """Write a pyramid, finest level first, each half as fine as the one before; all of it or nothing.

    Arrays ``0``, ``1``, ... in (z, y, x) with axes in angstrom, chunks of 128 voxels, Blosc with LZ4. DataError where
    something is in the way or the disk refuses.
    """
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists: choose another output, or --overwrite")
    partial = path.with_name(f".{uuid.uuid4().hex}.partial-{path.name}")
    try:
        _write(partial, name, levels, voxel_size_angstrom)
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {reason(error, path.parent)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(folder: Path, name: str, levels: Sequence[BlockSource], voxel_size_angstrom: float) -> None:
    datasets = []
    for level, _ in enumerate(levels):
        size = voxel_size_angstrom * 2**level
        transformations: list[dict[str, object]] = [{"type": "scale", "scale": [size] * 3}]
        if level:
            offset = (size - voxel_size_angstrom) / 2
            transformations.append({"type": "translation", "translation": [offset] * 3})
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    axes = [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"]
    multiscales = [{"version": "0.4", "name": name, "axes": axes, "datasets": datasets}]
    group = zarr.create_group(str(folder), zarr_format=2, attributes={"multiscales": multiscales})
    for level, source in enumerate(levels):
        array = group.create_array(
            str(level),
            shape=source.shape,
            chunks=tuple(min(CHUNK_VOXELS, n) for n in source.shape),
            dtype=source.dtype,
            compressors=numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE),
            chunk_key_encoding={"name": "v2", "separator": "/"},
            fill_value=0,
        )
        ny = source.shape[1]
        for first in range(0, ny, CHUNK_VOXELS):
            rows = slice(first, min(first + CHUNK_VOXELS, ny))
            array[:, rows, :] = source.read((slice(None), rows, slice(None)))
