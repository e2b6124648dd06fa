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

from cryodask.errors import ConfigError
from cryodask.kernels.correlation import SearchVolume
from cryodask.kernels.fast.correlation import correlate_into
from cryodask.kernels.fast.low_rank import best_flip, best_rotation
from cryodask.kernels.low_rank_basis import LowRankBasis

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

    def best(self, maps: Scores) -> tuple[Scores, Ids]:
        """Highest of all scores of each column of ``maps`` (K, voxels), and its rotation's id."""
        count, flips = maps.shape[1], len(self.basis.flips.signs_zyx)
        score, rotation = np.empty(count, np.float32), np.zeros(count, np.int32)
        flip = np.zeros(count, np.int32)
        offsets = self.basis.offsets
        parts = [self.coefficients[:, a:b].ravel() for a, b in itertools.pairwise(offsets)]
        flat = np.concatenate(parts)
        signs = np.ascontiguousarray(self.basis.flips.characters)
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


def low_rank_scores(plan: SearchVolume, search: CoarseToFine) -> tuple[Scores, Ids]:
    """Best score and its rotation at every voxel of a plan, (z, y, x); NaN and -1 where the plan has no score.

    Approximate: at the kept voxels by no more than the fine basis misses, elsewhere by the coarse list's and basis's
    coarseness. Runs on the host, in single precision.

    Raises
    ------
    ConfigError
        The basis is for another mask than the plan.
    """
    basis = search.fine.basis
    if basis.kernels.shape[1:] != plan.box:
        raise ConfigError(f"a basis of images of {basis.kernels.shape[1:]} voxels in a search with boxes of {plan.box}")
    weight = np.asarray(plan.weight, dtype=np.float32).ravel()
    valid = np.flatnonzero(np.isfinite(weight))
    score, ids = np.full(weight.size, np.nan, np.float32), np.full(weight.size, -1, np.int32)
    if valid.size:
        scale = weight[valid] * np.float32(_root_of_mask_sum(plan))
        maps = _Correlations(plan, valid)
        few = np.flatnonzero(basis.strength_rank < len(search.coarse.basis.strength_rank))
        coarse_maps = np.empty((len(few), valid.size), np.float32)
        for row, image in enumerate(few):
            coarse_maps[row] = maps.of(basis.kernels[image])
        found, rotation = search.coarse.best(coarse_maps)
        found *= scale
        kept = _strongest(found, search.keep)
        local = np.empty((len(basis.kernels), kept.size), np.float32)
        local[few] = coarse_maps[:, kept]
        for image in np.setdiff1d(np.arange(len(basis.kernels)), few):
            local[image] = maps.of(basis.kernels[image])[kept]
        fine, fine_rotation = search.fine.best(local)
        found[kept], rotation[kept] = fine * scale[kept], fine_rotation
        score[valid], ids[valid] = found, rotation
    return score.reshape(plan.shape), ids.reshape(plan.shape)


def _root_of_mask_sum(plan: SearchVolume) -> float:
    """The weight is 1 / (N sigma) for templates t = M (T - mu) / s, which are sqrt(N) times sqrt(M) u."""
    return float(np.sqrt(plan.mask_sum))


def _strongest(score: Scores, share: float) -> npt.NDArray[np.intp]:
    """The best share of the voxels, at least one, in their order; of equal ones at the border the first."""
    count = max(1, round(share * score.size))
    if count >= score.size:
        return np.arange(score.size)
    cut = -np.partition(-score, count - 1)[count - 1]
    above, level = np.flatnonzero(score > cut), np.flatnonzero(score == cut)
    return np.sort(np.concatenate([above, level[: count - above.size]]))


class _Correlations:
    """Correlations of one plan with image after image, at its valid voxels, in memory that is used again."""

    def __init__(self, plan: SearchVolume, valid: npt.NDArray[np.intp]) -> None:
        self.plan, self.valid = plan, valid
        self.transform = np.asarray(plan.transform)
        rows = (plan.shape[0], self.transform.shape[1], self.transform.shape[2])
        self.work = np.empty(rows, self.transform.dtype)
        self.whole = np.empty(plan.shape, np.float32)

    def of(self, kernel: npt.NDArray[np.float32]) -> Scores:
        """(valid voxels,)."""
        reversed_kernel = np.ascontiguousarray(kernel[::-1, ::-1, ::-1])
        correlate_into(self.transform, self.plan.padded_shape, reversed_kernel, self.whole, self.work)
        at: Scores = self.whole.ravel()[self.valid]
        return at
