"""Options that several commands share. Importing this module costs nothing beyond click."""

from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import click

from cryodask.cluster.spec import START_KINDS, ClusterSpec, parse_size
from cryodask.errors import ConfigError, DataError

Command: TypeAlias = Callable[..., Any]


@dataclass
class Settings:
    """What holds for the whole call rather than for one command; click carries it as the context's object."""

    verbosity: int = 0


class MemorySize(click.ParamType[int]):
    """A size with a unit, such as 4GiB; bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


class InputPath(click.Path):
    """A file or folder that must exist; unlike click's own check, its absence is an error of the data (exit code 3)."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        return path


class OutputFile(click.Path):
    """A file to be written at the end: that its folder is missing should not show after hours (exit code 3)."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            raise DataError(f"cannot write {path}: there is no folder {path.parent}; make it first")
        return path


class OutputFolder(click.Path):
    """A folder that is made at the end, in one that exists; a file in its place is an error of the data."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.exists() and not path.is_dir():
            raise DataError(f"cannot make the folder {path}: a file of that name is in the way")
        if not path.parent.is_dir():
            raise DataError(f"cannot make the folder {path}: there is no folder {path.parent}; make it first")
        return path


class ClassWeight(click.ParamType[tuple[str, float]]):
    """A class and its weight, such as ribosome=2."""

    name = "class=weight"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:  # noqa: ANN401
        name, _, number = str(value).rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not name or not (math.isfinite(weight) and weight >= 0):
            self.fail(f"{value!r} is not CLASS=WEIGHT with a weight from 0 on, for example ribosome=2", param, ctx)
        return name, weight


def verbose_option(command: Command) -> Command:
    """``-v``: messages of progress; ``-vv``: also details, and tracebacks of errors. Takes no argument of its own."""
    return click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=_set_verbosity,
        help="Say more; -vv shows tracebacks too.",
    )(command)


def _set_verbosity(context: click.Context, _: click.Parameter, value: int) -> None:
    settings = context.find_root().ensure_object(Settings)
    settings.verbosity = max(settings.verbosity, value)
    if settings.verbosity:
        logger = logging.getLogger("cryodask")
        logger.setLevel(logging.DEBUG if settings.verbosity > 1 else logging.INFO)
        if not logger.handlers:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
            logger.addHandler(handler)


def cluster_options(command: Command) -> Command:
    """``--cluster``, ``--scheduler``, ``--workers`` and the like as one argument ``cluster: ClusterSpec``."""

    @functools.wraps(command)
    def with_cluster(
        *args: Any,  # noqa: ANN401
        cluster: str | None,
        scheduler: str | None,
        workers: int | None,
        memory_limit: int | None,
        cluster_config: Path | None,
        tls: Path | None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        if scheduler is not None and cluster is not None:
            raise click.UsageError("--scheduler joins a running cluster and --cluster starts one: give one of them")
        kind = "existing" if scheduler is not None else cluster or "local"
        spec = ClusterSpec(
            kind=kind,
            workers=workers,
            memory_limit_bytes=memory_limit,
            **_joined(scheduler, tls),
            site=None if cluster_config is None else _site(cluster_config, kind),
        )
        return command(*args, cluster=spec, **kwargs)

    return _decorate(
        with_cluster,
        click.option("--cluster", type=click.Choice(START_KINDS), help="Where the work runs.  [default: local]"),
        click.option(
            "--scheduler",
            metavar="ADDRESS|FOLDER",
            help="Join the running Dask cluster at tcp://HOST:PORT or tls://HOST:PORT, or of `cryodask cluster start`.",
        ),
        click.option("--workers", type=click.IntRange(min=1), help="Worker processes.  [default: one a processor]"),
        click.option(
            "--memory-limit", type=MemorySize(), help="Memory of each worker, e.g. 4GiB.  [default: its share]"
        ),
        click.option(
            "--cluster-config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Settings of a cuda, slurm or kubernetes cluster (YAML or TOML).",
        ),
        click.option(
            "--tls", type=InputPath(), metavar="FOLDER", help="Certificates (ca.pem, cert.pem, key.pem) of --scheduler."
        ),
    )


def _joined(scheduler: str | None, tls: Path | None) -> dict[str, Any]:
    """Address and certificates of a running cluster, from its folder where one is named."""
    from cryodask.cluster.folder import is_cluster_folder, read_cluster_folder
    from cryodask.cluster.tls import TlsFiles

    if scheduler is not None and is_cluster_folder(Path(scheduler)):
        running = read_cluster_folder(Path(scheduler))
        return {"scheduler": running.address, "tls": running.tls}
    return {"scheduler": scheduler, "tls": None if tls is None else TlsFiles(str(tls.absolute()))}


def _site(path: Path, kind: str) -> Any:  # noqa: ANN401
    from cryodask.cluster.site import read_site

    return read_site(path, kind)


def parameter_options(default_preset: str | None = None) -> Callable[[Command], Command]:
    """``--preset``, ``--config``, ``--set`` as one argument ``parameters: RunParameters``.

    ``default_preset`` holds when neither a preset nor a file is given. Every stage command takes the whole
    RunParameters and uses its part, so that one file serves them all.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_parameters(
            *args: Any,  # noqa: ANN401
            preset: str | None,
            config: Path | None,
            settings: tuple[str, ...],
            **kwargs: Any,  # noqa: ANN401
        ) -> Any:  # noqa: ANN401
            from cryodask.params import RunParameters, load_parameters

            chosen = preset or (default_preset if config is None else None)
            parameters = load_parameters(RunParameters, preset=chosen, config=config, overrides=settings)
            return command(*args, parameters=parameters, **kwargs)

        default = f"  [default: {default_preset}]" if default_preset else ""
        return _decorate(
            with_parameters,
            click.option("--preset", metavar="NAME", help=f"A named set of parameters: quick or shrec2021.{default}"),
            click.option("--config", type=click.Path(path_type=Path), help="Parameters from a YAML or TOML file."),
            click.option(
                "--set",
                "settings",
                metavar="PATH=VALUE",
                multiple=True,
                help="One parameter, e.g. matching.angular_step_deg=10; repeatable, wins over --config.",
            ),
        )

    return decorate


def overwrite_option(command: Command) -> Command:
    """``--overwrite`` as ``overwrite: bool``."""
    return click.option("--overwrite", is_flag=True, help="Replace what is already there instead of refusing.")(command)


def performance_report_option(command: Command) -> Command:
    """``--performance-report`` as ``performance_report: Path | None``."""
    return click.option(
        "--performance-report",
        type=OutputFile(),
        help="Write Dask's performance report to this HTML file.",
    )(command)


def _decorate(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
