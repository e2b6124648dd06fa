"""A batch whose stages do nothing: what remains is the leader's and the scheduler's own work.

Prints one line of JSON. Run as a script, so that the memory of this process is the leader's alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from pathlib import Path

from cryodask.cluster import ClusterSpec, connect
from cryodask.cluster.folder import read_cluster_folder
from cryodask.model.progress import NullProgress
from cryodask.params.schema import RunParameters
from cryodask.workflows import batch_manifest, batch_run
from cryodask.workflows.batch_journal import open_journal
from cryodask.workflows.batch_lanes import WholeLane
from cryodask.workflows.batch_manifest import Entry
from cryodask.workflows.batch_stages import BatchSettings, Outcome

STAGES = ("reconstruct", "match", "evaluate", "report")


def nothing(entry: Entry, stage: str, token: str, settings: BatchSettings, before: Outcome | None = None) -> Outcome:
    """A stage that is done at once."""
    return Outcome(name=entry.name, stage=stage, token=token)


def peak_bytes(pid: int | str = "self") -> int:
    """Largest resident memory of a process so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


def processor_seconds(pid: int | str) -> float:
    """Of all threads of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def make_entries(count: int, token: str) -> list[Entry]:
    batch_manifest.STAGES = STAGES  # type: ignore[assignment]
    batch_run.fingerprints = lambda entry, settings: dict.fromkeys(entry.stages, token)  # type: ignore[attr-defined]
    return [Entry(name=f"t{i:05}", stages=STAGES, tilt_series="/data.zarr") for i in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cluster", type=Path, help="folder of `cryodask cluster start`")
    parser.add_argument("--tomograms", type=int, default=10_000)
    chosen = parser.parse_args()
    entries = make_entries(chosen.tomograms, "0" * 64)
    running = read_cluster_folder(chosen.cluster)
    with (
        tempfile.TemporaryDirectory() as folder,
        connect(ClusterSpec(kind="existing", scheduler=running.address, tls=running.tls)) as session,
        open_journal(Path(folder)) as journal,
    ):
        assert session.client is not None
        settings = BatchSettings(folder=folder, parameters=RunParameters())
        lane = WholeLane(session.client, settings, nothing)
        before = processor_seconds("self"), processor_seconds(running.process_id)
        started = time.perf_counter()
        done = batch_run.run_batch(
            journal, entries, settings, client=session.client, progress=NullProgress(), lane=lane
        )
        seconds = time.perf_counter() - started
        after = processor_seconds("self"), processor_seconds(running.process_id)
    steps = len(STAGES) * chosen.tomograms
    result = {
        "tomograms": done.done,
        "steps": steps,
        "seconds": seconds,
        "steps_per_second": steps / seconds,
        "leader_processor_seconds": after[0] - before[0],
        "scheduler_processor_seconds": after[1] - before[1],
        "leader_peak_bytes": peak_bytes(),
        "scheduler_peak_bytes": peak_bytes(running.process_id),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
