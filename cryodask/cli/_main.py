"""The ``cryodask`` command: its table of subcommands, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click
from click.shell_completion import shell_complete

from cryodask._version import __version__
from cryodask.cli._failures import BROKEN_PIPE, explain, reader_is_gone, silence_stdout
from cryodask.cli._group import LazyGroup
from cryodask.cli.options import Settings, verbose_option

NAME = "cryodask"
COMPLETION_VARIABLE = "_CRYODASK_COMPLETE"

COMMANDS: dict[str, tuple[str, str]] = {
    "simulate": ("cryodask.cli.simulate:simulate", "Simulate tilt series with full truth."),
    "reconstruct": ("cryodask.cli.reconstruct:reconstruct", "Reconstruct tomograms from tilt series."),
    "match": ("cryodask.cli.match:match", "Search tomograms for templates."),
    "pick": ("cryodask.cli.pick:pick", "Find particles by any picker."),
    "evaluate": ("cryodask.cli.evaluate:evaluate", "Score picks against the truth."),
    "benchmark": ("cryodask.cli.benchmark:benchmark", "Simulate, reconstruct, match, evaluate and report."),
    "import": ("cryodask.cli.import_:import_", "Make a data set of the files of other programs."),
    "export": ("cryodask.cli.export:export", "Write a data set in the formats of other programs."),
    "batch": ("cryodask.cli.batch:batch", "Run many tomograms, resumable."),
    "structures": ("cryodask.cli.structures:structures", "List, describe or fetch structures."),
    "templates": ("cryodask.cli.templates:templates", "Make templates of structures or maps."),
    "check": ("cryodask.cli.check:check", "Check a data set: every group, every chunk."),
    "plan": ("cryodask.cli.plan:plan", "Show what a benchmark takes: tasks, bytes and memory."),
    "cluster": ("cryodask.cli.cluster:cluster", "Start, describe or stop a cluster."),
    "info": ("cryodask.cli.info:info", "Show versions, processors, memory and GPUs."),
}


@click.group(
    name=NAME,
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name=NAME)
@verbose_option
def cli() -> None:
    """Cryo-electron tomography from atoms to a scored list of particles.

    Exit codes: 0 done, 1 internal error, 2 usage, configuration or too little memory, 3 data, 4 cluster, 5 part of a
    batch failed, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments`` (default: the process's own) and return its exit code."""
    if instruction := os.environ.get(COMPLETION_VARIABLE):
        return shell_complete(cli, {}, NAME, COMPLETION_VARIABLE, instruction)
    settings = Settings()
    try:
        with cli.make_context(NAME, list(sys.argv[1:] if arguments is None else arguments), obj=settings) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError as error:
        if not reader_is_gone():
            return _report(error, settings)
        silence_stdout()
        return BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the last place that can turn it into a message)
        return _report(error, settings)
    return 0


def _report(error: BaseException, settings: Settings) -> int:
    exit_code, message = explain(error)
    if settings.verbosity >= 2:
        traceback.print_exception(error)
    click.echo(f"error: {message}", err=True)
    return exit_code
