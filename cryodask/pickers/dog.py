"""``dog``: blobs of one size without any reference, by a difference of Gaussians."""

from __future__ import annotations

from dask.delayed import delayed

from cryodask.errors import ConfigError
from cryodask.model.particles import Particles
from cryodask.ops.dog import dog_peaks
from cryodask.pickers.gold import beads_of
from cryodask.pickers.protocol import Picks, PickTarget, Workbench

PARTICLE = "particle"
"""Class of picks that no template stands behind."""


class DifferenceOfGaussians:
    """Particles of about ``picking.diameter_angstrom``, strongest first, gold left out."""

    name = "dog"
    summary = "particles of one diameter without a reference, by a difference of Gaussians"
    needs_templates = False

    def pick(self, target: PickTarget, bench: Workbench) -> Picks:
        settings = bench.picking
        diameter = settings.diameter_angstrom / target.voxel_size_angstrom
        if not 2 <= diameter <= min(target.shape) / 2:
            raise ConfigError(
                f"picking.diameter_angstrom = {settings.diameter_angstrom:g} is {diameter:.1f} voxels of the tomogram "
                f"{target.name}: give at least 2 and at most half of its {min(target.shape)}"
            )
        beads = beads_of(target, bench)
        task = delayed(dog_peaks, pure=False)(
            target.image,
            beads.index,
            dark=target.dark,
            diameter_voxels=diameter,
            threshold_z=settings.dog_threshold_z,
            max_picks=settings.candidates(target.megavoxels),
        )
        ((index, z),) = bench.run([task], f"{target.name} difference of Gaussians")
        particles = Particles.create(
            [PARTICLE] * len(index), target.centred_angstrom(index), tomogram=target.name, score=z
        )
        return Picks(particles=particles, record={"beads_left_out": len(beads.index)})
