"""``gold-log``: gold beads by the scale-normalised Laplacian of Gaussian, and the mask that keeps others off them."""

from __future__ import annotations

import numpy as np
from dask.delayed import delayed

from cryodask.model.particles import Particles
from cryodask.ops.beads import Beads, find_beads
from cryodask.pickers.protocol import GOLD_CLASS, Picks, PickTarget, Workbench


class GoldBeads:
    """Every bead once, strongest first; the score is the strength in robust standard deviations."""

    name = "gold-log"
    summary = "gold beads, by the scale-normalised Laplacian of Gaussian over a range of sizes"
    needs_templates = False

    def pick(self, target: PickTarget, bench: Workbench) -> Picks:
        beads = beads_of(target, bench)
        return Picks(
            particles=bead_particles(target, beads),
            columns={"cryodaskRadiusAngstrom": np.sqrt(3) * beads.sigma_voxels * target.voxel_size_angstrom},
            record={"beads": len(beads.index)},
        )


def beads_of(target: PickTarget, bench: Workbench) -> Beads:
    """The beads of one tomogram."""
    settings = bench.picking
    task = delayed(find_beads, pure=False)(
        target.image,
        dark=target.dark,
        sigma_voxels=settings.gold_sigma_voxels,
        threshold_z=settings.gold_threshold_z,
    )
    (found,) = bench.run([task], f"{target.name} gold")
    beads: Beads = found
    return beads


def bead_particles(target: PickTarget, beads: Beads) -> Particles:
    """Beads as picks of the class of fiducials."""
    return Particles.create(
        [GOLD_CLASS] * len(beads.index),
        target.centred_angstrom(beads.index),
        tomogram=target.name,
        score=beads.strength,
    )
