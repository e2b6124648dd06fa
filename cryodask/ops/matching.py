"""Template matching: the tomogram is filtered once, then tiles x templates x batches of rotations are searched."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from cryodask.backend import as_device_array, to_host, worker_array
from cryodask.errors import DataError
from cryodask.kernels.correlation import (
    SearchVolume,
    best_scores,
    best_scores_under_masks,
    merge_best,
    search_volume,
)
from cryodask.kernels.fourier import irfftn, radius, rfftn
from cryodask.kernels.peaks import extract_peaks, false_positive_z, robust_z, subvoxel_offsets
from cryodask.kernels.spectrum import radial_average
from cryodask.kernels.templates import wedge_mask
from cryodask.model.source import BlockSource
from cryodask.ops.templates import FineTemplate, SearchFilter

Volume = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

CHUNK_VOXELS = 64
"""Edge of a stored chunk of a score map; tiles are made of whole ones."""

TILE_VOXELS = 3 * CHUNK_VOXELS
"""Largest core of a tile along each axis: a search of 192^3 voxels and its halo stays below one GiB."""

MINIMUM_DEVIATION = 0.1
"""Local standard deviation, in units of the filtered tomogram's, below which there is no specimen to match."""

EDGE_FRACTION = 0.25
"""A centre nearer to a face than this share of the mask's radius is not searched: most of the particle is missing."""

WHITENING_FLOOR = 0.02
"""Least amplitude, relative to the largest, that whitening divides by: it must not blow up what is not measured."""


def one_thread() -> threadpool_limits:
    """Products of matrices by one thread: several divide the sums in another way, which would change the last bits."""
    return threadpool_limits(limits=1, user_api="blas")


@dataclass(frozen=True)
class Tile:
    """A box of voxels whose scores one task computes: first voxel and shape, (z, y, x)."""

    start: tuple[int, int, int]
    shape: tuple[int, int, int]


def tiles(shape: tuple[int, int, int], largest: int = TILE_VOXELS) -> list[Tile]:
    """Boxes of ``largest`` voxels (less at the far faces) that cover the volume once, in C order."""
    starts = [range(0, n, largest) for n in shape]
    return [
        Tile((z, y, x), (min(largest, shape[0] - z), min(largest, shape[1] - y), min(largest, shape[2] - x)))
        for z, y, x in itertools.product(*starts)
    ]


