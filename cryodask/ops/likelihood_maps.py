"""Where particles may be: for each template the largest product with the whitened volume over all its rotations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import scipy.fft

from cryodask.backend import capabilities
from cryodask.kernels.blobs import without_balls
from cryodask.kernels.fast.correlation import correlate_every_second, correlate_into
from cryodask.kernels.fourier import rfftn
from cryodask.kernels.peaks import extract_peaks
from cryodask.kernels.whitening import whitened
from cryodask.model.source import BlockSource
from cryodask.ops.beads import whole_tomogram
from cryodask.ops.matching import CHUNK_VOXELS, Tile, one_thread
from cryodask.ops.particle_models import ParticleModel, sample_distance

Volume = npt.NDArray[np.float32]

BEAD_INNER_VOXELS, BEAD_OUTER_VOXELS = 9.0, 13.0
"""Of the mask about a gold bead: nothing is left within the first radius, everything beyond the second."""

MAPS_BUDGET_BYTES = 2**30
"""Of the correlations that a tile holds."""

LARGEST_TILE = 3 * CHUNK_VOXELS
_CLOSE_PEAKS, _DISTANT_PEAKS, _LARGE_VOXELS = 2.5, 4.0, 10.0


def whitened_tomogram(image: BlockSource, tilt_deg: tuple[float, ...] | None, beads: npt.NDArray[np.int64]) -> Volume:
    """The tomogram without its beads, its noise white inside the wedge; particles as dark or bright as they were."""
    volume = whole_tomogram(image, dark=False)
    nz, ny, nx = volume.shape
    weight = without_balls((nz, ny, nx), beads, BEAD_INNER_VOXELS, BEAD_OUTER_VOXELS)
    return np.asarray(whitened(volume * weight, tilt_deg), dtype=np.float32)


def map_tiles(shape: tuple[int, int, int], images: int) -> list[Tile]:
    """Boxes of whole chunks that cover a volume once, whose correlations with so many images stay below the budget."""
    most = MAPS_BUDGET_BYTES * sample_distance(images) ** 3 / (4 * images)
    edge = [CHUNK_VOXELS] * 3
    # Halos cost least in cubes: the shortest edge grows first, x before y before z.
    while True:
        growing = [axis for axis in (2, 1, 0) if edge[axis] < min(LARGEST_TILE, shape[axis])]
        if not growing:
            break
        axis = min(growing, key=lambda each: edge[each])
        if math.prod(edge) // edge[axis] * (edge[axis] + CHUNK_VOXELS) > most:
            break
        edge[axis] += CHUNK_VOXELS
    starts = itertools.product(*(range(0, n, e) for n, e in zip(shape, edge, strict=True)))
    return [Tile((z, y, x), _cut(edge, shape, (z, y, x))) for z, y, x in starts]


def _cut(edge: list[int], shape: tuple[int, int, int], start: tuple[int, int, int]) -> tuple[int, int, int]:
    z, y, x = (min(e, n - s) for e, n, s in zip(edge, shape, start, strict=True))
    return z, y, x


def map_shape(shape: tuple[int, int, int], every: int) -> tuple[int, int, int]:
    """(z, y, x) of a map with a sample at every so many voxels, from the first on."""
    nz, ny, nx = (-(-n // every) for n in shape)
    return nz, ny, nx


def best_products(
    source: BlockSource, tile: Tile, model: ParticleModel, *, decoys: bool
) -> tuple[Volume, Volume | None]:
    """Largest product over all rotations, at the samples of the map that lie in the tile; beyond the faces is 0.

    With ``decoys`` also the largest product with the volume's negative, in which there are no particles.
    """
    half, every, shape = model.half, model.every, source.shape
    low = [start - half for start in tile.start]
    high = [start + size + half for start, size in zip(tile.start, tile.shape, strict=True)]
    inside = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(low, high, shape, strict=True))
    nz, ny, nx = (_even_fast_length(b - a) for a, b in zip(low, high, strict=True))
    padded = nz, ny, nx
    block = np.zeros(padded, np.float32)
    part = source.read(inside)
    begin = [s.start - a for s, a in zip(inside, low, strict=True)]
    block[tuple(slice(b, b + n) for b, n in zip(begin, part.shape, strict=True))] = part
    # Moved so that the core comes first: what wraps round then ends up in the halo only.
    transform = rfftn(np.roll(block, (-half, -half, -half), (0, 1, 2)))
    samples = map_shape(tile.shape, every)
    kernels = model.bank.basis.kernels
    maps = np.empty((len(kernels), math.prod(samples)), np.float32)
    work = np.empty((tile.shape[0], *transform.shape[1:]), transform.dtype)
    with one_thread():
        for row, kernel in zip(maps, kernels, strict=True):
            backwards = np.ascontiguousarray(kernel[::-1, ::-1, ::-1])
            if every == 2:
                correlate_every_second(transform, padded, backwards, row.reshape(samples))
            else:
                correlate_into(transform, padded, backwards, row.reshape(samples), work)
        best, _ = model.coarse.best(maps)
        if not decoys:
            return best.reshape(samples), None
        np.negative(maps, out=maps)
        opposite, _ = model.coarse.best(maps)
    return best.reshape(samples), opposite.reshape(samples)


def _even_fast_length(least: int) -> int:
    length = least
    while length % 2 or scipy.fft.next_fast_len(length, real=True) != length:
        length += 1
    return length


def candidates_of(
    products: BlockSource, model: ParticleModel, count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Voxels (n, 3) of the ``count`` largest local maxima of a map, and their products (n,)."""
    values = products.read((slice(None),) * 3)
    highest = capabilities(values).maximum_filter(values, 3)
    peaks = np.where(values >= highest, values, np.float32(np.nan))
    large = model.half >= _LARGE_VOXELS + 2
    apart = (_DISTANT_PEAKS if large else _CLOSE_PEAKS) / model.every
    index, found = extract_peaks(peaks, exclusion_radius_voxels=apart, max_peaks=count)
    return index * model.every, np.asarray(found, dtype=np.float64)
