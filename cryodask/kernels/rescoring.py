"""Exact scores of single places: the mask-weighted correlation as a direct sum, over a place's neighbours and turns."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Volume = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

NEIGHBOURS = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
"""(27, 3) the place itself and the voxels around it."""


def exact_scores(patch: Volume, mask: Volume, templates: Iterable[Volume]) -> Floats:
    """Scores (templates, 27) at the centre of a patch and the voxels around it, in double precision.

    ``patch`` is the volume in the box of the mask and one voxel more on each side; ``templates`` come from
    ``prepare_template`` with that mask. NaN where the volume is constant under the mask.
    """
    windows = np.lib.stride_tricks.sliding_window_view(patch.astype(np.float64), mask.shape)
    rows = windows.reshape(len(NEIGHBOURS), -1)
    weights = mask.astype(np.float64).ravel()
    total = weights.sum()
    mean = rows @ weights / total
    variance = (rows**2) @ weights / total - mean**2
    deviation = np.sqrt(np.where(variance > 0, variance, np.nan))
    return np.stack([rows @ template.astype(np.float64).ravel() / (total * deviation) for template in templates])
