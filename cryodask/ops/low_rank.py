"""The low-rank search of one template: its basis and banks, made once, and exact scores of what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryodask.backend import to_host, worker_array
from cryodask.errors import DataError
from cryodask.kernels.correlation import SearchVolume
from cryodask.kernels.flips import Flips, flipped, flips_of, representatives
from cryodask.kernels.low_rank_basis import HELD_OUT, TRAINING, LowRankBasis, TemplateSampler, build_basis
from cryodask.kernels.low_rank_search import Bank, CoarseToFine, low_rank_scores
from cryodask.kernels.peaks import extract_peaks, joint_exclusion, robust_z, subvoxel_offsets
from cryodask.kernels.rescoring import NEIGHBOURS, exact_scores
from cryodask.kernels.rotations import rotation_set
from cryodask.kernels.templates import wedge_mask
from cryodask.model.source import BlockSource
from cryodask.ops.matching import CHUNK_VOXELS, Ids, Peaks, Tile, Volume, cut_off, one_thread
from cryodask.ops.templates import FineTemplate

Matrices = npt.NDArray[np.float64]

COARSE_TOLERANCE = 0.3
"""Of the basis that ranks the voxels."""

LARGEST_BASIS = 600
"""Images of a fine basis, unless the coarse one needs more: beyond, the plain search costs no more."""

COARSE_BUDGET_BYTES = 2**31
"""Of the coarse correlations that a tile holds."""

RESCORED_TURNS = 7
"""Rotations of the fine list tried at each peak: the one found and its nearest."""

_SMALL = 21
"""Edge of a box in which the symmetry of a wedge shows."""

_CANDIDATES_PER_PICK = 2
_LOOSE_Z = 1.0
"""How much lower an approximate z-score may be than the least exact one, to be looked at."""


@dataclass(frozen=True, kw_only=True)
class LowRankSettings:
    """What decides a low-rank search besides template and tomogram."""

    angular_step_deg: float
    coarse_step_deg: float
    tolerance: float
    keep: float
    seed: int = 0


def sampler_of(template: FineTemplate) -> TemplateSampler:
    """The template as kernels take it."""
    return TemplateSampler(
        density=template.density, zoom=template.zoom, mask=template.mask, transfer=template.wedge, box=template.box
    )


def make_banks(template: FineTemplate, settings: LowRankSettings, own: Matrices | None = None) -> CoarseToFine:
    """Basis and coefficients of both lists of rotations; takes seconds, and serves every tile and tomogram.

    ``own`` (n, 3, 3) is a fine list in place of that of the angular step.
    """
    sampler = sampler_of(template.on(worker_array()))
    with one_thread():
        whole = build_basis(sampler, settings.tolerance, seed=settings.seed)
        coarse = whole.first(whole.components(COARSE_TOLERANCE))
        count = len(whole.strength_rank)
        fine = whole.first(min(count, max(LARGEST_BASIS, len(coarse.strength_rank))))
        if own is None:
            steps = settings.coarse_step_deg, settings.angular_step_deg
            few, many = (representatives(step, fine.flips) for step in steps)
            flips = fine.flips
        else:
            # A list need not hold the flips of its members: each is searched as it is.
            few, many, flips = thinned(own, settings.coarse_step_deg), own, fine.flips.only_identity()
        first_coarse = len(many) * len(flips.signs_zyx)
        return CoarseToFine(
            coarse=_bank(coarse, sampler, few, first_coarse, flips),
            fine=_bank(fine, sampler, many, 0, flips),
            keep=settings.keep,
        )


def _bank(basis: LowRankBasis, sampler: TemplateSampler, matrices: Matrices, first_id: int, flips: Flips) -> Bank:
    return Bank(basis=basis, coefficients=basis.coefficients(sampler, matrices), first_id=first_id, flips=flips)


def thinned(matrices: Matrices, step_deg: float) -> Matrices:
    """Those of ``matrices`` (n, 3, 3) that lie nearest to a rotation of a coarser list, in their order."""
    quaternions = Rotation.from_matrix(matrices).as_quat()
    tree = cKDTree(np.concatenate([quaternions, -quaternions]))
    _, rows = tree.query(Rotation.from_matrix(rotation_set(step_deg)).as_quat())
    return matrices[np.unique(rows % len(matrices))]


def flips_of_tilts(tilt_deg: Sequence[float] | None) -> Flips:
    """The turns that a search with this missing wedge does not notice."""
    box = (_SMALL,) * 3
    return flips_of(None if tilt_deg is None else wedge_mask(box, tilt_deg, np.zeros(1, np.float32)), box)


def fine_rotations(tilt_deg: Sequence[float] | None, settings: LowRankSettings) -> Matrices:
    """(n, 3, 3) the rotations that the best voxels are searched at."""
    flips = flips_of_tilts(tilt_deg)
    return flipped(representatives(settings.angular_step_deg, flips), flips)


def rotations_of(tilt_deg: Sequence[float] | None, settings: LowRankSettings, own: Matrices | None = None) -> Matrices:
    """(n, 3, 3) what the ids of a search count: the fine list, then the coarse one."""
    if own is not None:
        return np.concatenate([own, thinned(own, settings.coarse_step_deg)])
    flips = flips_of_tilts(tilt_deg)
    steps = (settings.angular_step_deg, settings.coarse_step_deg)
    return np.concatenate([flipped(representatives(step, flips), flips) for step in steps])


def search_low_rank(prepared: SearchVolume, banks: CoarseToFine) -> tuple[Volume, Ids]:
    """Best score and rotation on a tile with its halo, as ``ops.matching.search_batch`` gives them, approximate."""
    with one_thread():
        score, rotation = low_rank_scores(prepared, banks)
    return to_host(score), to_host(rotation)


def tile_edge(radius_voxels: float, largest: int) -> int:
    """Edge of a tile whose coarse correlations, halo not counted, stay below the budget: whole chunks of the maps."""
    voxels = COARSE_BUDGET_BYTES / (4 * coarse_components_estimate(radius_voxels))
    return min(largest, max(1, int(np.cbrt(voxels)) // CHUNK_VOXELS) * CHUNK_VOXELS)


def coarse_components_estimate(radius_voxels: float) -> float:
    """Upper guess of a coarse basis's size: measured 8 to 892 images for mask radii of 4 to 17.5 voxels."""
    return max(16.0, 0.168 * radius_voxels**3)


