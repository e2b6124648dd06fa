"""A few images in which all rotations of one template can be written, and the coefficients of a list of rotations.

Let ``u(R) = sqrt(M) (T_R - mu)`` be a rotated, filtered template under the root of its mask M, scaled to unit length.
All u(R) lie near a space of K dimensions, much fewer than there are rotations: ``u(R) = sum_k b_k(R) phi_k``. The score
of R is the same combination of the K correlations with ``sqrt(M) phi_k``, and differs from the exact one by at most the
length of what the space misses, because both are scalar products of unit vectors (the other being the volume under the
mask).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from cryodask.backend import Array, as_device_array, fast_path, namespace, to_host
from cryodask.errors import ConfigError
from cryodask.kernels.fast.low_rank import turned_at_points
from cryodask.kernels.flips import Flips, flips_of
from cryodask.kernels.fourier import irfftn, rfftn
from cryodask.kernels.low_rank_products import sampled_at_points
from cryodask.kernels.rotations import Floats
from cryodask.kernels.templates import prepared_templates

Volume = npt.NDArray[np.float32]

TRAINING, HELD_OUT = 1200, 150
"""Random rotations that the space is made of (each with its flips), and others that its misses are measured on."""

_LEAST_EIGENVALUE = 1e-6
_NEGLIGIBLE = 1e-6
"""Share of the products of template and adjoint images, as energy, at points where templates are not sampled."""

_ROTATIONS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateSampler:
    """One template as a search knows it: how it is turned, filtered and masked; arrays of any library."""

    density: Array
    """(z, y, x) finely sampled, radial filters applied."""
    zoom: float
    """Tomogram voxel over fine voxel."""
    mask: Array
    transfer: Array | None
    """What does not commute with rotations (the missing wedge), in the layout of ``rfftn`` of ``box``."""
    box: tuple[int, int, int]
    """Odd, in which the rotated template is filtered."""

    def images(self, matrices: Floats) -> Iterator[Array]:
        """Exact u(R) for each rotation, in the box of the mask."""
        xp = namespace(self.mask)
        root = xp.sqrt(self.mask)
        safe = xp.where(root > 0, root, xp.ones_like(root)) * float(np.sqrt(self.mask_sum))
        templates = prepared_templates(
            self.density, matrices, self.mask, self.transfer, box_shape=self.box, zoom=self.zoom, order=1
        )
        for template in templates:
            yield xp.astype(template / safe, xp.float32)

    @property
    def mask_sum(self) -> float:
        """Sum of the mask's weights."""
        return float(to_host(self.mask).sum(dtype=np.float64))


