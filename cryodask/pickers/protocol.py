"""What a picker is, what it is given and what it gives back.

A picker is a class without arguments of its own; it decides what is computed, and hands the computing to its workbench,
which maps it over the cluster. A package adds one by an entry point in the group ``cryodask.pickers``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from cryodask.io.store import Store
from cryodask.model.particles import Particles
from cryodask.model.source import BlockSource
from cryodask.ops.templates import SearchFilter, TemplateSource
from cryodask.params.schema import MatchingParameters, PickingParameters

GOLD_CLASS = "fiducial"
"""Class of gold beads in lists of picks, as evaluations call it."""


@dataclass(frozen=True, kw_only=True)
class PickTarget:
    """One tomogram."""

    name: str
    image: BlockSource
    """(z, y, x)."""
    voxel_size_angstrom: float
    tilt_deg: tuple[float, ...] | None
    """Tilts behind it; None if unknown."""
    optics: Mapping[str, float]
    """Arguments of ``kernels.optics.phase_contrast_transfer``; empty if unknown."""
    dark: bool
    """Whether particles are darker than the ice."""
    token: str
    """Of everything that the tomogram was made of."""

    @property
    def shape(self) -> tuple[int, int, int]:
        nz, ny, nx = self.image.shape
        return nz, ny, nx

    @property
    def megavoxels(self) -> float:
        return float(np.prod(self.shape)) / 1e6

    def centred_angstrom(self, voxel: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Voxels (n, 3) as (z, y, x) positions relative to the volume's centre, as ``Particles`` takes them."""
        at = np.asarray(voxel, dtype=np.float64).reshape(-1, 3)
        return (at - (np.asarray(self.shape) - 1) / 2) * self.voxel_size_angstrom


@dataclass(frozen=True, kw_only=True)
class PickTemplate:
    """A density that is looked for; two may stand for one class (both hands)."""

    class_id: str
    source: TemplateSource
    """Its ``template_id`` is the class's, or another where several stand for one class."""
    token: str


@dataclass(frozen=True, kw_only=True)
class ScoreMaps:
    """What a template search found: best score and rotation of one template at every voxel."""

    score: BlockSource
    rotation_id: BlockSource
    matrices: npt.NDArray[np.float64]
    """(n, 3, 3) what the ids count."""
    filtered: BlockSource
    """The tomogram as it was searched."""
    search: SearchFilter
    approximate: bool
    """Whether scores are those of a low-rank search, to be computed exactly where they matter."""


class Workbench(Protocol):
    """What a picker works with."""

    @property
    def store(self) -> Store:
        """Where intermediate results are kept, so that an interrupted run goes on."""
        ...

    @property
    def templates(self) -> Sequence[PickTemplate]: ...

    @property
    def picking(self) -> PickingParameters: ...

    @property
    def matching(self) -> MatchingParameters: ...

    def run(self, tasks: Sequence[Delayed], stage: str) -> list[Any]:
        """Results of independent tasks in their order, computed wherever the user wants them to be."""
        ...

    def score_maps(self, target: PickTarget, parameters: MatchingParameters) -> Mapping[str, ScoreMaps]:
        """Maps of every template, by ``template_id``; those that the store holds are not made again."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Picks:
    """What a picker found in one tomogram."""

    particles: Particles
    """In the order in which they are to be judged."""
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Further columns of the list, (n,) each, by the name they get in picks.star."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What job.json tells of this tomogram; JSON."""
    notices: tuple[str, ...] = ()
    """What the user should know but need not act on."""


class Picker(Protocol):
    """A way from a tomogram to particles."""

    name: str
    """As ``--picker`` takes it."""
    summary: str
    """One line for ``pick --list``."""
    needs_templates: bool

    def pick(self, target: PickTarget, bench: Workbench) -> Picks: ...
