"""Two similar classes planted in white noise: a tomogram for the multi-class decision, and the bench it runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed
from scipy.spatial.transform import Rotation

from cryodask.io.store import Store
from cryodask.model.progress import NullProgress
from cryodask.model.source import ArraySource
from cryodask.ops.particle_models import likelihood_filter, likelihood_template, whole_image
from cryodask.ops.templates import TemplateSource
from cryodask.params.schema import MatchingParameters, PickingParameters
from cryodask.pickers.protocol import PickTarget, PickTemplate, ScoreMaps
from cryodask.workflows.execution import execute

VOXEL = 10.0
TILTS = tuple(float(t) for t in range(-60, 61, 3))
OPTICS = {"voltage_kv": 300.0, "defocus_um": 3.0, "spherical_aberration_mm": 2.7}
BALLS = {
    # (x, y, z) and radii in angstrom: the first is bent, the second straight, both as heavy.
    "armed": (((0, 0, 0), 22.0), ((36, 0, 0), 15.0), ((0, 22, 8), 11.0)),
    "plain": (((0, 0, 0), 22.0), ((-32, 0, 0), 15.0), ((32, 0, 0), 15.0)),
}


def density(name: str, voxel: float = 5.0, side: int = 27, volts: float = 6.0) -> npt.NDArray[np.float32]:
    """Soft balls about the centre of a cube."""
    axis = (np.arange(side) - (side - 1) / 2) * voxel
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    found = np.zeros((side,) * 3)
    for (bx, by, bz), radius in BALLS[name]:
        apart = np.sqrt((x - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2)
        found = np.maximum(found, volts / (1 + np.exp((apart - radius) / 4)))
    return found.astype(np.float32)


def templates() -> tuple[PickTemplate, ...]:
    """Both classes."""
    return tuple(
        PickTemplate(
            class_id=name,
            source=TemplateSource(
                template_id=name, density=ArraySource(density(name)), voxel_size_angstrom=5.0, radius_angstrom=45.0
            ),
            token=f"planted-{name}",
        )
        for name in BALLS
    )


@dataclass(frozen=True, eq=False)
class Planted:
    """A tomogram and what is in it."""

    target: PickTarget
    classes: tuple[str, ...]
    places: npt.NDArray[np.int64]
    matrices: npt.NDArray[np.float64]


def plant(
    shape: tuple[int, int, int], places: Sequence[Sequence[int]], amplitude: float, seed: int, noise: float = 1.0
) -> Planted:
    """White noise with particles of both classes in turn; ``amplitude`` in deviations of the noise a volt."""
    random = np.random.default_rng(seed)
    volume = noise * random.standard_normal(shape).astype(np.float32)
    matrices = Rotation.random(len(places), random_state=seed).as_matrix()
    filters = likelihood_filter(VOXEL, TILTS, OPTICS, dark=True)
    fine = {t.class_id: likelihood_template(t.source, filters) for t in templates()}
    classes = tuple(list(BALLS)[i % 2] for i in range(len(places)))
    for name, place, matrix in zip(classes, places, matrices, strict=True):
        image = whole_image(fine[name], matrix)
        half = image.shape[0] // 2
        begin = [p - half for p in place]
        into = tuple(slice(max(b, 0), min(b + image.shape[0], n)) for b, n in zip(begin, shape, strict=True))
        part = tuple(slice(s.start - b, s.stop - b) for s, b in zip(into, begin, strict=True))
        volume[into] += amplitude * noise * image[part]
    target = PickTarget(
        name="planted",
        image=ArraySource(volume),
        voxel_size_angstrom=VOXEL,
        tilt_deg=TILTS,
        optics=OPTICS,
        dark=True,
        token=f"planted-{seed}-{amplitude}-{len(places)}-{shape}-{noise}",
    )
    return Planted(target, classes, np.array(places, dtype=np.int64).reshape(-1, 3), matrices)


@dataclass
class PlainBench:
    """A workbench in this process; ``shuffled`` runs tasks in another order and returns results in theirs."""

    store: Store
    picking: PickingParameters = field(default_factory=PickingParameters)
    matching: MatchingParameters = field(default_factory=MatchingParameters)
    templates: Sequence[PickTemplate] = field(default_factory=templates)
    shuffled: bool = False
    client: Any = None

    def run(self, tasks: Sequence[Delayed], stage: str) -> list[Any]:
        order = list(range(len(tasks)))[:: -1 if self.shuffled else 1]
        some = [tasks[i] for i in order]
        done = execute(some, client=self.client, progress=NullProgress(), stage=stage)
        results = dict(zip(order, done, strict=True))
        return [results[i] for i in range(len(tasks))]

    def score_maps(self, target: PickTarget, parameters: MatchingParameters) -> Mapping[str, ScoreMaps]:
        raise NotImplementedError("no template search here")