def whitening_filter(
    volume: Volume, voxel_size_angstrom: float, tilt_deg: tuple[float, ...] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Frequencies (1/angstrom) and gains that make the measured part of the volume's spectrum flat.

    Amplitudes are averaged in shells inside the wedge only: the empty part of Fourier space would pull the average
    down and the gain up, the more so the wider the wedge.
    """
    power = np.abs(rfftn(volume)) ** 2
    k = radius(volume.shape, voxel_size_angstrom, volume, real=True)
    weights = np.ones_like(k) if tilt_deg is None else np.asarray(wedge_mask(_shape3(volume), tilt_deg, volume))
    width = 1.0 / (min(volume.shape) * voxel_size_angstrom)
    count = int(np.floor(0.5 / voxel_size_angstrom / width)) + 1
    profile = np.asarray(radial_average(power, k, width, count, weights), dtype=np.float64)
    amplitude = np.sqrt(profile)
    # The first shell holds the mean and the box itself, not the specimen: treat it as its neighbour.
    amplitude[0] = amplitude[1]
    largest = float(amplitude.max())
    if not largest > 0:
        raise DataError("the tomogram is constant: there is nothing to search")
    gains = largest / np.maximum(amplitude, WHITENING_FLOOR * largest)
    return tuple((width * np.arange(count)).tolist()), tuple(gains.tolist())


def filtered_tomogram(volume: Volume, search: SearchFilter) -> Volume:
    """The tomogram as it is searched: low-passed, whitened, mean 0 and deviation 1."""
    k = radius(volume.shape, search.voxel_size_angstrom, volume, real=True)
    gain = search.radial(k, contrast=False)
    gain[0, 0, 0] = 0.0
    filtered = np.asarray(irfftn(rfftn(volume) * gain, volume.shape), dtype=np.float32)
    deviation = float(filtered.std(dtype=np.float64))
    if not (np.isfinite(deviation) and deviation > 0):
        raise DataError("the tomogram is constant or not finite: there is nothing to search")
    return filtered / np.float32(deviation)


def prepare_tile(
    filtered: BlockSource, tile: Tile, template: FineTemplate, searched: BlockSource | None = None
) -> SearchVolume:
    """What all rotations of one template share on one tile; reads the tile with the template's halo.

    ``searched`` (z, y, x), not 0 where particles are searched, has the shape of the tomogram. What is returned lies on
    the device of this worker.
    """
    whole, halo = filtered.shape, template.reach_voxels
    low = [max(0, s - halo) for s in tile.start]
    high = [min(n, s + c + halo) for n, s, c in zip(whole, tile.start, tile.shape, strict=True)]
    region = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    block = np.asarray(filtered.read(region), dtype=np.float32)
    valid = np.zeros(block.shape, dtype=bool)
    margin = EDGE_FRACTION * template.reach_voxels
    inside = []
    for axis in range(3):
        first = max(tile.start[axis], int(np.ceil(margin)))
        last = min(tile.start[axis] + tile.shape[axis], int(np.floor(whole[axis] - margin)))
        inside.append(slice(max(first - low[axis], 0), max(last - low[axis], 0)))
    valid[tuple(inside)] = True
    if searched is not None:
        valid &= searched.read(region) != 0
    like = worker_array()
    with one_thread():
        return search_volume(
            as_device_array(block, like),
            as_device_array(to_host(template.mask), like),
            mean_and_deviation=(0.0, 1.0),
            valid=as_device_array(valid, like),
            minimum_deviation=MINIMUM_DEVIATION,
            mask_changes=template.turning_mask is not None,
        )


def search_batch(
    prepared: SearchVolume, template: FineTemplate, matrices: npt.NDArray[np.float64], first_id: int
) -> tuple[Volume, Ids]:
    """Best score and rotation over consecutive rotations, on the tile with its halo."""
    ids = range(first_id, first_id + len(matrices))
    here = template.on(prepared.weight)
    with one_thread():
        if template.turning_mask is None:
            score, rotation = best_scores(prepared, here.at_rotations(matrices), ids)
        else:
            score, rotation = best_scores_under_masks(prepared, here.with_masks(matrices), ids)
    return to_host(score), to_host(rotation)


def merge(a: tuple[Volume, Ids], b: tuple[Volume, Ids]) -> tuple[Volume, Ids]:
    """Better of two results voxel by voxel; ties go to the lower rotation id, so any order gives the same bits."""
    score, rotation = merge_best(a, b)
    return np.asarray(score), np.asarray(rotation)


def core_of(
    result: tuple[Volume, Ids], tile: Tile, whole: tuple[int, ...], template: FineTemplate
) -> tuple[Volume, Ids]:
    """The tile's own voxels, without the halo it was searched with."""
    begin = [s - max(0, s - template.reach_voxels) for s in tile.start]
    core = tuple(slice(b, b + n) for b, n in zip(begin, tile.shape, strict=True))
    return np.ascontiguousarray(result[0][core]), np.ascontiguousarray(result[1][core])


def batches(count: int, size: int) -> list[tuple[int, int]]:
    """Ranges of rotation ids, one a task."""
    return [(start, min(start + size, count)) for start in range(0, count, size)]


@dataclass(frozen=True, eq=False)
class Peaks:
    """Best places of one template: the best voxels of its score map, no two within the exclusion radius."""

    index: npt.NDArray[np.int64]
    """(n, 3) voxel (z, y, x)."""
    score: npt.NDArray[np.float64]
    z: npt.NDArray[np.float64]
    """Robust z-score: distance from the map's median in robust standard deviations."""
    rotation_id: npt.NDArray[np.int64]
    median: float
    sigma: float
    offset: npt.NDArray[np.float64] | None = None
    """(n, 3) what refinement adds to ``index``; None without it."""


def peaks_of(
    score: BlockSource,
    rotation: BlockSource,
    exclusion_voxels: float,
    max_picks: int,
    least_z: float,
    false_positives: float | None = None,
    refine: bool = False,
) -> Peaks:
    """Peaks of one template's score map above a robust z-score, or that above which so many false ones are expected.

    With ``refine`` each lies at the top of the parabolas through its score and its neighbours'.
    """
    everything = (slice(None),) * 3
    scores, rotations = score.read(everything), rotation.read(everything)
    median, sigma = robust_z(scores)
    if not sigma > 0:
        raise DataError("the score map is constant: there is nothing to pick")
    least_z = cut_off(scores, least_z, false_positives)
    index, values = extract_peaks(
        scores,
        exclusion_radius_voxels=exclusion_voxels,
        max_peaks=max_picks,
        threshold=median + least_z * sigma,
    )
    found = np.asarray(values, dtype=np.float64)
    ids = rotations[tuple(index.T)].astype(np.int64)
    offset = subvoxel_offsets(_around(scores, index)) if refine else None
    return Peaks(index, found, (found - median) / sigma, ids, median, sigma, offset)


def cut_off(scores: Volume, least_z: float, false_positives: float | None) -> float:
    """``least_z``, or the z-score at which so many false positives are expected among the voxels that have a score."""
    if false_positives is None:
        return least_z
    return false_positive_z(false_positives, int(np.isfinite(scores).sum()))


def _around(scores: Volume, index: npt.NDArray[np.int64]) -> Volume:
    """(n, 3, 3, 3) scores about each place, NaN outside the map."""
    padded = np.pad(scores, 1, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3))
    return np.asarray(windows[tuple(index.T)], dtype=np.float32)


def filter_bytes(voxels: int) -> int:
    """Peak bytes of filtering a tomogram: volume, spectrum, powers, radii and their temporaries."""
    return voxels * 4 * 12


RESULTS_HELD = 4
"""Batches' results that a worker may hold at a time: Dask merges them as they come, pair by pair."""


def search_bytes(tile_shape: Sequence[int], reach_voxels: int) -> int:
    """Peak bytes of a search task: transforms in double precision while the tile is prepared, maps while it runs."""
    tile = float(np.prod([n + 2 * reach_voxels for n in tile_shape]))
    padded = float(np.prod([n + 3 * reach_voxels for n in tile_shape]))
    return int(padded * 8 * 10 + tile * 8 * RESULTS_HELD)


def peaks_bytes(voxels: int) -> int:
    """Peak bytes of picking: two maps, masks, and an index of the voxels above the threshold."""
    return voxels * 4 * 10


def _shape3(volume: Volume) -> tuple[int, int, int]:
    return volume.shape[0], volume.shape[1], volume.shape[2]
