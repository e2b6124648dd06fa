"""``cryodask batch``."""

from __future__ import annotations

import click

from cryodask.cli._group import LazyGroup

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("cryodask.cli.batch_run:run", "Send many tomograms through their stages, or go on with them."),
    "status": ("cryodask.cli.batch_status:status", "Show how far a batch is, and what failed."),
    "retry": ("cryodask.cli.batch_run:retry", "Run the tomograms again that failed."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, short_help="Run many tomograms, resumable.")
def batch() -> None:
    """Run many tomograms through reconstruction, matching and evaluation.

    Whatever ends a run, the same command goes on with it. A tomogram that fails is recorded and the rest goes on; the
    exit code is then 5.
    """
