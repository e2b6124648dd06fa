"""What narrows a search or adds to it: masks of templates, where in a tomogram to search, and mirrored templates."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError, DataError
from cryodask.io.mrc import read_volume
from cryodask.model.source import BlockSource
from cryodask.ops.search_region import SearchRegion
from cryodask.ops.templates import mask_extent
from cryodask.workflows.mrc_inputs import MrcVolume
from cryodask.workflows.search_inputs import NamedTemplate, SearchInput

MIRRORED = "-mirrored"
"""Added to the name of a template's other hand."""

_SAME_VOXEL = 1e-3


def with_masks(templates: Sequence[NamedTemplate], masks: Sequence[Path]) -> tuple[NamedTemplate, ...]:
    """Templates with masks of their own, in the order given, or by name if all are called ``NAME_mask``.

    ConfigError if their numbers differ, DataError for a mask that is not on its template's grid or has no weights.
    """
    if not masks:
        return tuple(templates)
    if len(masks) != len(templates):
        names = ", ".join(t.source.template_id for t in templates) or "none from MRC files"
        raise ConfigError(f"{len(masks)} --masks for {len(templates)} templates ({names}): give one for each, in order")
    named = {_stem(path): path for path in masks}
    by_name = [named.get(f"{t.source.template_id}_mask") for t in templates]
    chosen = [path for path in by_name if path is not None] if all(by_name) else list(masks)
    return tuple(_masked(template, path) for template, path in zip(templates, chosen, strict=True))


def _masked(template: NamedTemplate, path: Path) -> NamedTemplate:
    values, voxel = read_volume(path)
    source = template.source
    if values.shape != tuple(source.density.shape):
        raise DataError(
            f"mask {path} has {_sizes(values.shape)} voxels, but its template {source.template_id} "
            f"{_sizes(source.density.shape)} (z, y, x): a mask needs the box of its template"
        )
    if voxel is not None and abs(voxel / source.voxel_size_angstrom - 1) > _SAME_VOXEL:
        raise DataError(
            f"mask {path} has voxels of {voxel:g} angstrom, but its template {source.template_id} of "
            f"{source.voxel_size_angstrom:g}: correct the header that is wrong"
        )
    try:
        mask_extent(values)
    except DataError as error:
        raise DataError(f"mask {path}: {error}") from error
    mask = MrcVolume(str(path.absolute()), values.shape)
    return replace(template, source=replace(source, mask=mask), mask_token=_content(values))


def searched_in(tomograms: Sequence[SearchInput], *, mask: Path | None, region: str | None) -> tuple[SearchInput, ...]:
    """The tomograms with the box and the mask that particles are searched in.

    ``region`` is ``X0:X1,Y0:Y1,Z0:Z1`` in voxels from 0, the ends not included, any of them left out. ConfigError for
    one that is empty or outside, DataError for a mask of another shape or without a voxel.
    """
    if mask is None and region is None:
        return tuple(tomograms)
    source, content = None, ""
    if mask is not None:
        values, _ = read_volume(mask)
        for tomogram in tomograms:
            if values.shape != tomogram.shape:
                raise DataError(
                    f"--search-mask {mask} has {_sizes(values.shape)} voxels, but the tomogram {tomogram.name} "
                    f"{_sizes(tomogram.shape)} (z, y, x)"
                )
        if not values.any():
            raise DataError(f"--search-mask {mask} is 0 everywhere: there is nothing to search")
        source, content = MrcVolume(str(mask.absolute()), values.shape), _content(values)
    found = []
    for tomogram in tomograms:
        low, high = _box(region, tomogram)
        searched = SearchRegion(shape=tomogram.shape, low=low, high=high, mask=source)
        found.append(replace(tomogram, searched=searched, searched_token=f"{low}{high}{content}"))
    return tuple(found)


def _box(region: str | None, tomogram: SearchInput) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    nz, ny, nx = tomogram.shape
    if region is None:
        return (0, 0, 0), (nz, ny, nx)
    parts = region.split(",")
    matched = [re.fullmatch(r"\s*(\d*):(\d*)\s*", part) for part in parts]
    if len(parts) != 3 or not all(matched):
        raise ConfigError(f"--search-region {region!r}: expected X0:X1,Y0:Y1,Z0:Z1 in voxels, such as 100:400,:,60:120")
    bounds = [(int(match[1] or 0), int(match[2] or n)) for match, n in zip(matched, (nx, ny, nz), strict=True) if match]
    for name, (low, high), n in zip("xyz", bounds, (nx, ny, nz), strict=True):
        if not 0 <= low < high <= n:
            raise ConfigError(
                f"--search-region {region!r}: {low}:{high} along {name} is no part of the {n} voxels of {tomogram.name}"
            )
    (x0, x1), (y0, y1), (z0, z1) = bounds
    return (z0, y0, x0), (z1, y1, x1)


@dataclass(frozen=True)
class MirroredSource:
    """A ``BlockSource`` that shows another one inverted through the centre of its box: the other hand."""

    source: BlockSource

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        """The block at ``region``."""
        bounds = [part.indices(n)[:2] for part, n in zip(region, self.shape, strict=True)]
        mirrored = tuple(slice(n - high, n - low) for (low, high), n in zip(bounds, self.shape, strict=True))
        return np.ascontiguousarray(self.source.read(mirrored)[(slice(None, None, -1),) * len(self.shape)])


def with_hands(templates: Sequence[NamedTemplate], hands: str) -> tuple[NamedTemplate, ...]:
    """The templates as ``given``, their mirror images instead (``mirrored``), or ``both``, each after its own."""
    found: list[NamedTemplate] = []
    for template in templates:
        source = template.source
        other = replace(
            source,
            template_id=source.template_id + MIRRORED,
            density=MirroredSource(source.density),
            mask=None if source.mask is None else MirroredSource(source.mask),
        )
        mirrored = replace(template, source=other, token=f"{template.token}{MIRRORED}")
        found += {"given": [template], "mirrored": [mirrored], "both": [template, mirrored]}[hands]
    return tuple(found)


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _content(values: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
