"""How probable a particle of one class is at one place: all rotations and 27 shifts, the best of them refined.

Positions are voxels; a patch is the whitened volume about a place, one voxel wider on each side than the template's
mask, with zeros beyond the tomogram.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from cryodask.kernels.likelihood import log_mean, log_ratio
from cryodask.kernels.rescoring import NEIGHBOURS
from cryodask.ops.particle_models import ParticleModel, exact_kernels

Volume = npt.NDArray[np.float32]

REFINEMENT_DEG = (6.0, 6.0, 3.0)
"""Steps of the rounds, each over 18 axes: two long ones, because the nearest rotation of the list may be 15 off."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalPosterior:
    """One class at one place."""

    log_mean: float
    """Logarithm of the likelihood ratio, averaged over rotations and summed over 27 shifts."""
    log_best: float
    """The best log-likelihood ratio on the grid."""
    gain: float
    """What the best log-likelihood ratio gains by refinement with exact templates."""
    x: float
    """Product of the volume with the best template of unit length."""
    length: float
    """Sigma of the best template."""
    matrix: npt.NDArray[np.float64]
    shift: tuple[int, int, int]
    """Of the best place from the middle of the patch."""


def patch_of(volume: Volume, place: npt.NDArray[np.int64], half: int) -> Volume:
    """Cube of ``2 half + 1`` voxels about ``place``; zeros beyond the volume's faces."""
    low, high = place - half, place + half + 1
    inside = tuple(
        slice(max(int(a), 0), max(min(int(b), n), 0)) for a, b, n in zip(low, high, volume.shape, strict=True)
    )
    block = volume[inside]
    if block.shape == (2 * half + 1,) * 3:
        return block
    patch = np.zeros((2 * half + 1,) * 3, np.float32)
    start = [s.start - int(a) for s, a in zip(inside, low, strict=True)]
    patch[tuple(slice(s, s + n) for s, n in zip(start, block.shape, strict=True))] = block
    return patch


def on_grid(model: ParticleModel, patch: Volume, alpha: float) -> LocalPosterior:
    """All rotations of the model's list by its low-rank images; nothing is refined."""
    return _on_grid(model, _windows(model, patch), alpha)


def refined(model: ParticleModel, patch: Volume, alpha: float) -> LocalPosterior:
    """As ``on_grid``; then, in rounds, 18 rotations about the best one, with exact templates at all 27 shifts."""
    windows = _windows(model, patch)
    start = _on_grid(model, windows, alpha)
    best, x, length, matrix, shift = -np.inf, start.x, start.length, start.matrix, start.shift
    for number, step in enumerate(REFINEMENT_DEG):
        turns = _turns(step) @ matrix
        matrices = np.concatenate([matrix[None], turns]) if number == 0 else turns
        for each, (kernel, own_length) in zip(matrices, exact_kernels(model.template, matrices), strict=True):
            found = windows @ kernel.ravel()
            values = log_ratio(found, own_length, alpha)
            at = int(np.argmax(values))
            if values[at] > best:
                best, x, length, matrix = float(values[at]), float(found[at]), own_length, each
                shift = _shift(at)
    return replace(start, gain=max(best - start.log_best, 0.0), x=x, length=length, matrix=matrix, shift=shift)


def _windows(model: ParticleModel, patch: Volume) -> Volume:
    """(27, voxels of the mask's box)."""
    side = model.template.mask.shape
    return np.lib.stride_tricks.sliding_window_view(patch, side).reshape(len(NEIGHBOURS), -1)


def _on_grid(model: ParticleModel, windows: Volume, alpha: float) -> LocalPosterior:
    bank, flips = model.bank, model.bank.basis.flips
    kernels = bank.basis.kernels
    amplitudes = kernels.reshape(len(kernels), -1) @ windows.T
    offsets = bank.basis.offsets
    parts = [bank.coefficients[:, a:b] @ amplitudes[a:b] for a, b in itertools.pairwise(offsets)]
    x = np.einsum("gc,crs->rgs", flips.characters, np.stack(parts), optimize=True)
    values = log_ratio(x, model.length.astype(np.float32)[:, None, None], alpha, model.kept_energy)
    rotation, flip, at = np.unravel_index(int(np.argmax(values)), values.shape)
    hypotheses = values.shape[0] * values.shape[1]
    return LocalPosterior(
        log_mean=log_mean(values.astype(np.float64), hypotheses),
        log_best=float(values[rotation, flip, at]),
        gain=0.0,
        x=float(x[rotation, flip, at]),
        length=float(model.length[rotation]),
        matrix=model.matrices[int(rotation) * x.shape[1] + int(flip)],
        shift=_shift(int(at)),
    )


def _shift(at: int) -> tuple[int, int, int]:
    z, y, x = (int(step) for step in NEIGHBOURS[at])
    return z, y, x


def _turns(step_deg: float) -> npt.NDArray[np.float64]:
    """(18, 3, 3) turns by one angle both ways about 9 axes: those of the cube and of its face diagonals."""
    axes = np.array(
        [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)], float
    )
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    turns: npt.NDArray[np.float64] = Rotation.from_rotvec(
        np.concatenate([axes, -axes]) * np.radians(step_deg)
    ).as_matrix()
    return turns
