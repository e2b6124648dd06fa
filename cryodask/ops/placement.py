"""Which particles a sample holds, and where: classes drawn, placed without overlap and turned at random."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches

import numpy as np

from cryodask.errors import ConfigError
from cryodask.kernels.crowding import Shape, place_shapes
from cryodask.kernels.placement import place_spheres
from cryodask.kernels.rotations import uniform_rotations
from cryodask.model.particles import Particles, concatenate
from cryodask.ops.bodies import Body, joined, spheres
from cryodask.ops.carbon import CarbonFilm
from cryodask.ops.densities import DensitySource
from cryodask.params.schema import SampleParameters

_EVERYTHING = (slice(None),) * 3


def draw_particles(
    densities: Mapping[str, DensitySource],
    sample: SampleParameters,
    generator: np.random.Generator,
    tomogram: str,
    bodies: Sequence[Body] = (),
    film: CarbonFilm | None = None,
) -> Particles:
    """Classes drawn, placed without overlap, turned uniformly over SO(3); then the bodies, without angles."""
    classes = _draw_classes(densities, sample, generator)
    nz, ny, nx = (n * sample.voxel_size_angstrom for n in sample.box_voxels)
    others = spheres(bodies)
    obstacles = others if film is None else joined(others, film.obstacles(sample))
    if sample.placement == "shapes":
        shapes = {
            name: Shape.of_mask(_solid(densities[name]), densities[name].voxel_size_angstrom, sample.clearance_angstrom)
            for name in sorted(set(classes))
        }
        centres, angles = place_shapes(
            classes, shapes, box_angstrom=(nz, ny, nx), generator=generator, obstacles=obstacles
        )
    else:
        centres = place_spheres(
            np.array([densities[name].radius_angstrom for name in classes]),
            box_angstrom=(nz, ny, nx),
            clearance_angstrom=sample.clearance_angstrom,
            generator=generator,
            obstacles=obstacles,
        )
        angles = uniform_rotations(len(classes), generator)
    proteins = Particles.create(classes, centres, tomogram=tomogram, zxz_deg=angles)
    return concatenate([proteins, Particles.create([b.class_id for b in bodies], others[0], tomogram=tomogram)])


def _solid(density: DensitySource) -> np.ndarray:
    return density.solid.read(_EVERYTHING).astype(bool)


def _draw_classes(
    densities: Mapping[str, DensitySource], sample: SampleParameters, generator: np.random.Generator
) -> list[str]:
    """Class of each particle: as counted, or drawn uniformly or by weight, so many or until they fill their share."""
    names = sorted(densities)
    if sample.class_counts is not None:
        return [name for name in names for _ in range(sample.class_counts.get(name, 0))]
    weights = None
    if sample.class_weights is not None:
        weights = np.array([sample.class_weights.get(name, 1.0) for name in names])
        weights /= weights.sum()
    if sample.volume_fraction is not None:
        return _until_filled(names, weights, densities, sample, generator)
    low, high = sample.particle_count
    count = int(generator.integers(low, high + 1))
    if weights is None:
        return [names[index] for index in generator.integers(0, len(names), count)]
    return [names[index] for index in generator.choice(len(names), count, p=weights)]


def _until_filled(
    names: Sequence[str],
    weights: np.ndarray | None,
    densities: Mapping[str, DensitySource],
    sample: SampleParameters,
    generator: np.random.Generator,
) -> list[str]:
    """Classes drawn one by one until their solid shapes have the wanted share of the box."""
    volumes = [float(_solid(densities[name]).sum()) * densities[name].voxel_size_angstrom ** 3 for name in names]
    box = float(np.prod(sample.box_voxels)) * sample.voxel_size_angstrom**3
    left = (sample.volume_fraction or 0.0) * box
    classes = []
    while left > 0:
        index = int(generator.choice(len(names), p=weights))
        classes.append(names[index])
        left -= volumes[index]
    return classes


def require_classes(sample: SampleParameters, names: Collection[str]) -> None:
    """ConfigError for counts or weights of a class that is not in ``names``, or weights of which none is positive."""
    for option, values in (("class_counts", sample.class_counts), ("class_weights", sample.class_weights)):
        for name in values or ():
            if name not in names:
                close = get_close_matches(name, names, n=1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(names))}"
                raise ConfigError(f"sample.{option} names {name!r}, which is no class of this run; {hint}")
    weights = sample.class_weights
    if weights is not None and not any(weights.get(name, 1.0) > 0 for name in names):
        raise ConfigError("sample.class_weights leaves no class with a weight above 0")
