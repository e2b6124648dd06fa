"""Flips of the axes that a search does not notice, and what they make of rotations and of basis images.

A spherical mask and a radial filter are the same after any of z, y and x is reversed; the missing wedge of tilts that
lie evenly about zero is too. A flip of two axes is a turn by 180 degrees about the third, so that the scores of R and
of diag(s) R come from the same products. With uneven tilts only the turn about the tilt axis is left.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from cryodask.kernels.rotations import Floats, rotation_set

TURNS = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
"""Signs of (z, y, x): identity, and the turns about z, y and x."""

_SAME = 1e-6


@dataclass(frozen=True, eq=False)
class Flips:
    """A group of turns by 180 degrees, and its one-dimensional representations, the classes of basis images."""

    signs_zyx: npt.NDArray[np.int64]
    """(flips, 3), the identity first."""
    characters: npt.NDArray[np.float32]
    """(flips, classes): an image of a class becomes itself times this."""

    @property
    def matrices(self) -> Floats:
        """(flips, 3, 3), acting on (x, y, z)."""
        return np.stack([np.diag(signs[::-1]).astype(np.float64) for signs in self.signs_zyx])

    def only_identity(self) -> Flips:
        """The same classes of images without the turns, for rotations that are searched one by one."""
        return Flips(self.signs_zyx[:1], self.characters[:1])


def flips_of(transfer_rfft: npt.NDArray[np.float32] | None, shape: tuple[int, int, int]) -> Flips:
    """The turns that leave a filter, given in the layout of ``rfftn`` of an odd box, as it is; all four without one."""
    kept = [signs for signs in TURNS if transfer_rfft is None or _unchanged(transfer_rfft, shape, signs)]
    if len(kept) == 3:  # two turns make the third; rounding may have hidden it
        kept = list(TURNS)
    parities = np.array(list(itertools.product((0, 1), repeat=3)))
    table = {tuple(np.prod(np.where(parity == 1, kept, 1), axis=1).tolist()): None for parity in parities}
    characters = np.array(sorted(table, reverse=True), dtype=np.float32).T
    if len(kept) == 4:
        # In the order of the four-point transform: sums and differences as in a Hadamard matrix.
        characters = np.array([[1, 1, 1, 1], [1, -1, -1, 1], [1, -1, 1, -1], [1, 1, -1, -1]], dtype=np.float32)
    return Flips(np.array(kept), characters)


def _unchanged(transfer: npt.NDArray[np.float32], shape: tuple[int, int, int], signs: tuple[int, int, int]) -> bool:
    # A real filter's transform is even, so a turn that reverses x is the one that reverses the other axes instead.
    z, y, x = signs if signs[2] > 0 else (-signs[0], -signs[1], -signs[2])
    turned = transfer
    for axis, sign in ((0, z), (1, y)):
        if sign < 0:
            turned = np.roll(np.flip(turned, axis), 1, axis)
    del shape, x
    return bool(np.abs(turned - transfer).max() <= _SAME * np.abs(transfer).max())


def representatives(angular_step_deg: float, flips: Flips) -> Floats:
    """Rotations (n, 3, 3) whose flips cover all orientations as ``rotation_set(angular_step_deg)`` does.

    With all four turns these are the rotations nearest to the identity of the four; with two those nearer to it than to
    the turn about y.
    """
    matrices = rotation_set(angular_step_deg)
    quaternions = np.abs(Rotation.from_matrix(matrices).as_quat())
    # The turn by 180 degrees about an axis exchanges w and that axis's component, up to signs.
    rivals = {4: [0, 1, 2], 2: [1], 1: []}[len(flips.signs_zyx)]
    kept: Floats = matrices[np.all(quaternions[:, [3]] >= quaternions[:, rivals], axis=1)]
    return kept


def flipped(rotations: Floats, flips: Flips) -> Floats:
    """All flips of all rotations, (rotations x flips, 3, 3): row ``i * flips + g`` is flip g of rotation i."""
    every: Floats = np.einsum("gij,rjk->rgik", flips.matrices, rotations).reshape(-1, 3, 3)
    return every
