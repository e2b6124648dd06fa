"""From score maps to particles: peaks with exclusion, robust statistics of a map, overlaps between classes.

Everything here runs on the host: lists are short, and a map is copied once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.special
from scipy.spatial import cKDTree

from cryodask.backend import Array, to_host
from cryodask.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Median absolute deviation of a normal distribution of unit deviation, inverted.
_MAD_TO_SIGMA = 1.4826
# Voxels sorted first for each peak wanted, and growth from one round to the next: one sort nearly always suffices,
# and a map with few allowed voxels still ends after a handful of rounds.
_CANDIDATES_PER_PEAK = 64
_CANDIDATE_GROWTH = 8
_BATCH = 1024


def extract_peaks(
    score: Array, *, exclusion_radius_voxels: float, max_peaks: int, threshold: float | None = None
) -> tuple[Indices, npt.NDArray[Any]]:
    """Take the best voxel, exclude its surroundings, repeat.

    Equal to a repeated argmax over the voxels at distance >= ``exclusion_radius_voxels`` from all peaks taken; ties go
    to the lowest flat index. NaN voxels are invalid.

    Parameters
    ----------
    score
        (z, y, x), any real dtype.
    exclusion_radius_voxels
        No two peaks are closer than this.
    max_peaks
        Stop after so many.
    threshold
        Take only voxels with at least this score.

    Returns
    -------
    index, value
        (n, 3) int64 voxel indices (z, y, x) and (n,) scores in the dtype of ``score``, best first.
    """
    if not 0 <= exclusion_radius_voxels < math.inf or max_peaks < 0:
        raise ConfigError(
            "peaks need an exclusion radius and a number of at least 0, got"
            f" {exclusion_radius_voxels=!r}, {max_peaks=!r}"
        )
    host = np.ascontiguousarray(to_host(score))
    if host.ndim != 3:
        raise DataError(f"a score map (z, y, x) is needed, got an array of shape {host.shape}")
    taken: list[int] = []
    excluded = np.zeros(host.shape, dtype=bool)
    offsets = _ball(exclusion_radius_voxels)
    for candidates in _best_first(host.reshape(-1), threshold, max_peaks):
        for start in range(0, candidates.size, _BATCH):
            batch = candidates[start : start + _BATCH]
            for flat in batch[~excluded.reshape(-1)[batch]]:
                if len(taken) == max_peaks:
                    break
                if not excluded.reshape(-1)[flat]:
                    taken.append(int(flat))
                    _exclude(excluded, np.unravel_index(flat, host.shape), offsets)
        if len(taken) == max_peaks:
            break
    flat_taken = np.asarray(taken, dtype=np.int64)
    index = np.stack(np.unravel_index(flat_taken, host.shape), axis=1).astype(np.int64)
    return index, host.reshape(-1)[flat_taken]


def _best_first(values: npt.NDArray[Any], threshold: float | None, max_peaks: int) -> Iterator[npt.NDArray[np.intp]]:
    """Flat indices of all valid voxels in falling order, equal ones by index, in blocks that never split equal ones.

    Only as many voxels as needed are sorted: a whole tomogram has some 50 million, of which a thousand peaks use few.
    """
    # NaN fails every comparison and so is never left.
    left = values >= (-math.inf if threshold is None else threshold)
    count = _CANDIDATES_PER_PEAK * max(max_peaks, 1)
    while True:
        open_values = values[left]
        if open_values.size == 0:
            return
        surplus = max(open_values.size - count, 0)
        cut = np.partition(open_values, surplus)[surplus]
        block = np.flatnonzero(left & (values >= cut))
        # A stable sort of the negated values keeps rising indices among equal scores.
        yield block[np.argsort(-values[block], kind="stable")]
        left &= values < cut
        count *= _CANDIDATE_GROWTH


def _ball(radius: float) -> npt.NDArray[np.bool_]:
    """Voxels nearer than ``radius`` to the middle of a cube."""
    reach = max(math.ceil(radius) - 1, 0)
    axis = np.arange(-reach, reach + 1)
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    ball = squared < radius**2
    ball[reach, reach, reach] = True
    return np.asarray(ball, dtype=bool)


def _exclude(excluded: npt.NDArray[np.bool_], centre: tuple[Any, ...], ball: npt.NDArray[np.bool_]) -> None:
    """Mark the part of the ball around ``centre`` that lies in the map."""
    reach = ball.shape[0] // 2
    low = [max(int(c) - reach, 0) for c in centre]
    high = [min(int(c) + reach + 1, n) for c, n in zip(centre, excluded.shape, strict=True)]
    shifts = [reach - int(c) for c in centre]
    inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    excluded[inside] |= ball[tuple(slice(a + s, b + s) for a, b, s in zip(low, high, shifts, strict=True))]


def robust_z(score: Array) -> tuple[float, float]:
    """Median and 1.4826 times the median absolute deviation of the valid (not NaN) voxels of a map.

    ``(score - median) / sigma`` then is a z-score against the map's background that few true peaks can shift.

    Raises
    ------
    DataError
        No voxel is valid.
    """
    host = to_host(score)
    valid = host[~np.isnan(host)]
    if valid.size == 0:
        raise DataError(f"a score map of shape {host.shape} has no valid voxel; check the mask and the volume")
    median = np.median(valid)
    return float(median), float(_MAD_TO_SIGMA * np.median(np.abs(valid - median)))


def false_positive_z(expected: float, searched: int) -> float:
    """z-score above which ``expected`` of ``searched`` voxels of a normal background lie; at least 0.

    ``sqrt(2) erfc^-1(2 n / N)``, P. B. Rickgauer et al., eLife 6 (2017) e25648, with the deviation of the map itself
    (the best of all rotations at each voxel), so that N counts voxels and not voxels times rotations.
    """
    if not expected > 0 or searched < 1:
        raise ConfigError(f"a cut-off needs some false positives among some voxels, got {expected=}, {searched=}")
    share = min(expected / searched, 0.5)
    return float(math.sqrt(2) * scipy.special.erfcinv(2 * share))


def subvoxel_offsets(neighbourhood: npt.NDArray[Any]) -> Floats:
    """(n, 3) where the parabolas through the middle of (n, 3, 3, 3) scores have their tops, each within half a voxel.

    0 along an axis on which the middle is no maximum or a neighbour is NaN.
    """
    values = np.asarray(neighbourhood, dtype=np.float64)
    before = np.stack([values[:, 0, 1, 1], values[:, 1, 0, 1], values[:, 1, 1, 0]], axis=1)
    after = np.stack([values[:, 2, 1, 1], values[:, 1, 2, 1], values[:, 1, 1, 2]], axis=1)
    middle = values[:, 1, 1, 1, None]
    curvature = before + after - 2 * middle
    top = (middle >= before) & (middle >= after) & (curvature < 0)
    return np.where(top, 0.5 * (before - after) / np.where(top, curvature, -1.0), 0.0)


def joint_exclusion(
    positions: npt.ArrayLike, radii: npt.ArrayLike, z: npt.ArrayLike, *, overlap: float = 0.7
) -> Indices:
    """Decide between candidates of several classes that claim the same place: best first, drop what overlaps.

    Parameters
    ----------
    positions
        (n, 3) in any unit, all finite.
    radii
        (n,) exclusion radius of each candidate's class, in the same unit.
    z
        (n,) comparable scores, e.g. z-scores of each class against its own background. NaN is never kept; ties go to
        the lower row.
    overlap
        A candidate is dropped when a kept one lies nearer than ``overlap * (r_i + r_j)``. 1 lets bounding spheres
        touch; less allows for elongated particles side by side.

    Returns
    -------
    kept
        Row numbers of the kept candidates, best z first.
    """
    at = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
    radius = np.asarray(radii, dtype=np.float64)
    value = np.asarray(z, dtype=np.float64)
    if radius.shape != (len(at),) or value.shape != (len(at),):
        raise ConfigError(f"{len(at)} positions need as many radii and z values, got {radius.shape} and {value.shape}")
    if not (np.all(np.isfinite(at)) and np.all(np.isfinite(radius)) and np.all(radius >= 0) and overlap >= 0):
        raise DataError(f"positions must be finite, radii and overlap finite and not negative (overlap={overlap!r})")
    if len(at) == 0:
        return np.zeros(0, dtype=np.int64)
    tree = cKDTree(at)
    largest = float(radius.max())
    open_ = ~np.isnan(value)
    kept: list[int] = []
    for row in np.argsort(-value, kind="stable"):
        if not open_[row]:
            continue
        kept.append(int(row))
        near = np.asarray(tree.query_ball_point(at[row], overlap * (radius[row] + largest)), dtype=np.int64)
        distance = np.linalg.norm(at[near] - at[row], axis=1)
        open_[near[distance < overlap * (radius[near] + radius[row])]] = False
    return np.asarray(kept, dtype=np.int64)
