"""Random placement of particles without overlap, by sequential addition of their bounding spheres."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError
from cryodask.kernels.fast.placement import CellList

Floats = npt.NDArray[np.float64]

ATTEMPTS_PER_PARTICLE = 5_000
"""Draws before a particle is given up; at the 25 % packing of dense cytoplasm a place is found within hundreds."""

RESTARTS = 20
"""Attempts with an empty box: in a thin box the first few large particles decide whether the rest fit."""

_DRAWS_AT_ONCE = 64


def place_spheres(
    radii_angstrom: Floats,
    *,
    box_angstrom: tuple[float, float, float],
    clearance_angstrom: float,
    generator: np.random.Generator,
    obstacles: tuple[Floats, Floats] | None = None,
) -> Floats:
    """Centres of spheres that lie within the box and keep a gap between each other.

    The largest go first: in random order the last large ones would find no place long before the box is full.

    Args:
        radii_angstrom: (n,) bounding radius of each particle.
        box_angstrom: Extent (z, y, x) of the box; its centre is the origin.
        clearance_angstrom: Least gap between two spheres.
        generator: Source of the random positions.
        obstacles: (m, 3) centres and (m,) radii of spheres that are there already.

    Returns:
        (n, 3) centres as (z, y, x), in the order of ``radii_angstrom``.

    Raises:
        ConfigError: If a particle is larger than the box, or no free place was found for one of them: the number
            that fitted is named, and never fewer than asked are returned.
    """
    radii = np.asarray(radii_angstrom, dtype=np.float64)
    half = np.asarray(box_angstrom, dtype=np.float64) / 2
    if radii.size and radii.max() > half.min():
        raise ConfigError(
            f"a particle of radius {radii.max():.0f} angstrom does not fit a box of "
            f"{' x '.join(f'{2 * h:.0f}' for h in half)} angstrom: enlarge sample.box_voxels or leave its class out"
        )
    blocked = (np.zeros((0, 3)), np.zeros(0)) if obstacles is None else obstacles
    most = 0
    for _ in range(RESTARTS):
        centres, placed = _fill(radii, half, clearance_angstrom, generator, blocked)
        if placed == len(radii):
            return centres
        most = max(most, placed)
    raise ConfigError(
        f"only {most} of {len(radii)} particles fit the box of "
        f"{' x '.join(f'{2 * h / 10:.0f}' for h in half)} nm without overlap: "
        "lower sample.particle_count (or gold_count), or enlarge sample.box_voxels"
    )


def _fill(
    radii: Floats,
    half: Floats,
    clearance_angstrom: float,
    generator: np.random.Generator,
    obstacles: tuple[Floats, Floats],
) -> tuple[Floats, int]:
    """Centres, and how many particles found a place before one did not."""
    placed = CellList(radii, half, clearance_angstrom, obstacles)
    for count, particle in enumerate(np.argsort(-radii, kind="stable")):
        place = _free_place(placed, float(radii[particle]), generator)
        if place is None:
            return placed.centres, count
        placed.add(int(particle), place)
    return placed.centres, len(radii)


def _free_place(placed: CellList, radius: float, generator: np.random.Generator) -> Floats | None:
    """First of the random positions that is clear of all placed spheres, or None."""
    room = placed.half - radius
    for _ in range(0, ATTEMPTS_PER_PARTICLE, _DRAWS_AT_ONCE):
        draws = generator.uniform(-1.0, 1.0, size=(_DRAWS_AT_ONCE, 3)) * room
        free = placed.first_free(draws, radius)
        if free >= 0:
            place: Floats = draws[free]
            return place
    return None
