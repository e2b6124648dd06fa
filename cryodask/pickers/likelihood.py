"""``tm-c``: all classes decide together, by likelihoods of known amplitude, with explaining away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.delayed import delayed

from cryodask.kernels.likelihood import false_discovery_rate, passes_gate, tempered_posterior, usual_amplitude
from cryodask.kernels.peaks import joint_exclusion
from cryodask.kernels.rotations import zxz_deg_from_matrix
from cryodask.model.particles import Particles, concatenate
from cryodask.model.source import BlockSource
from cryodask.ops.beads import far_from_beads
from cryodask.ops.candidates import Candidates, evaluate, joined_candidates, refine, worth_refining
from cryodask.ops.peeling import RESCORED_DOWN_TO
from cryodask.pickers.decoys import negative_of, residual_of
from cryodask.pickers.gold import bead_particles
from cryodask.pickers.likelihood_maps import Prepared, candidate_places, prepare
from cryodask.pickers.likelihood_peel import Decision, peel
from cryodask.pickers.protocol import GOLD_CLASS, Picks, PickTarget, Workbench
from cryodask.pickers.stored_models import StoredModel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LARGE_RADIUS_VOXELS = 10.0
PER_MEGAVOXEL_LARGE, PER_MEGAVOXEL = 18, 97
"""Candidates of a template with a mask radius from ``LARGE_RADIUS_VOXELS`` on, and of others: the best places of a
small template all lie on large particles, so that its own ones come late."""
LEAST_CANDIDATES = 40

BATCH = 64
"""Candidates that one task evaluates."""

SURE_SCORE = 20.0
LEAST_SURE = 5
"""The amplitude is the median of picks above this score, if there are so many."""

SMALL_RADIUS_VOXELS = 6.0
"""Classes whose amplitudes are biased upwards, being maxima over noise: they count only if there are no others."""

SETTLED = 0.05
"""Relative change of the amplitude below which candidates are not evaluated again."""

BEAD_MARGIN_VOXELS = 6.0
BACKGROUND = "background"


@dataclass(frozen=True, kw_only=True, eq=False)
class First:
    """What a first look without explaining away tells of a tomogram."""

    alpha: float
    prior: Floats
    """(templates,) logarithm of the expected density, per voxel."""
    candidates: Candidates
    record: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


class MultiClassLikelihood:
    """Score: log posterior odds against background. Picks above 0, best first; gold before them."""

    name = "tm-c"
    summary = "all classes together: whitened likelihoods of known amplitude, explaining away, posterior and runner-up"
    needs_templates = True

    def pick(self, target: PickTarget, bench: Workbench) -> Picks:
        prepared = prepare(target, bench)
        first = first_look(prepared, bench)
        decision = peel(prepared, bench, first.candidates, threshold=bench.picking.least_score)
        decoys = decoys_of(prepared, bench, first, decision) if bench.picking.decoys else None
        return as_picks(prepared, first, decision, gate=bench.picking.amplitude_gate, decoys=decoys)


def first_look(prepared: Prepared, bench: Workbench) -> First:
    """Amplitude and class densities from confident candidates, and all candidates under them."""
    target, settings = prepared.target, bench.picking
    voxels = float(np.prod(target.shape))
    expected = expected_count(target, bench)
    start = _log_density(np.full(len(prepared.models), expected), bench, voxels)
    places = allowed_places(prepared, bench)
    alpha, notices = settings.amplitude, []
    candidates = evaluated(prepared, bench, places, alpha, start)
    for _ in range(3):
        estimate = amplitude_of(candidates, prepared.models, target.voxel_size_angstrom)
        if estimate is None:
            notices.append(
                f"{target.name}: fewer than {LEAST_SURE} confident picks, the amplitude stays at {alpha:.2f} "
                "(picking.amplitude)"
            )
            break
        change = abs(estimate - alpha) / alpha
        if change < SETTLED:
            break
        alpha = estimate
        candidates = evaluated(prepared, bench, places, alpha, start)
    sure = plain_picks(candidates, prepared.models)
    counts = _class_counts(prepared.models, sure)
    prior = start
    if settings.expected_count is None:
        # One half from what is found, one half from what is expected: a factor of two moves a score by 0.7 only.
        mixed = {name: 0.5 * (count + expected) for name, count in counts.items()}
        prior = _log_density(np.array([mixed[m.class_id] for m in prepared.models]), bench, voxels)
    record = {
        "amplitude": alpha,
        "amplitude_estimated": not notices,
        "candidates": {m.source.template_id: len(at) for m, (at, _) in zip(prepared.models, places, strict=True)},
        "candidates_evaluated": len(candidates),
        "first_counts": counts,
        "expected_count": expected,
    }
    return First(
        alpha=alpha, prior=prior, candidates=candidates.with_prior(prior), record=record, notices=tuple(notices)
    )


def expected_count(target: PickTarget, bench: Workbench) -> float:
    """Particles of each class that are expected in a tomogram before it is looked at."""
    settings = bench.picking
    if settings.expected_count is not None:
        return float(settings.expected_count)
    return settings.expected_per_megavoxel * target.megavoxels


def decoys_of(prepared: Prepared, bench: Workbench, first: First, decision: Decision) -> Candidates:
    """What the same decision accepts in the negative of the residual, where nothing is a particle."""
    negative = negative_of(prepared, residual_of(prepared, bench, decision))
    places = allowed_places(prepared, bench, "negative")
    candidates = evaluated(negative, bench, places, first.alpha, first.prior)
    return peel(negative, bench, candidates, threshold=bench.picking.least_score).accepted


def allowed_places(prepared: Prepared, bench: Workbench, variable: str = "product") -> list[tuple[Ints, Floats]]:
    """Local maxima of every template's map away from beads and membranes."""
    target = prepared.target
    counts, margins = [], []
    for model in prepared.models:
        radius = model.source.radius_angstrom / target.voxel_size_angstrom
        density = PER_MEGAVOXEL_LARGE if radius >= LARGE_RADIUS_VOXELS else PER_MEGAVOXEL
        counts.append(max(LEAST_CANDIDATES, int(np.ceil(density * target.megavoxels))))
        margins.append(BEAD_MARGIN_VOXELS + 0.6 * radius)
    kept = []
    for (places, products), margin in zip(candidate_places(prepared, bench, counts, variable), margins, strict=True):
        clear = far_from_beads(places, prepared.beads.index, margin)
        if prepared.membranes is not None:
            clear &= ~prepared.membranes[tuple(places.T)]
        kept.append((places[clear], products[clear]))
    return kept


