"""How far a batch is, from its journal alone: by stage, at what rate, with how much left, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryodask.workflows.batch_journal import BatchState
from cryodask.workflows.batch_manifest import STAGES

RATE_EVENTS = 200
"""Rates are those of the last stages done, so that a pause last night does not count."""


def summarise(state: BatchState) -> dict[str, Any]:
    """Counts by stage and over all, with the failures; plain values for JSON."""
    total = len(state.entries)
    done = sum(entry.name not in state.failed and state.is_done(entry) for entry in state.entries.values())
    stages = {}
    for stage in STAGES:
        names = [entry.name for entry in state.entries.values() if stage in entry.stages]
        if not names:
            continue
        events = [state.done[name, stage] for name in names if (name, stage) in state.done]
        failed = sum(name in state.failed and state.failed[name].stage == stage for name in names)
        rate = _rate_per_hour([float(event["t"]) for event in events])
        left = len(names) - len(events) - failed
        stages[stage] = {
            "tomograms": len(names),
            "done": len(events),
            "failed": failed,
            "pending": left,
            "mean_seconds": sum(float(e["seconds"]) for e in events) / len(events) if events else None,
            "per_hour": rate,
        }
    return {
        "tomograms": total,
        "done": done,
        "failed": len(state.failed),
        "pending": total - done - len(state.failed),
        "remaining_seconds": _remaining(stages),
        "stages": stages,
        "failures": [
            {"name": name, "stage": failure.stage, "reason": failure.reason} for name, failure in state.failed.items()
        ],
    }


def _rate_per_hour(times: Sequence[float]) -> float | None:
    recent = sorted(times)[-RATE_EVENTS:]
    if len(recent) < 2 or recent[-1] <= recent[0]:
        return None
    return 3600 * (len(recent) - 1) / (recent[-1] - recent[0])


def _remaining(stages: dict[str, dict[str, Any]]) -> float | None:
    """Stages run side by side: the one that takes longest decides. None where a rate is not known yet."""
    times = []
    for stage in stages.values():
        if stage["pending"] and not stage["per_hour"]:
            return None
        if stage["pending"]:
            times.append(3600 * stage["pending"] / stage["per_hour"])
    return max(times, default=0.0)