@dataclass(frozen=True, kw_only=True, eq=False)
class LowRankBasis:
    """The space of one template, its strongest images first within each class of flips."""

    flips: Flips
    offsets: npt.NDArray[np.int64]
    """(classes + 1,) where each class begins among the images."""
    strength_rank: npt.NDArray[np.int64]
    """(K,) place of each image in the order of strength over all classes: the first k of it are the best k."""
    kernels: Volume
    """(K, z, y, x) ``sqrt(M) phi_k``, to be correlated with the volume."""
    points_zyx: npt.NDArray[np.float32]
    """(n, 3) voxels from the centre at which the unfiltered template is sampled for its coefficients."""
    adjoint: npt.NDArray[np.float32]
    """(n, K) what the samples are multiplied with."""
    residual: npt.NDArray[np.float64]
    """(K,) mean length that the best 1, 2, ... K images miss of held-out templates."""

    def variables(self) -> dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]]:
        """Dimensions and values, by name, of what a search needs: what a store keeps, and ``of_variables`` takes."""
        return {
            "kernels": (("image", "z", "y", "x"), self.kernels),
            "offsets": (("edge",), self.offsets),
            "strength_rank": (("image",), self.strength_rank),
            "residual": (("image",), self.residual),
            "signs_zyx": (("flip", "axis"), self.flips.signs_zyx),
            "characters": (("flip", "label"), self.flips.characters),
        }

    @classmethod
    def of_variables(cls, values: Mapping[str, npt.NDArray[Any]]) -> LowRankBasis:
        """The basis that a store kept. It cannot make lists of rotations, as their samples are not kept."""
        return cls(
            flips=Flips(values["signs_zyx"], values["characters"]),
            offsets=values["offsets"],
            strength_rank=values["strength_rank"],
            kernels=values["kernels"],
            points_zyx=np.zeros((0, 3), np.float32),
            adjoint=np.zeros((0, len(values["strength_rank"])), np.float32),
            residual=values["residual"],
        )

    def components(self, tolerance: float) -> int:
        """Least number of images that miss no more than ``tolerance`` on average; all of them if none does."""
        enough = np.flatnonzero(self.residual <= tolerance)
        return int(enough[0]) + 1 if enough.size else len(self.residual)

    def first(self, count: int) -> LowRankBasis:
        """The basis of the ``count`` strongest images."""
        if not 1 <= count <= len(self.strength_rank):
            raise ConfigError(f"a basis of {len(self.strength_rank)} images has no {count} strongest")
        kept = np.flatnonzero(self.strength_rank < count)
        return LowRankBasis(
            flips=self.flips,
            offsets=np.searchsorted(kept, self.offsets).astype(np.int64),
            strength_rank=self.strength_rank[kept],
            kernels=self.kernels[kept],
            points_zyx=self.points_zyx,
            adjoint=np.ascontiguousarray(self.adjoint[:, kept]),
            residual=self.residual[:count],
        )

    def coefficients(self, sampler: TemplateSampler, matrices: Floats) -> npt.NDArray[np.float32]:
        """(rotations, K) of u(R), without a transform for each: the filter has acted on the basis already."""
        return self.coefficients_and_lengths(sampler, matrices)[0]

    def coefficients_and_lengths(
        self, sampler: TemplateSampler, matrices: Floats
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """(rotations, K) of u(R), and the length (rotations,) that ``sqrt(M) (T_R - mu)`` had before it became u(R)."""
        turned_back = sampler.zoom * matrices.transpose(0, 2, 1)[:, ::-1, ::-1]
        inverse = np.ascontiguousarray(turned_back, dtype=np.float32)
        found = np.empty((len(matrices), self.adjoint.shape[1]), np.float32)
        products = _fast_products if fast_path(sampler.density) == "numba" else _portable_products
        for first in range(0, len(matrices), _ROTATIONS_AT_ONCE):
            some = slice(first, first + _ROTATIONS_AT_ONCE)
            found[some] = products(sampler.density, inverse[some], self.points_zyx, self.adjoint)
        length = np.sqrt((found.astype(np.float64) ** 2).sum(axis=1) / (1 - self.residual[-1] ** 2))
        found /= np.maximum(length, np.finfo(np.float32).tiny)[:, None].astype(np.float32)
        return found, length


def _fast_products(
    density: Volume, inverse: Volume, points: npt.NDArray[np.float32], adjoint: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    samples = np.empty((len(inverse), len(points)), np.float32)
    turned_at_points(density, inverse, points, samples)
    return samples @ adjoint


def _portable_products(
    density: Array, inverse: Volume, points: npt.NDArray[np.float32], adjoint: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    samples = sampled_at_points(density, as_device_array(inverse, density), as_device_array(points, density))
    product = namespace(samples).matmul(samples, as_device_array(adjoint, density))
    return np.asarray(to_host(product), dtype=np.float32)


def build_basis(sampler: TemplateSampler, tolerance: float, *, seed: int = 0) -> LowRankBasis:
    """Principal images of random rotations, class by class, as many as miss ``tolerance`` of held-out ones on average.

    The rotations come from ``seed`` alone. ConfigError for a tolerance that is not in (0, 1).
    """
    if not 0 < tolerance < 1:
        raise ConfigError(f"a low-rank basis needs a tolerance between 0 and 1, got {tolerance!r}")
    flips = flips_of(None if sampler.transfer is None else to_host(sampler.transfer), sampler.box)
    drawn = Rotation.random(TRAINING + HELD_OUT, random_state=seed).as_matrix()
    images = namespace(sampler.mask).stack(list(sampler.images(drawn)))
    found = [
        (value, label, image, share)
        for label in range(flips.characters.shape[1])
        for value, image, share in _principal(_projected(images, flips, label))
    ]
    # A stable order: strongest first, of equal ones by class.
    found.sort(key=lambda item: (-item[0], item[1]))
    residual = np.maximum(1 - np.cumsum([share**2 for *_, share in found], axis=0), 0)
    missed = np.sqrt(residual).mean(axis=1)
    enough = np.flatnonzero(missed <= tolerance)
    count = int(enough[0]) + 1 if enough.size else len(found)
    order = sorted(range(count), key=lambda index: (found[index][1], index))
    classes = np.array([found[index][1] for index in order])
    phi = np.stack([found[index][2].reshape(sampler.mask.shape) for index in order])
    kernels = (phi * np.sqrt(to_host(sampler.mask))).astype(np.float32)
    points, adjoint = _adjoint(sampler, kernels)
    return LowRankBasis(
        flips=flips,
        offsets=np.searchsorted(classes, np.arange(flips.characters.shape[1] + 1)).astype(np.int64),
        strength_rank=np.array(order, dtype=np.int64),
        kernels=kernels,
        points_zyx=points,
        adjoint=adjoint,
        residual=missed[:count],
    )


def _projected(images: Array, flips: Flips, label: int) -> Array:
    """The part of each image (n, z, y, x) that belongs to a class, as rows."""
    xp = namespace(images)
    part = xp.zeros_like(images)
    for signs, character in zip(flips.signs_zyx, flips.characters[:, label], strict=True):
        reversed_axes = tuple(axis + 1 for axis in range(3) if signs[axis] < 0)
        part = part + float(character) * xp.flip(images, axis=reversed_axes)
    return xp.reshape(part / len(flips.signs_zyx), (int(images.shape[0]), -1))


def _principal(rows: Array) -> Iterable[tuple[float, npt.NDArray[np.float32], npt.NDArray[np.float64]]]:
    """Eigenvalue, image, and the held-out rows' share in it, of the training rows' second moment; on the host."""
    xp = namespace(rows)
    training, held_out = rows[:TRAINING, :], rows[TRAINING:, :]
    values, vectors = xp.linalg.eigh(xp.astype(xp.matmul(training, xp.matrix_transpose(training)), xp.float64))
    first = int(np.searchsorted(to_host(values), _LEAST_EIGENVALUE * TRAINING, side="right"))
    values, vectors = values[first:], vectors[:, first:]
    images = xp.matmul(xp.matrix_transpose(xp.astype(vectors, xp.float32)), training)
    images = images / xp.reshape(xp.astype(xp.sqrt(values), xp.float32), (-1, 1))
    shares = to_host(xp.matmul(images, xp.matrix_transpose(held_out))).astype(np.float64)
    return zip(to_host(values).tolist(), to_host(images), shares, strict=True)


def _adjoint(sampler: TemplateSampler, kernels: Volume) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Points, and (points, K) the images as the unfiltered template meets them: centred under the mask, filtered.

    ``<u, phi> ~ <F T - mu, sqrt(M) phi> = <T, F (sqrt(M) phi - M sum(sqrt(M) phi) / N)>``, F being its own adjoint.
    """
    mask = to_host(sampler.mask)
    margins = [(b - m) // 2 for b, m in zip(sampler.box, mask.shape, strict=True)]
    inside = tuple(slice(low, low + m) for low, m in zip(margins, mask.shape, strict=True))
    images = np.zeros((len(kernels), int(np.prod(sampler.box))), np.float32)
    box = np.zeros(sampler.box, np.float32)
    for row, kernel in zip(images, kernels, strict=True):
        box[inside] = kernel - mask * np.float32(kernel.sum(dtype=np.float64) / sampler.mask_sum)
        row[:] = _filtered(box, sampler.transfer).ravel()
    energy = np.einsum("kp,kp->p", images, images, dtype=np.float64) * _mean_power(sampler)
    weakest_first = np.argsort(energy, kind="stable")
    dropped = np.searchsorted(np.cumsum(energy[weakest_first]), _NEGLIGIBLE * energy.sum())
    kept = np.sort(weakest_first[dropped:])
    return _places(sampler.box)[kept].astype(np.float32), np.ascontiguousarray(images[:, kept].T)


def _filtered(box: Volume, transfer: Array | None) -> Volume:
    """A host box through a filter that may lie elsewhere."""
    if transfer is None:
        return box
    on_device = as_device_array(box, transfer)
    return np.asarray(to_host(irfftn(rfftn(on_device) * transfer, box.shape)), dtype=np.float32)


def _places(box: tuple[int, int, int]) -> Floats:
    """(voxels, 3) of a box, (z, y, x) from its centre."""
    return np.indices(box).reshape(3, -1).T - (np.array(box) - 1) / 2


def _mean_power(sampler: TemplateSampler) -> Floats:
    """(voxels,) mean square of the template at each voxel of the box, over all rotations: that of its shell."""
    fine = to_host(sampler.density)
    shell = np.linalg.norm(_places(fine.shape), axis=1) / sampler.zoom
    rings = np.rint(shell).astype(np.int64)
    power = np.bincount(rings, (fine.astype(np.float64) ** 2).ravel()) / np.maximum(np.bincount(rings), 1)
    at = np.rint(np.linalg.norm(_places(sampler.box), axis=1)).astype(np.int64)
    return np.where(at < len(power), power[np.minimum(at, len(power) - 1)], 0.0)