def evaluated(
    prepared: Prepared, bench: Workbench, places: Sequence[tuple[Ints, Floats]], alpha: float, prior: Floats
) -> Candidates:
    """All candidates of all templates at an amplitude: independent tasks, one a batch."""
    tasks, key = [], 0
    for number, (model, (at, _)) in enumerate(zip(prepared.models, places, strict=True)):
        for first in range(0, len(at), BATCH):
            some = at[first : first + BATCH]
            keys = np.arange(key + first, key + first + len(some))
            tasks.append(
                delayed(_evaluate, pure=False)(
                    prepared.whitened,
                    some,
                    keys,
                    prepared.level_at(some),
                    number,
                    model,
                    alpha,
                    float(prior[number]),
                    RESCORED_DOWN_TO,
                )
            )
        key += len(at)
    found = joined_candidates(bench.run(tasks, f"{prepared.target.name} posteriors"))
    return _refined(prepared, bench, found)


def _refined(prepared: Prepared, bench: Workbench, found: Candidates) -> Candidates:
    """The candidates, those refined that could be the best of their place."""
    radii = np.array([model.load_radius() for model in prepared.models])
    kept = np.array([model.load_kept_energy() for model in prepared.models])
    wanted = worth_refining(found, radii, kept)
    tasks = []
    for number, model in enumerate(prepared.models):
        rows = np.flatnonzero(wanted & (found.model == number))
        for first in range(0, len(rows), BATCH):
            some = found.take(rows[first : first + BATCH])
            tasks.append(delayed(_refine, pure=False)(prepared.whitened, some, model))
    results = bench.run(tasks, f"{prepared.target.name} refinement")
    together = joined_candidates([found.take(~wanted), *results])
    return together.take(np.argsort(together.key, kind="stable"))


def _refine(whitened: BlockSource, some: Candidates, handle: StoredModel) -> Candidates:
    return refine(whitened, some, model=handle.load())


def _evaluate(
    whitened: BlockSource,
    places: Ints,
    keys: Ints,
    levels: Floats,
    number: int,
    handle: StoredModel,
    alpha: float,
    prior: float,
    least_score: float,
) -> Candidates:
    return evaluate(
        whitened,
        places,
        keys,
        levels,
        number=number,
        model=handle.load(),
        alpha=alpha,
        prior=prior,
        least_score=least_score,
    )


def plain_picks(candidates: Candidates, models: Sequence[StoredModel]) -> Candidates:
    """Best first, without overlaps, nothing explained away."""
    radii = np.array([model.load_radius() for model in models])
    above = candidates.take(candidates.score > 0)
    order = above.take(above.best_first())
    kept = joint_exclusion(order.place, radii[order.model], order.score, overlap=1.0)
    return order.take(kept)


