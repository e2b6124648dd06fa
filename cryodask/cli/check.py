"""``cryodask check``."""

from __future__ import annotations

from pathlib import Path

import click

from cryodask.cli.options import InputPath, verbose_option


@click.command(short_help="Check a data set: every group, every chunk.")
@click.argument("data", type=InputPath(), required=False, metavar="DATA.zarr")
@click.option("--gpu", is_flag=True, help="Check this machine's GPUs: kernels against the host, a worker on each.")
@verbose_option
def check(data: Path | None, gpu: bool) -> None:
    """Check a data set: lists its groups and reads every stored chunk against its checksum.

    Ends with exit code 3 at the first damage, naming the file, and 0 if all is well. Incomplete groups are listed.
    With --gpu: every portable kernel on the GPU against the host, with times, then a GPU worker on each device.
    """
    if data is None and not gpu:
        raise click.UsageError("give a DATA.zarr, or --gpu")
    if data is not None:
        from cryodask.workflows.check import check_store

        for line in check_store(data):
            click.echo(line)
    if gpu:
        from cryodask.cli.check_gpu import check_gpu

        check_gpu()
