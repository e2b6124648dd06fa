"""The truth of one tomogram, as an evaluation needs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError
from cryodask.model.particles import Particles
from cryodask.model.shrec21_table1 import TABLE_1
from cryodask.model.source import BlockSource

BACKGROUND = "background"

NON_PROTEIN_CLASSES = frozenset({"fiducial", "vesicle"})
"""Classes that a mean over proteins leaves out."""

SHREC21_CLASS_IDS = (
    *("4V94", "4CR2", "1QVR", "1BXN", "3CF3", "1U6G", "3D2F", "2CG9", "3H84", "3GL1", "3QM1", "1S3X", "5MRC"),
    *("vesicle", "fiducial"),
)
"""The benchmark's classes in the order of its labels, from 1."""

SHREC21_MOLECULAR_WEIGHT_KDA: Mapping[str, float] = {name: row.molecular_weight_kda for name, row in TABLE_1.items()}
"""Table 1 of the SHREC 2021 paper."""


class TruthSource(Protocol):
    """A truth that is read where it is needed: small, picklable, and as good as the truth itself."""

    @property
    def name(self) -> str:
        """Name of the tomogram, as the picks call it."""
        ...

    def load(self) -> Truth:
        """The truth; DataError or StoreError if it is missing or damaged."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What really is in one tomogram. Picklable: with a block source as mask, a task reads the mask where it runs."""

    name: str
    """Name of the tomogram, as the picks call it."""
    particles: Particles
    """All particles, in the order of the mask's ids: the k-th (from 1) has id k."""
    occupancy: BlockSource | npt.NDArray[Any] | None
    """(z, y, x) mask of particle ids, 0 outside; None where there is none (not possible in mode ``shrec21``)."""
    shape: tuple[int, int, int]
    """Voxels (z, y, x) of the tomogram."""
    voxel_size_angstrom: float
    class_ids: tuple[str, ...]
    """All classes of the data set in the order of their labels, from 1 (0 is the background)."""
    radius_angstrom: Mapping[str, float] = field(default_factory=dict)
    """Mask radius of a class; where missing, the radius of the sphere with the particle's volume is taken."""
    molecular_weight_kda: Mapping[str, float] = field(default_factory=dict)
    symmetry: Mapping[str, str] = field(default_factory=dict)
    """Point group of a class about its own z axis (C4, D2 ...), under which orientations are the same; else C1."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.voxel_size_angstrom) and self.voxel_size_angstrom > 0):
            raise DataError(f"truth of {self.name!r}: voxel size {self.voxel_size_angstrom} angstrom is not positive")
        if min(self.shape) < 1:
            raise DataError(f"truth of {self.name!r}: shape {self.shape} has an empty axis")
        if self.occupancy is not None and tuple(self.occupancy.shape) != tuple(self.shape):
            raise DataError(
                f"truth of {self.name!r}: the occupancy mask has shape {tuple(self.occupancy.shape)}, "
                f"the tomogram {tuple(self.shape)}"
            )
        if len({name.casefold() for name in self.labels}) != len(self.labels):
            raise DataError(f"truth of {self.name!r}: class names must differ in more than case: {self.class_ids}")
        unknown = sorted({str(name) for name in self.particles.class_id[self.label_of(self.particles.class_id) < 0]})
        if unknown:
            raise DataError(
                f"truth of {self.name!r}: particles of class {', '.join(unknown)}, but its classes are "
                f"{', '.join(self.class_ids)}"
            )

    def load(self) -> Truth:
        """The truth itself, which is at hand."""
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the rows and columns of a confusion matrix."""
        return (BACKGROUND, *self.class_ids)

    def label_of(self, class_ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """Label of each class name, compared without regard to case; -1 for a name that is none of the classes."""
        known = {name.casefold(): label for label, name in enumerate(self.class_ids, start=1)}
        return np.array([known.get(str(name).casefold(), -1) for name in class_ids], dtype=np.int64)

    def read_occupancy(self) -> npt.NDArray[Any] | None:
        """The whole mask in memory, or None."""
        if self.occupancy is None or isinstance(self.occupancy, np.ndarray):
            return self.occupancy
        return self.occupancy.read(tuple(slice(0, size) for size in self.shape))