def amplitude_of(candidates: Candidates, models: Sequence[StoredModel], voxel_size_angstrom: float) -> float | None:
    """Median amplitude of the confident picks of classes that are not small; None if there are too few."""
    picks = plain_picks(candidates, models)
    sure = picks.take(picks.score > SURE_SCORE)
    large = np.array([m.source.radius_angstrom / voxel_size_angstrom >= SMALL_RADIUS_VOXELS for m in models])
    for chosen in (sure.take(large[sure.model]), sure):
        if len(chosen) >= LEAST_SURE:
            return float(np.median(chosen.amplitude))
    return None


def _class_counts(models: Sequence[StoredModel], picks: Candidates) -> dict[str, int]:
    counts = {model.class_id: 0 for model in models}
    for number in picks.model:
        counts[models[int(number)].class_id] += 1
    return counts


def _log_density(counts: Floats, bench: Workbench, voxels: float) -> Floats:
    """Of each template; several that stand for one class share its density."""
    classes = [template.class_id for template in bench.templates]
    shares = np.array([classes.count(name) for name in classes], dtype=np.float64)
    density: Floats = np.log(np.asarray(counts, dtype=np.float64) / (shares * voxels))
    return density


def as_picks(
    prepared: Prepared, first: First, decision: Decision, *, gate: bool, decoys: Candidates | None = None
) -> Picks:
    """Accepted candidates through the amplitude gate, best first, behind the gold."""
    target, models = prepared.target, prepared.models
    accepted = decision.accepted
    usual = usual_amplitudes(accepted, models) if gate else {}
    passed = gated(accepted, models, usual)
    order = np.array([row for row in accepted.best_first() if passed[row]], dtype=np.int64)
    chosen = accepted.take(order)
    names = np.array([models[int(number)].class_id for number in chosen.model], dtype=object)
    rivals, rival_scores = decision.rival_model[order], decision.rival_score[order]
    gold = bead_particles(target, prepared.beads)
    found = Particles.create(
        names.tolist(),
        target.centred_angstrom(chosen.place),
        tomogram=target.name,
        zxz_deg=zxz_deg_from_matrix(chosen.matrix) if len(chosen) else np.empty((0, 3)),
        score=chosen.score,
    )
    beaten = [models[r].class_id if s > 0 else BACKGROUND for r, s in zip(rivals, rival_scores, strict=True)]
    own: dict[str, npt.NDArray[Any]] = {
        "cryodaskPosterior": tempered_posterior(chosen.score, rival_scores),
        "cryodaskRunnerUpClass": np.array(beaten, dtype=object),
        "cryodaskMargin": chosen.score - np.maximum(rival_scores, 0.0),
        "cryodaskAmplitude": chosen.amplitude,
    }
    counts = {name: int(np.count_nonzero(names == name)) for name in dict.fromkeys(m.class_id for m in models)}
    record = {
        **first.record,
        **decision.record,
        "gated": int(np.count_nonzero(~passed)),
        "usual_amplitude": usual,
        "membrane_voxels": None if prepared.membranes is None else int(prepared.membranes.sum()),
        "picks_by_class": {GOLD_CLASS: len(gold), **counts},
    }
    if decoys is not None:
        false = decoys.take(gated(decoys, models, usual))
        own["cryodaskFalseDiscoveryRate"] = false_discovery_rate(chosen.score, false.score)
        record |= {
            "decoys": len(false),
            "estimated_precision": 1 - min(1.0, len(false) / len(chosen)) if len(chosen) else None,
        }
    of_gold: dict[str, Any] = {"cryodaskPosterior": 1.0, "cryodaskRunnerUpClass": BACKGROUND}
    columns = {
        name: np.concatenate([np.full(len(gold), of_gold.get(name, np.nan), values.dtype), values])
        for name, values in own.items()
    }
    return Picks(particles=concatenate([gold, found]), columns=columns, record=record, notices=first.notices)


def usual_amplitudes(accepted: Candidates, models: Sequence[StoredModel]) -> dict[str, float]:
    """By class, where enough picks are confident."""
    names = np.array([models[int(number)].class_id for number in accepted.model], dtype=object)
    found = {
        name: usual_amplitude(accepted.amplitude[names == name], accepted.score[names == name])
        for name in dict.fromkeys(m.class_id for m in models)
    }
    return {name: value for name, value in found.items() if value is not None}


def gated(candidates: Candidates, models: Sequence[StoredModel], usual: Mapping[str, float]) -> npt.NDArray[np.bool_]:
    """(n,) which candidates have an amplitude that suits their class."""
    passed = np.ones(len(candidates), dtype=bool)
    names = np.array([models[int(number)].class_id for number in candidates.model], dtype=object)
    for name, value in usual.items():
        mine = np.flatnonzero(names == name)
        passed[mine] = passes_gate(candidates.amplitude[mine], candidates.length[mine] * candidates.level[mine], value)
    return passed
