"""``cryodask batch status``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cryodask.cli.options import OutputFile, verbose_option

FAILURES_SHOWN = 20


@click.command(short_help="Show how far a batch is, and what failed.")
@click.argument("run", type=click.Path(path_type=Path), metavar="MANIFEST|RUN")
@click.option("--json", "json_file", type=OutputFile(), help="Write the numbers and all failures here.")
@verbose_option
def status(run: Path, json_file: Path | None) -> None:
    """Show how far a batch is, whether it runs or not.

    RUN is the folder that `batch run -o` named, or the manifest if that was left out.
    """
    from cryodask.workflows.batch_journal import read_state
    from cryodask.workflows.batch_status import summarise
    from cryodask.workflows.picks_folder import write_json

    found = summarise(read_state(run_folder(run)))
    if json_file is not None:
        write_json(json_file, found)
    click.echo(table(found))


def run_folder(path: Path) -> Path:
    """The folder itself, or the one that a manifest's run has by default: its name without the ending."""
    return path if path.is_dir() else path.with_suffix("")


def table(found: dict[str, Any]) -> str:
    """The summary as lines for a terminal."""
    left = found["remaining_seconds"]
    time_left = f", about {_duration(left)} left" if found["pending"] and left is not None else ""
    lines = [
        f"{found['tomograms']} tomograms: {found['done']} done, {found['failed']} failed, "
        f"{found['pending']} to do{time_left}",
        f"{'stage':<12}{'done':>8}{'failed':>8}{'to do':>8}{'mean':>10}{'per hour':>10}",
    ]
    for name, stage in found["stages"].items():
        mean = "-" if stage["mean_seconds"] is None else f"{stage['mean_seconds']:.1f} s"
        rate = "-" if stage["per_hour"] is None else f"{stage['per_hour']:.3g}"
        lines.append(f"{name:<12}{stage['done']:>8}{stage['failed']:>8}{stage['pending']:>8}{mean:>10}{rate:>10}")
    shown = found["failures"][:FAILURES_SHOWN]
    lines += [f"failed: {failure['name']}, {failure['stage']}: {failure['reason']}" for failure in shown]
    if len(found["failures"]) > len(shown):
        lines.append(f"and {len(found['failures']) - len(shown)} more failures (--json FILE has them all)")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 7200
        else f"{seconds / 60:.0f} min"
        if seconds >= 120
        else (f"{seconds:.0f} s")
    )
