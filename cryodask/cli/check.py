"""``cryodask check``."""

from __future__ import annotations

from pathlib import Path

import click

from cryodask.cli.options import InputPath, verbose_option


@click.command(short_help="Check a data set: every group, every chunk.")
@click.argument("data", type=InputPath(), metavar="DATA.zarr")
@verbose_option
def check(data: Path) -> None:
    """Check a data set: lists its groups and reads every stored chunk against its checksum.

    Ends with exit code 3 at the first damage, naming the file, and 0 if all is well. Incomplete groups are listed.
    """
    from cryodask.workflows.check import check_store

    for line in check_store(data):
        click.echo(line)
