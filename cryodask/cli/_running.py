"""What every command that computes does first: notices, the plan's memory check, and the cluster it runs on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from cryodask.cli.options import Command
from cryodask.cluster.sizes import parse_size
from cryodask.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from cryodask.cluster import ClusterSpec
    from cryodask.model.structure import Structure
    from cryodask.params import RunParameters
    from cryodask.workflows.plan import StagePlan


def structures_option(command: Command) -> Command:
    """``--structures`` as ``structures: str``."""
    return click.option(
        "--structures",
        default="builtin",
        show_default=True,
        metavar="DIR|FILE|builtin",
        help="Folder of structures (with an assemblies.tsv or not), one PDB or mmCIF file, or the built-in set.",
    )(command)


def classes_option(command: Command) -> Command:
    """``--classes`` as ``classes: tuple[str, ...] | None``."""
    return click.option(
        "--classes",
        metavar="ID,ID...",
        callback=lambda _context, _option, text: split_names(text),
        help="Only these classes of the set.",
    )(command)


def split_names(text: str | None) -> tuple[str, ...] | None:
    """Names of a comma-separated list; None stays None."""
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise click.UsageError(f"--classes {text!r} names no class: give identifiers such as 1bxn,3cf3")
    return names


def chosen_structures(path: str, classes: tuple[str, ...] | None, parameters: RunParameters) -> tuple[Structure, ...]:
    """The structures to simulate, with what was left out said on standard error."""
    from cryodask.io.structures import load_structure_set

    sample = parameters.simulation.sample
    # Classes asked for by name are taken whatever they weigh.
    limits = sample.molecular_weight_kda if classes is None else None
    found = load_structure_set(path, classes, limits)
    notices(found.notices)
    return found.structures


def notices(lines: Iterable[str]) -> None:
    """Say what a user should know but need not act on."""
    for line in lines:
        click.echo(f"note: {line}", err=True)


def checked_memory(stages: Sequence[StagePlan], cluster: ClusterSpec) -> int:
    """Peak bytes per worker that the plan foresees; ConfigError with numbers if the cluster's workers have less."""
    from cryodask.workflows.plan import require_device_memory, require_memory

    limit = cluster.memory_limit_bytes
    if cluster.kind == "local":
        from cryodask.cluster.local import size_up

        limit = size_up(cluster)[1]
    elif cluster.kind == "cuda":
        from cryodask.cluster.cuda import device_memory_bytes

        require_device_memory(stages, device_memory_bytes(cluster))
    elif limit is None and (memory := getattr(cluster.site, "memory", None)) is not None:
        limit = parse_size(memory)
    return require_memory(stages, limit)


def command_line() -> str:
    """This call as it could be typed again."""
    return shlex.join(["cryodask", *sys.argv[1:]])


def output_store(path: Path) -> str:
    """``path`` if it can name a data set, else ConfigError."""
    if path.suffix != ".zarr":
        raise ConfigError(f"--output {path}: a data set's name ends in .zarr")
    return str(path)


def output_folder(path: Path) -> Path:
    """``path`` if it can be a folder of results, else ConfigError: a data set is none."""
    if path.suffix == ".zarr" or (path / "zarr.json").exists():
        raise ConfigError(f"--output {path} names a data set: give a folder for the results")
    return path
