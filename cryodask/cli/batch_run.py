"""``cryodask batch run`` and ``cryodask batch retry``."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryodask.cli._running import classes_option, command_line, notices, output_folder
from cryodask.cli.batch_status import run_folder, table
from cryodask.cli.options import (
    InputPath,
    cluster_options,
    overwrite_option,
    parameter_options,
    performance_report_option,
    verbose_option,
)
from cryodask.errors import ConfigError

if TYPE_CHECKING:
    from cryodask.cluster import ClusterSpec
    from cryodask.params import RunParameters
    from cryodask.workflows.batch_journal import Journal
    from cryodask.workflows.batch_manifest import Entry
    from cryodask.workflows.batch_request import BatchRequest
    from cryodask.workflows.batch_run import Arrivals

PART_FAILED = 5


@click.command(short_help="Send many tomograms through their stages, or go on with them.")
@click.argument("manifest", type=InputPath(), required=False)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder of the run.  [default: MANIFEST without its ending]"
)
@click.option("--stages", metavar="NAME,NAME...", help="For entries that name none.  [default: reconstruct,match]")
@click.option(
    "--templates",
    multiple=True,
    metavar="DIR|FILE|builtin",
    help="As for `cryodask match`; repeatable.  [default: the structures of each tomogram's data set]",
)
@classes_option
@click.option("--template-voxel-size", type=float, metavar="ANGSTROM", help="Of MRC templates.")
@click.option("--contrast", type=click.Choice(["dark", "bright"]), default="dark", show_default=True)
@click.option(
    "--mode", type=click.Choice(["strict", "shrec21", "czii"]), default="strict", show_default=True, help="Of evaluate."
)
@click.option("--drop-maps", is_flag=True, help="Remove each tomogram's score maps once its picks are written.")
@click.option("--watch", type=InputPath(), metavar="FOLDER", help="Also take what arrives here, once it is whole.")
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long something in --watch must not have changed to be taken.",
)
@click.option(
    "--idle-exit",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="End the watch after so long without work.  [default: never]",
)
@parameter_options()
@cluster_options
@overwrite_option
@performance_report_option
@verbose_option
def run(
    manifest: Path | None,
    output: Path | None,
    stages: str | None,
    templates: tuple[str, ...],
    classes: tuple[str, ...] | None,
    template_voxel_size: float | None,
    contrast: str,
    mode: str,
    drop_maps: bool,
    watch: Path | None,
    settle: float,
    idle_exit: float | None,
    parameters: RunParameters,
    cluster: ClusterSpec,
    overwrite: bool,
    performance_report: Path | None,
) -> None:
    """Send the tomograms of a manifest through their stages; the same command again goes on where it stopped.

    MANIFEST is a CSV, YAML or STAR file with a line a tomogram: tilt_series or tomogram, and optionally name, model,
    stages, voxel_size_angstrom, tilt_angles, truth. Results go to OUTPUT/tomograms/NAME. Tomograms that failed are
    left alone: `cryodask batch retry` runs them again.
    """
    from cryodask.workflows.batch_manifest import read_manifest
    from cryodask.workflows.batch_request import BatchRequest

    if manifest is None and watch is None:
        raise click.UsageError("give a MANIFEST, or --watch FOLDER, or both")
    if manifest is None and output is None:
        raise click.UsageError("--watch without a MANIFEST needs -o RUN")
    folder = output_folder(output if output is not None else run_folder(manifest or Path()))
    chosen = _stages(stages)
    entries = () if manifest is None else read_manifest(manifest, stages=chosen)
    request = BatchRequest(
        parameters=parameters,
        templates=tuple(path if path == "builtin" else str(Path(path).absolute()) for path in templates),
        classes=classes,
        template_voxel_size_angstrom=template_voxel_size,
        dark=contrast == "dark",
        mode=mode,
        keep_maps=not drop_maps,
        file_binning=None if _parameters_given() else 1,
        command=command_line(),
    )

    def arrivals(journal: Journal) -> Arrivals | None:
        from cryodask.workflows.batch_watch import WatchedFolder

        if watch is None:
            return None
        return WatchedFolder(
            watch,
            known=[*journal.state.entries.values(), *entries],
            stages=chosen,
            settle_seconds=settle,
            idle_exit_seconds=idle_exit,
            notice=lambda line: notices([line]),
        )

    _run(folder, request, entries, cluster, overwrite, performance_report, arrivals)


@click.command(short_help="Run the tomograms again that failed.")
@click.argument("run", type=click.Path(path_type=Path), metavar="MANIFEST|RUN")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--fresh", is_flag=True, help="Remove what these tomograms have made so far, for damaged results.")
@cluster_options
@performance_report_option
@verbose_option
def retry(
    run: Path, names: tuple[str, ...], fresh: bool, cluster: ClusterSpec, performance_report: Path | None
) -> None:
    """Run the tomograms of a batch again that failed, or those named, with the options of `batch run`."""
    from cryodask.workflows.batch_request import BatchRequest

    folder = run_folder(run)
    request = BatchRequest.read(folder)
    _run(folder, request, None, cluster, False, performance_report, None, again=(names, fresh))


def _run(
    folder: Path,
    request: BatchRequest,
    entries: Iterable[Entry] | None,
    cluster: ClusterSpec,
    overwrite: bool,
    report: Path | None,
    arrivals: object,
    again: tuple[Sequence[str], bool] | None = None,
) -> None:
    from cryodask.cli.progress import make_progress
    from cryodask.cli.session import open_session
    from cryodask.cluster.batch_page import page_link, publisher
    from cryodask.workflows.batch_journal import open_journal
    from cryodask.workflows.batch_run import run_batch
    from cryodask.workflows.batch_status import summarise
    from cryodask.workflows.picks_folder import make_folder

    make_folder(folder)
    progress = make_progress()
    with open_journal(folder) as journal:
        if again is None:
            request.write(folder)
        else:
            entries = _failed(journal, folder, *again)
        with open_session(cluster, report) as session:
            if (link := page_link(session.dashboard_link)) is not None:
                click.echo(f"batch: {link}", err=True)
            settings = request.settings(
                folder, client=session.client, progress=progress, overwrite=overwrite, notice=lambda n: notices([n])
            )
            result = run_batch(
                journal,
                entries or (),
                settings,
                client=session.client,
                progress=progress,
                arrivals=arrivals(journal) if callable(arrivals) else None,
                observe=publisher(session),
            )
        found = summarise(journal.state)
    click.echo(table(found))
    if found["failed"]:
        click.echo(
            f"error: {result.failed} of {result.tomograms} tomograms failed; `cryodask batch retry {folder}` "
            "runs them again",
            err=True,
        )
        raise click.exceptions.Exit(PART_FAILED)


def _failed(journal: Journal, folder: Path, names: Sequence[str], fresh: bool) -> list[Entry]:
    from cryodask.workflows.batch_run import forget_failures
    from cryodask.workflows.batch_stages import TOMOGRAMS

    unknown = [name for name in names if name not in journal.state.entries]
    if unknown:
        raise ConfigError(f"{folder} has no tomogram {unknown[0]!r}")

    def remove(entry: Entry) -> None:
        shutil.rmtree(folder / TOMOGRAMS / entry.name, ignore_errors=True)

    return forget_failures(journal, names, fresh=fresh, remove=remove)


def _parameters_given() -> bool:
    """A microscope's images are as large as their user wants them: as in `reconstruct`, nobody bins them unasked."""
    given = click.get_current_context().params
    return any(given.get(name) for name in ("preset", "config", "settings"))


def _stages(text: str | None) -> tuple[str, ...] | None:
    from cryodask.workflows.batch_manifest import STAGES

    if text is None:
        return None
    chosen = tuple(word for word in text.replace(",", " ").split())
    unknown = [word for word in chosen if word not in STAGES]
    if unknown or not chosen:
        raise click.UsageError(f"--stages {text!r}: choose among {', '.join(STAGES)}")
    return chosen
