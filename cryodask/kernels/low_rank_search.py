"""Scores of many rotations by few correlations: coarsely everywhere, finely where the coarse scores are high.

With a ``LowRankBasis`` the score of rotation R at p is ``b(R) . a(p)``, where ``a(p)`` are the K correlations with the
basis images at p: one product of matrices, (rotations x K) (K x voxels), of which only the largest entry of each column
is kept. A coarse list of rotations and few images rank the voxels; the best of them get a fine list and more images.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, as_device_array, device_of, fast_path, namespace
from cryodask.errors import ConfigError
from cryodask.kernels.correlation import SearchVolume, correlate
from cryodask.kernels.fast.correlation import correlate_into
from cryodask.kernels.fast.low_rank import best_flip, best_rotation
from cryodask.kernels.flips import Flips
from cryodask.kernels.low_rank_basis import LowRankBasis
from cryodask.kernels.low_rank_products import best_of_products

Scores = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bank:
    """Coefficients of a list of rotations in a basis; rotation ``i`` with flip ``g`` has the id ``i * flips + g``."""

    basis: LowRankBasis
    coefficients: npt.NDArray[np.float32]
    """(rotations, K)."""
    first_id: int = 0
    """Id of the first rotation, where several lists are numbered one after the other."""
    flips: Flips | None = None
    """Flips that each rotation is tried with, those of the basis by default."""

    @property
    def tried(self) -> Flips:
        """``flips``, or those of the basis."""
        return self.flips or self.basis.flips

    def best(self, maps: Array) -> tuple[Array, Array]:
        """Highest of all scores of each column of ``maps`` (K, voxels), and its rotation's id."""
        basis = self.basis
        if fast_path(maps) == "numba":
            return self._best_fast(maps)
        score, ids = best_of_products(maps, basis.offsets, self.coefficients, self.tried.characters)
        return score, ids + self.first_id

    def _best_fast(self, maps: Scores) -> tuple[Scores, Ids]:
        count, flips = maps.shape[1], len(self.tried.signs_zyx)
        score, rotation = np.empty(count, np.float32), np.zeros(count, np.int32)
        flip = np.zeros(count, np.int32)
        offsets = self.basis.offsets
        parts = [self.coefficients[:, a:b].ravel() for a, b in itertools.pairwise(offsets)]
        flat = np.concatenate(parts)
        signs = np.ascontiguousarray(self.tried.characters)
        best_rotation(maps, offsets, flat, signs, score, rotation)
        best_flip(maps, offsets, flat, signs, rotation, flip)
        return score, (self.first_id + rotation * flips + flip).astype(np.int32)


@dataclass(frozen=True, kw_only=True, eq=False)
class CoarseToFine:
    """Two banks of one template, the coarse one of the strongest images of the fine one's basis."""

    coarse: Bank
    fine: Bank
    keep: float
    """Share of the voxels that the fine list is evaluated at; 1 for all of them."""

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ConfigError(f"a coarse-to-fine search keeps a share of the voxels in (0, 1], got {self.keep!r}")


def low_rank_scores(plan: SearchVolume, search: CoarseToFine) -> tuple[Array, Array]:
    """Best score and its rotation at every voxel of a plan, (z, y, x); NaN and -1 where the plan has no score.

    Approximate: at the kept voxels by no more than the fine basis misses, elsewhere by the coarse list's and basis's
    coarseness. Runs where the plan lies, in single precision; the basis is on the host.

    Raises
    ------
    ConfigError
        The basis is for another mask than the plan.
    """
    basis = search.fine.basis
    if basis.kernels.shape[1:] != plan.box:
        raise ConfigError(f"a basis of images of {basis.kernels.shape[1:]} voxels in a search with boxes of {plan.box}")
    xp = namespace(plan.weight)
    weight = xp.reshape(plan.weight, (-1,))
    inside = xp.isfinite(weight)
    (valid,) = xp.nonzero(inside)
    if int(valid.shape[0]) == 0:
        return xp.full_like(plan.weight, np.nan), xp.astype(xp.full_like(plan.weight, -1), xp.int32)
    scale = xp.astype(xp.take(weight, valid) * _root_of_mask_sum(plan), xp.float32)
    found, rotation = _at_voxels(_Correlations(plan), valid, search, scale)
    # Back into the volume: the n-th valid voxel takes the n-th result.
    order = xp.cumulative_sum(xp.astype(inside, xp.int64)) - 1
    order = xp.where(order < 0, xp.zeros_like(order), order)
    score, ids = xp.take(found, order), xp.take(rotation, order)
    score = xp.where(inside, score, xp.full_like(score, np.nan))
    ids = xp.where(inside, ids, xp.full_like(ids, -1))
    return xp.reshape(score, plan.shape), xp.reshape(ids, plan.shape)


