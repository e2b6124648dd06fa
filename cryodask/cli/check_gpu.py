"""``cryodask check --gpu``: everything that a machine with a GPU can tell and no other can."""

from __future__ import annotations

import click

from cryodask.errors import BackendError, ClusterError


def check_gpu() -> None:
    """Kernels on the first GPU against the host, then a worker on every GPU. BackendError or ClusterError if not."""
    from cryodask.backend.devices import cuda_device
    from cryodask.cluster import ClusterSpec, connect
    from cryodask.workflows.device_check import LARGE, SMALL, check_device

    try:
        device, move = cuda_device()
    except BackendError as error:  # nothing of ours is wrong: there is nothing to work on
        raise ClusterError(str(error)) from error
    click.echo(f"device: {device}")
    wrong = []
    for size in (SMALL, LARGE):
        for result in check_device(move, size):
            click.echo(f"{size} voxels a side, {result}")
            wrong += [] if result.ok else [result.name]
    if wrong:
        raise BackendError(f"this GPU does not compute as the host does: {', '.join(sorted(set(wrong)))}")
    with connect(ClusterSpec(kind="cuda")) as session:
        assert session.client is not None
        for worker, answer in session.client.run(sum_on_device).items():
            click.echo(f"worker {worker}: {answer}")
    click.echo("all checks passed")


def sum_on_device() -> str:
    """Run in a worker: its device, and that it can add."""
    import os

    import numpy as np

    from cryodask.backend import to_host
    from cryodask.backend.devices import cuda_device

    device, move = cuda_device()
    total = float(to_host(move(np.arange(1000.0)).sum()))
    if total != 499_500:
        raise BackendError(f"{device} adds 0 to 999 to {total}")
    return f"GPU {os.environ.get('CUDA_VISIBLE_DEVICES', '?')}: {device}"
