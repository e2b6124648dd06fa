"""``tm`` and ``tm-f``: template matching as the SHREC 2021 paper describes its two submissions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from dask.delayed import Delayed, delayed

from cryodask.kernels.rotations import zxz_deg_from_matrix
from cryodask.model.particles import Particles, concatenate
from cryodask.ops.template_lists import ClassPeaks, best_places, cut_list, merged_hands, roundness, without_overlaps
from cryodask.params.schema import MatchingParameters
from cryodask.pickers.gold import bead_particles, beads_of
from cryodask.pickers.protocol import Picks, PickTarget, PickTemplate, ScoreMaps, Workbench


class TemplateMatching:
    """The best places of each class by Pearson correlation at 4 nm, cut at the fitted Gaussian's mean less 2 sigma.

    Places of a class keep the distance of its mask's radius; classes do not compete. Listed by class, largest first.
    """

    name = "tm"
    summary = "template matching: each class's best scores, Gaussian cut-off, classes independent (SHREC 2021 TM)"
    needs_templates = True

    def pick(self, target: PickTarget, bench: Workbench) -> Picks:
        lists, gold = class_lists(target, bench)
        return _as_picks(target, self.arranged(target, bench, lists), gold)

    def arranged(self, target: PickTarget, bench: Workbench, lists: list[ClassPeaks]) -> list[ClassPeaks]:
        """The lists in the order in which they are written."""
        del target, bench
        return sorted(lists, key=lambda peaks: (-peaks.radius_voxels, peaks.class_id))


class FilteredTemplateMatching(TemplateMatching):
    """``tm`` with overlaps removed: symmetric classes first, then round ones; whoever comes first keeps the place."""

    name = "tm-f"
    summary = "tm without overlaps between classes, symmetric and round classes first (SHREC 2021 TM-F)"

    def arranged(self, target: PickTarget, bench: Workbench, lists: list[ClassPeaks]) -> list[ClassPeaks]:
        first_hands = {template.class_id: template for template in reversed(bench.templates)}
        names = [peaks.class_id for peaks in lists]
        tasks = [delayed(roundness, pure=False)(first_hands[name].source) for name in names]
        round_ = dict(zip(names, bench.run(tasks, f"{target.name} shapes"), strict=True))

        def rank(peaks: ClassPeaks) -> tuple[bool, float, str]:
            symmetric = first_hands[peaks.class_id].source.symmetry != "C1"
            return not symmetric, -round_[peaks.class_id], peaks.class_id

        return without_overlaps(sorted(lists, key=rank))


def paper_search(matching: MatchingParameters) -> MatchingParameters:
    """The search behind both: tomogram and template low-passed to 4 nm, not whitened; the rest as the user sets it."""
    return replace(matching, low_pass_angstrom=40.0, whiten=False)


def class_lists(target: PickTarget, bench: Workbench) -> tuple[list[ClassPeaks], Particles]:
    """Places of every class, and the gold beads, which none of them is near to."""
    beads = beads_of(target, bench)
    maps = bench.score_maps(target, paper_search(bench.matching))
    count = bench.picking.candidates(target.megavoxels)
    tasks = [_places_task(template, maps[template.source.template_id], count) for template in bench.templates]
    found: Sequence[ClassPeaks] = bench.run(tasks, f"{target.name} peaks")
    by_class: dict[str, list[ClassPeaks]] = {}
    for peaks in found:
        by_class.setdefault(peaks.class_id, []).append(peaks)
    lists = [cut_list(merged_hands(parts, count), beads.index) for parts in by_class.values()]
    return lists, bead_particles(target, beads)


def _places_task(template: PickTemplate, maps: ScoreMaps, count: int) -> Delayed:
    task: Delayed = delayed(best_places, pure=False)(
        template.class_id,
        maps.score,
        maps.rotation_id,
        maps.matrices,
        count,
        source=template.source,
        search=maps.search,
        filtered=maps.filtered if maps.approximate else None,
    )
    return task


def _as_picks(target: PickTarget, lists: Sequence[ClassPeaks], gold: Particles) -> Picks:
    parts = [
        Particles.create(
            [peaks.class_id] * len(peaks.index),
            target.centred_angstrom(peaks.index),
            tomogram=target.name,
            zxz_deg=zxz_deg_from_matrix(peaks.matrices) if len(peaks.index) else np.empty((0, 3)),
            score=peaks.score,
        )
        for peaks in lists
    ]
    counts = {peaks.class_id: len(peaks.index) for peaks in lists}
    return Picks(particles=concatenate([gold, *parts]), record={"beads": len(gold), "picks_by_class": counts})