def fine_components_estimate(radius_voxels: float) -> float:
    """Guess of a fine basis's size at a tolerance of 0.1: measured 23 to 2543 for mask radii of 4 to 17.5 voxels."""
    wanted = max(24.0, 0.36 * radius_voxels**3)
    return min(wanted, max(LARGEST_BASIS, coarse_components_estimate(radius_voxels)))


def rescored_peaks(
    score: BlockSource,
    rotation: BlockSource,
    filtered: BlockSource,
    template: FineTemplate,
    matrices: Matrices,
    exclusion_voxels: float,
    max_picks: int,
    least_z: float,
    false_positives: float | None = None,
    refine: bool = False,
) -> Peaks:
    """Peaks of one template's approximate score map, each with the exact score of its pose.

    Candidates are local maxima; each is scored exactly at its voxel and the 26 around it, in the rotation found and the
    nearest ones of the list, before any excludes another.
    """
    everything = (slice(None),) * 3
    scores, rotations = score.read(everything), rotation.read(everything)
    median, sigma = robust_z(scores)
    if not sigma > 0:
        raise DataError("the score map is constant: there is nothing to pick")
    least_z = cut_off(scores, least_z, false_positives)
    index, _ = extract_peaks(
        scores,
        exclusion_radius_voxels=2.0,
        max_peaks=_CANDIDATES_PER_PICK * max_picks,
        threshold=median + (least_z - _LOOSE_Z) * sigma,
    )
    with one_thread():
        at, values, ids = _rescored(index, scores, rotations, filtered, template, matrices)
    z = (values - median) / sigma
    kept = joint_exclusion(at, np.full(len(at), exclusion_voxels / 2), z, overlap=1.0)
    kept = kept[z[kept] >= least_z][:max_picks]
    offset = None
    if refine:
        with one_thread():
            around = [
                _exactly_around(filtered, place, template, matrices[turn])
                for place, turn in zip(at[kept], ids[kept], strict=True)
            ]
        offset = subvoxel_offsets(np.array(around).reshape(-1, 3, 3, 3))
    return Peaks(at[kept], values[kept], z[kept], ids[kept], median, sigma, offset)


