"""What every way of scoring picks shares: additive counts, and look-ups in the occupancy mask of a truth.

Everything that is added up over tomograms is an integer. Distances are added as multiples of 2**-40 voxels, so that
the sum of a thousand tomograms is the same number in whatever order, and on however many workers, it was formed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, as_device_array, fast_path, namespace, to_host
from cryodask.errors import ConfigError, DataError

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Row: TypeAlias = tuple[int, ...]

DISTANCE_UNITS_PER_VOXEL = 2**40

_CROSS = np.array([(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)])


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What one or many tomograms contribute to an evaluation; ``merge`` is associative and commutative bit by bit.

    Rows and columns of ``confusion`` and the entries of the ``class_*`` rows follow the labels, background first.
    """

    n_tomograms: int
    submitted: int
    """RR: picks in the submission."""
    found: int
    """TP: truth particles that were found."""
    false_positive: int
    missed: int
    """FN: truth particles that were not found."""
    multiply_found: int
    """MH: truth particles with more than one pick."""
    extra_picks: int
    """Picks beyond the first on the same truth particle."""
    ignored_picks: int
    """Picks that count neither for nor against: on particles that are not evaluated, or of such a class."""
    picks_outside: int
    """Picks outside the volume."""
    recall_base: int
    """Denominator of the recall."""
    precision_base: int
    """Denominator of the precision."""
    distance_sum: int
    """Sum over the found particles of the pick's distance to the centre, in voxels * 2**40."""
    confusion: tuple[Row, ...]
    """Truth particles by true class (row) and picked class (column)."""
    class_found: Row
    class_false_positive: Row
    class_missed: Row

    @classmethod
    def zero(cls, n_labels: int) -> Counts:
        """Counts of no tomogram: the neutral element of ``merge``."""
        row = (0,) * n_labels
        values: dict[str, Any] = dict.fromkeys([item.name for item in fields(cls)], 0)
        values |= {"confusion": (row,) * n_labels, "class_found": row, "class_false_positive": row, "class_missed": row}
        return cls(**values)

    def merge(self, other: Counts) -> Counts:
        """Counts of both sets of tomograms together; ConfigError if they do not have equally many labels."""
        if len(self.confusion) != len(other.confusion):
            raise ConfigError(f"counts of {len(self.confusion)} labels cannot join counts of {len(other.confusion)}")
        return Counts(**{item.name: _sum(getattr(self, item.name), getattr(other, item.name)) for item in fields(self)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """One tomogram as a mode judges it: the counts, and what became of each of m picks and n truth particles."""

    counts: Counts
    lies_on: Ints
    """(m,) row of the evaluated truth particle that each pick lies on, -1 for none."""
    found_by: Ints
    """(n,) the pick that each evaluated truth particle is judged by, -1 for a missed one."""
    distance_voxel: Floats
    """(n,) distance of that pick to the particle's centre, NaN for a missed one."""
    evaluated: Bools
    """(n,) truth particles that are evaluated."""
    counted: Bools
    """(m,) picks that the precision counts."""
    against: Bools
    """(m,) picks that count as false positives."""


def _sum(a: Any, b: Any) -> Any:  # noqa: ANN401  (an integer, or tuples of integers to any depth)
    return tuple(_sum(x, y) for x, y in zip(a, b, strict=True)) if isinstance(a, tuple) else a + b


def fixed_point(distance_voxel: Floats) -> int:
    """Sum of distances as an exact integer, each rounded to 2**-40 voxels."""
    return sum(round(float(value) * DISTANCE_UNITS_PER_VOXEL) for value in distance_voxel)


def distances(a: Floats, b: Floats) -> Floats:
    """(n,) Euclidean distances between the rows of two (n, 3) tables."""
    return np.asarray(np.sqrt(((a - b) ** 2).sum(axis=1)), dtype=np.float64)


def confusion_matrix(true_label: Ints, picked_label: Ints, n_labels: int) -> Ints:
    """(n_labels, n_labels) number of pairs by true (row) and picked (column) label."""
    pairs = true_label * n_labels + picked_label
    return np.bincount(pairs, minlength=n_labels**2).reshape(n_labels, n_labels).astype(np.int64)


def nearest_voxels(voxel: Floats, shape: tuple[int, int, int]) -> tuple[Ints, Bools]:
    """Voxel (z, y, x) that each position lies in, moved into the volume, and which positions had to be moved.

    Halves round to even. Positions that came through angstrom are taken to 1e-6 voxels first, so that the conversion
    cannot tip a half.
    """
    rounded = np.rint(np.round(voxel, 6)).astype(np.int64).reshape(-1, 3)
    inside = np.clip(rounded, 0, np.asarray(shape) - 1)
    return inside, np.asarray((inside != rounded).any(axis=1))


def dilated_ids(occupancy: Array, voxel: Ints) -> Ints:
    """Particle id at each voxel of the mask grown by one voxel along the axes; where two grow together, the higher.

    The grey dilation with the 6-neighbour cross is the largest of seven values, and only the picks' are needed: they
    are looked up instead of dilating the volume (at its faces a missing neighbour counts as the voxel itself).

    Parameters
    ----------
    occupancy
        (z, y, x) mask of particle ids, 0 outside; integers, or floats that hold integers.
    voxel
        (n, 3) voxels (z, y, x) inside the volume.

    Returns
    -------
        (n,) ids on the host.
    """
    shape = _volume_shape(occupancy)
    if not len(voxel):
        return np.zeros(0, dtype=np.int64)
    index = np.ravel_multi_index(tuple(neighbour_voxels(voxel, shape).T), shape)
    xp = namespace(occupancy)
    values = xp.take(xp.reshape(occupancy, (-1,)), as_device_array(index, occupancy))
    ids: Ints = _whole_ids(to_host(values)).reshape(len(_CROSS), -1).max(axis=0)
    return ids


def neighbour_voxels(voxel: Ints, shape: tuple[int, int, int]) -> Ints:
    """(7 m, 3) each of the voxels (m, 3) and its six neighbours, neighbour by neighbour, kept inside the volume."""
    return np.asarray(np.clip(voxel[None] + _CROSS[:, None], 0, np.asarray(shape) - 1).reshape(-1, 3))


@dataclass(frozen=True, kw_only=True, eq=False)
class Extents:
    """Where each particle of a mask is; row k belongs to id k + 1."""

    radius_voxel: Floats
    """(n,) radius of the sphere with the particle's volume, 0 for an id that the mask does not hold."""
    centroid_voxel: Floats
    """(n, 3) mean (z, y, x) of its voxels, NaN for an id that the mask does not hold."""

    def near(self, centre_voxel: Floats, least_reach_voxel: float) -> Bools:
        """(n,) whether a listed centre lies within the particle's radius, or the least reach, of its centroid.

        The centroid serves hollow particles too, whose own voxels may all be far from their centre.
        """
        reach = np.maximum(self.radius_voxel, least_reach_voxel)
        return np.asarray(distances(centre_voxel, self.centroid_voxel) <= reach)


def extents(occupancy: Array, n_particles: int) -> Extents:
    """Size and place of every particle of an occupancy mask (z, y, x), gathered on the host.

    Raises DataError if the mask holds an id beyond ``n_particles``, or a value that is no id.
    """
    volume, sums = extent_sums(occupancy, n_particles)
    return extents_of(volume[1:], sums[1:])


def extents_of(volume: Ints, sums: Ints) -> Extents:
    """Extents from the voxels (n,) of each particle and the sums (n, 3) of their coordinates."""
    centroid = np.full((len(volume), 3), np.nan)
    np.divide(sums, volume[:, None], out=centroid, where=volume[:, None] > 0)
    return Extents(radius_voxel=np.asarray(np.cbrt(3 * volume / (4 * np.pi))), centroid_voxel=centroid)


def extent_sums(occupancy: Array, n_particles: int) -> tuple[Ints, Ints]:
    """Voxels (n + 1,) of each id from 0 (whose own is 0) and sums (n + 1, 3) of their coordinates; errors as above."""
    shape = _volume_shape(occupancy)
    host = to_host(occupancy)
    if fast_path(occupancy) == "numba" and np.issubdtype(host.dtype, np.integer):
        return _sums_in_one_pass(host, n_particles)
    index = np.flatnonzero(host)
    ids = _whole_ids(host.reshape(-1)[index])
    if len(ids) and ids.max() > n_particles:
        raise foreign_id(int(ids.max()), n_particles)
    sums = [np.bincount(ids, axis, n_particles + 1).astype(np.int64) for axis in np.unravel_index(index, shape)]
    return np.bincount(ids, minlength=n_particles + 1).astype(np.int64), np.stack(sums, axis=1)


def _sums_in_one_pass(occupancy: npt.NDArray[Any], n_particles: int) -> tuple[Ints, Ints]:
    """Voxels of each id from 0, and the sums of their coordinates (z, y, x)."""
    from cryodask.kernels.fast.extents import sum_extents

    volume, sums = np.zeros(n_particles + 1, dtype=np.int64), np.zeros((n_particles + 1, 3), dtype=np.int64)
    stranger = sum_extents(occupancy, volume, sums)
    if stranger < 0:
        raise _no_id(stranger)
    if stranger:
        raise foreign_id(int(occupancy.max()), n_particles)
    return volume, sums


def foreign_id(particle: int, n_particles: int) -> DataError:
    """The error for an id that the particle list does not have."""
    return DataError(
        f"occupancy mask holds id {particle}, but the truth lists {n_particles} particles; "
        "mask and particle list belong to different models"
    )


def _whole_ids(values: npt.NDArray[Any]) -> Ints:
    if not np.issubdtype(values.dtype, np.integer):
        wrong = values[(values != np.rint(values)) | (values < 0)]
        if len(wrong):
            raise _no_id(wrong[0])
    elif len(values) and values.min() < 0:
        raise _no_id(values.min())
    return values.astype(np.int64)


def _no_id(value: Any) -> DataError:  # noqa: ANN401  (a number)
    return DataError(f"occupancy mask holds {value}, which is no particle id; ids are whole numbers from 0")


def _volume_shape(occupancy: Array) -> tuple[int, int, int]:
    if len(occupancy.shape) != 3:
        raise DataError(f"occupancy mask has shape {tuple(occupancy.shape)}; expected a volume (z, y, x)")
    z, y, x = occupancy.shape
    return int(z), int(y), int(x)