def _at_voxels(maps: _Correlations, valid: Array, search: CoarseToFine, scale: Array) -> tuple[Array, Array]:
    """Coarse scores and ids at the valid voxels, the best of them fine ones; ``scale`` makes products scores."""
    xp, basis = namespace(scale), search.fine.basis
    is_coarse = basis.strength_rank < len(search.coarse.basis.strength_rank)
    few = maps.at(valid, basis.kernels[is_coarse])
    found, rotation = search.coarse.best(few)
    found = found * scale
    kept = _strongest(found, search.keep)
    others, rest = maps.at(xp.take(valid, kept), basis.kernels[~is_coarse]), 0
    local = maps.empty(len(basis.kernels), int(kept.shape[0]))
    for image, known in enumerate(is_coarse.tolist()):
        local[image, :] = xp.take(few[image - rest, :], kept) if known else others[rest, :]
        rest += not known
    fine, fine_rotation = search.fine.best(local)
    return _replaced(found, kept, fine * xp.take(scale, kept)), _replaced(rotation, kept, fine_rotation)


def _replaced(values: Array, at: Array, by: Array) -> Array:
    """``values`` with those at the rising places ``at`` replaced, in operations that every library has."""
    if fast_path(values) == "numba":
        values[at] = by
        return values
    xp = namespace(values)
    places = xp.arange(values.shape[0], dtype=at.dtype, device=device_of(values))
    row = xp.searchsorted(at, places)
    row = xp.where(row < at.shape[0], row, xp.zeros_like(row))
    return xp.where(xp.take(at, row) == places, xp.take(by, row), values)


def _root_of_mask_sum(plan: SearchVolume) -> float:
    """The weight is 1 / (N sigma) for templates t = M (T - mu) / s, which are sqrt(N) times sqrt(M) u."""
    return float(np.sqrt(plan.mask_sum))


def _strongest(score: Array, share: float) -> Array:
    """The best share of the voxels, at least one, in their order; of equal ones at the border the first."""
    xp = namespace(score)
    size = int(score.shape[0])
    count = max(1, round(share * size))
    if count >= size:
        return xp.arange(size, device=device_of(score))
    # The standard can only sort all of them.
    ordered = np.partition(score, size - count) if fast_path(score) == "numba" else xp.sort(score)
    cut = ordered[size - count]
    above = score > cut
    level = xp.astype(score == cut, xp.int64)
    missing = count - int(xp.sum(xp.astype(above, xp.int64)))
    (kept,) = xp.nonzero(above | ((level > 0) & (xp.cumulative_sum(level) <= missing)))
    return kept


class _Correlations:
    """Correlations of one plan with images; on the host compiled, in memory that is used again."""

    def __init__(self, plan: SearchVolume) -> None:
        self.plan = plan
        self.fast = fast_path(plan.transform, plan.weight) == "numba"
        if self.fast:
            self.work = np.empty((plan.shape[0], *plan.transform.shape[1:]), plan.transform.dtype)
            self.whole = np.empty(plan.shape, np.float32)

    def empty(self, images: int, voxels: int) -> Array:
        """(images, voxels) float32, where the plan is."""
        xp = namespace(self.plan.weight)
        return xp.empty((images, voxels), dtype=xp.float32, device=device_of(self.plan.weight))

    def at(self, voxels: Array, kernels: npt.NDArray[np.float32]) -> Array:
        """(images, voxels) float32, at the flat indices ``voxels``."""
        xp = namespace(self.plan.weight)
        found = self.empty(len(kernels), int(voxels.shape[0]))
        for row, kernel in enumerate(kernels):
            if self.fast:
                reversed_kernel = np.ascontiguousarray(kernel[::-1, ::-1, ::-1])
                correlate_into(self.plan.transform, self.plan.padded_shape, reversed_kernel, self.whole, self.work)
                # "clip" spares the copy that a check of every index would need.
                np.take(self.whole.ravel(), voxels, out=found[row], mode="clip")
                continue
            template = xp.astype(as_device_array(kernel, self.plan.weight), self.plan.weight.dtype)
            everywhere = xp.reshape(correlate(self.plan, template), (-1,))
            found[row, :] = xp.astype(xp.take(everywhere, voxels), xp.float32)
        return found
