"""``benchmark``: simulate, reconstruct, match, evaluate and report, in one folder that can be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client

from cryodask.io.store import Store
from cryodask.model.progress import Progress
from cryodask.model.structure import Structure
from cryodask.params.loader import to_dict
from cryodask.params.schema import RunParameters
from cryodask.workflows.defocus import defocus_of_store
from cryodask.workflows.evaluate import evaluate, find_truths, with_conditions
from cryodask.workflows.match import MatchJob, MatchResult, match
from cryodask.workflows.picks_folder import make_folder, write_json, write_picks
from cryodask.workflows.reconstruct import ReconstructJob, reconstruct
from cryodask.workflows.report import write_report
from cryodask.workflows.run_record import TimedProgress, peak_memory_bytes, read_record, versions
from cryodask.workflows.search_inputs import templates_of_store, tomograms_of_store
from cryodask.workflows.signal import measure_snr
from cryodask.workflows.simulate import SimulateJob, simulate

MODES = ("shrec21", "strict")

DATA, PICKS, EVALUATION, REPORT, RECORD = "data.zarr", "picks", "evaluation.json", "report.html", "run.json"


@dataclass(frozen=True, kw_only=True)
class BenchmarkJob:
    """One benchmark: which structures, which parameters, which random numbers."""

    structures: tuple[Structure, ...]
    parameters: RunParameters
    seed: int
    command: str = ""

    def simulation(self) -> SimulateJob:
        """Its first stage."""
        return SimulateJob(
            structures=self.structures,
            parameters=self.parameters.simulation,
            models=self.parameters.models,
            seed=self.seed,
        )


def benchmark(
    folder: Path,
    job: BenchmarkJob,
    *,
    client: Client | None,
    progress: Progress,
    planned_bytes: int | None = None,
    overwrite: bool = False,
) -> dict[str, dict[str, Any]]:
    """Run the whole chain in ``folder``; what is complete there already is kept. Returns the evaluations by mode."""
    simulation = job.simulation()
    make_folder(folder)
    earlier = read_record(folder / RECORD)
    timed = TimedProgress(progress, earlier.get("seconds"))
    store = Store(folder / DATA)
    models = simulate(store, simulation, client=client, progress=timed, overwrite=overwrite)
    for image in ("counts", "noise_free"):
        reconstruction = ReconstructJob(parameters=job.parameters.reconstruction, image=image)
        reconstruct(store, store, reconstruction, client=client, progress=timed, overwrite=overwrite)
    snr = measure_snr(store, models, client=client, progress=timed)
    snr_all = measure_snr(store, models, client=client, progress=timed, all_classes=True)
    result = _match(folder, store, job, client, timed, overwrite)
    truths = find_truths(folder / DATA)
    conditions = {"snr": snr, "defocus_um": defocus_of_store(store, models)}
    evaluations = {
        mode: with_conditions(evaluate(truths, result.picks, mode, client=client, progress=timed), conditions)
        for mode in MODES
    }
    write_json(folder / EVALUATION, evaluations)
    record = {
        "command": job.command,
        "seed": job.seed,
        "parameters": to_dict(job.parameters),
        "structures": [
            {
                "id": s.info.class_id,
                "name": s.info.name,
                "source": s.info.source,
                "molecular_weight_kda": s.info.molecular_weight_kda,
            }
            for s in job.structures
        ],
        "snr": snr,
        "snr_all_classes": snr_all,
        "match": result.record,
        "seconds": timed.seconds,
        "planned_memory_bytes_per_worker": planned_bytes,
        "peak_memory_bytes_per_worker": max(
            peak_memory_bytes(client), int(earlier.get("peak_memory_bytes_per_worker", 0))
        ),
        "versions": versions(),
    }
    write_json(folder / RECORD, record)
    if not (folder / REPORT).exists() or _lasting(record) != _lasting(earlier):
        write_report(folder / REPORT, data=store, picks=result.picks, evaluations=evaluations, run=record)
    return evaluations


def _lasting(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a record does not differ from one run of the same command to the next."""
    search = {key: value for key, value in record.get("match", {}).items() if key != "seconds"}
    passing = ("seconds", "peak_memory_bytes_per_worker", "match")
    return {**{key: value for key, value in record.items() if key not in passing}, "match": search}


def _match(
    folder: Path, store: Store, job: BenchmarkJob, client: Client | None, progress: Progress, overwrite: bool
) -> MatchResult:
    search = MatchJob(
        tomograms=tuple(tomograms_of_store(store)),
        templates=tuple(templates_of_store(store, [s.info.class_id for s in job.structures])),
        parameters=job.parameters.matching,
    )
    result = match(store, search, client=client, progress=progress, overwrite=overwrite)
    write_picks(folder / PICKS, search, result)
    return result