def _exactly_around(
    filtered: BlockSource, place: npt.NDArray[np.int64], template: FineTemplate, matrix: Matrices
) -> npt.NDArray[np.float64]:
    """(27,) exact scores of one rotation at a place and around it."""
    patch, turned = _patch(filtered, place, template), template.at_rotations(matrix[None])
    found: Matrices = exact_scores(patch, template.mask, turned)[0]
    return found


def _rescored(
    index: npt.NDArray[np.int64],
    scores: Volume,
    rotations: Ids,
    filtered: BlockSource,
    template: FineTemplate,
    matrices: Matrices,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Best place, exact score and rotation near each of the voxels ``index`` (n, 3)."""
    near = _Neighbours(matrices)
    at, values, ids = np.zeros((len(index), 3), np.int64), np.full(len(index), -np.inf), np.zeros(len(index), np.int64)
    for row, place in enumerate(index):
        turns = near.of(int(rotations[tuple(place)]))
        found = exact_scores(_patch(filtered, place, template), template.mask, template.at_rotations(matrices[turns]))
        allowed = np.array([_is_valid(scores, place + step) for step in NEIGHBOURS])
        found = np.where(allowed[None, :], np.nan_to_num(found, nan=-np.inf), -np.inf)
        best, step = np.unravel_index(int(np.argmax(found)), found.shape)
        at[row], values[row], ids[row] = place + NEIGHBOURS[step], found[best, step], turns[best]
    return at, values, ids


class _Neighbours:
    """The rotations of a list that lie nearest to one of it, that one first."""

    def __init__(self, matrices: Matrices) -> None:
        self.quaternions = Rotation.from_matrix(matrices).as_quat()
        self.tree = cKDTree(np.concatenate([self.quaternions, -self.quaternions]))

    def of(self, rotation: int) -> npt.NDArray[np.int64]:
        count = min(2 * RESCORED_TURNS, self.tree.n)
        _, rows = self.tree.query(self.quaternions[rotation], k=count)
        nearest = dict.fromkeys([rotation, *(np.atleast_1d(rows) % len(self.quaternions)).tolist()])
        return np.array(list(nearest)[:RESCORED_TURNS], dtype=np.int64)


def _is_valid(scores: Volume, place: npt.NDArray[np.int64]) -> bool:
    inside = np.all(place >= 0) and np.all(place < scores.shape)
    return bool(inside) and bool(np.isfinite(scores[tuple(place)]))


def _patch(filtered: BlockSource, place: npt.NDArray[np.int64], template: FineTemplate) -> Volume:
    """The volume around a place, one voxel wider than the mask, 0 (its mean) outside."""
    half = template.mask.shape[0] // 2 + 1
    patch = np.zeros((2 * half + 1,) * 3, np.float32)
    low, high = np.maximum(place - half, 0), np.minimum(place + half + 1, filtered.shape)
    block = filtered.read(tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)))
    start = low - (place - half)
    patch[tuple(slice(int(s), int(s) + n) for s, n in zip(start, block.shape, strict=True))] = block
    return patch


def low_rank_bytes(tile: Tile, radius_voxels: float, keep: float) -> int:
    """Peak bytes of a low-rank tile: coarse correlations at its voxels, the kept ones, transforms, the bank."""
    valid = float(np.prod(tile.shape))
    padded = float(np.prod([n + 3 * radius_voxels for n in tile.shape]))
    coarse, fine = coarse_components_estimate(radius_voxels), fine_components_estimate(radius_voxels)
    images = fine * (2 * radius_voxels + 3) ** 3
    return int(4 * (coarse * valid + keep * fine * valid + 20 * padded + 2 * images))


def basis_bytes(radius_voxels: float) -> int:
    """Peak bytes of making a basis: the training's images, their part in a class twice, and the principal ones."""
    return int(4 * 4 * (TRAINING + HELD_OUT) * (2 * radius_voxels + 3) ** 3)
