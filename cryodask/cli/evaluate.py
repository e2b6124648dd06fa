"""``cryodask evaluate``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryodask.cli.options import ClassWeight, InputPath, OutputFile, OutputFolder, cluster_options, verbose_option

if TYPE_CHECKING:
    from cryodask.cluster import ClusterSpec


@click.command(short_help="Score picks against the truth.")
@click.argument("picks", type=InputPath(), nargs=-1, required=True, metavar="PICKS...")
@click.option(
    "--truth",
    type=InputPath(),
    multiple=True,
    required=True,
    help="Data set or SHREC model folder; several pair up with PICKS in order.",
)
@click.option(
    "--mode",
    type=click.Choice(["strict", "shrec21", "czii"]),
    default="strict",
    show_default=True,
    help="strict matches one to one within a distance; shrec21 counts as the benchmark of 2021 did, czii as the "
    "challenge of 2024.",
)
@click.option("--json", "json_file", type=OutputFile(), help="Write the numbers here.")
@click.option("--csv", "csv_folder", type=OutputFolder(), help="Write the same numbers as CSV tables into this folder.")
@click.option(
    "--report",
    "report_file",
    type=OutputFile(),
    help="Write tables, figures and slices as one HTML file that needs no other.",
)
@click.option(
    "--class-weight",
    "class_weights",
    type=ClassWeight(),
    multiple=True,
    metavar="CLASS=WEIGHT",
    help="Weight of a class in the score of mode czii, 1 unless given; repeatable.",
)
@click.option(
    "--compare",
    "others",
    multiple=True,
    metavar="PICKS|RUN|paper",
    help="Set beside it: other picks, the JSON file or run folder of an earlier evaluation, or the paper's eight "
    "submissions; repeatable.",
)
@cluster_options
@verbose_option
def evaluate(
    picks: tuple[Path, ...],
    truth: tuple[Path, ...],
    mode: str,
    json_file: Path | None,
    csv_folder: Path | None,
    report_file: Path | None,
    class_weights: tuple[tuple[str, float], ...],
    others: tuple[str, ...],
    cluster: ClusterSpec,
) -> None:
    """Score picks against the truth.

    PICKS are folders of `cryodask match`, STAR, CSV or copick's JSON files, or the benchmark's text lists (CLASS x y z
    ...).
    """
    if class_weights and mode != "czii":
        raise click.UsageError(f"--class-weight is for --mode czii only, not for {mode}")
    from cryodask.cli._running import command_line
    from cryodask.cli.progress import make_progress
    from cryodask.cli.session import open_session
    from cryodask.workflows.evaluate import compare, conditions_of, read_submissions, with_conditions
    from cryodask.workflows.evaluate import evaluate as run
    from cryodask.workflows.evaluation_report import write_evaluation_report
    from cryodask.workflows.evaluation_tables import write_tables
    from cryodask.workflows.picks_folder import write_json
    from cryodask.workflows.run_record import TimedProgress

    timed = TimedProgress(make_progress())
    truths, submitted = read_submissions(picks, truth)
    with open_session(cluster) as session:
        weights = dict(class_weights)
        result = run(truths, submitted, mode, client=session.client, progress=timed, class_weights=weights)
        result = with_conditions(result, conditions_of(truth))
        if others:
            result = compare(others, truth, result, client=session.client, progress=timed)
    if json_file is not None:
        write_json(json_file, result)
    if csv_folder is not None:
        write_tables(csv_folder, result)
    if report_file is not None:
        write_evaluation_report(
            report_file,
            truth_paths=truth,
            truths=truths,
            picks=submitted,
            result=result,
            command=command_line(),
            seconds=timed.seconds,
        )
    click.echo(summary(result))
    echo_notes(result)


def summary(result: dict[str, Any]) -> str:
    """The evaluation as lines for a terminal."""
    found, ceiling = result["localization"], result["ceiling"]["localization"]
    counts = "  ".join(f"{key} {found[key]}" for key in ("RR", "TP", "FP", "FN", "MH"))
    ratios = "  ".join(f"{key} {number(found[key])}" for key in ("recall", "precision", "F1"))
    lines = [
        f"mode {result['mode']}, {result['n_tomograms']} tomograms",
        f"localisation  {counts}  AD {number(found['AD'])} voxels",
        f"              {ratios}  (truth against itself: F1 {number(ceiling['F1'])})",
        f"classes       macro F1 {number(result['classification']['macro_f1'])}",
        *(f"  {name:<16} F1 {number(value)}" for name, value in result["classification"]["f1"].items()),
        *([f"F4 score      {number(result['f_beta']['score'])}"] if "f_beta" in result else []),
        *comparison_lines(result),
    ]
    return "\n".join(lines)


def echo_notes(result: dict[str, Any]) -> None:
    """What a reader of the numbers has to know, beside them: on standard error."""
    for note in result["notes"]:
        click.echo(f"note: {note}", err=True)


def comparison_lines(result: dict[str, Any]) -> Iterator[str]:
    """The table of ``--compare``, these picks first."""
    if not result.get("comparison"):
        return
    own = {"name": "these picks", **result, "macro_f1": result["classification"]["macro_f1"]}
    rows = [own, *result["comparison"]]
    width = max(len(row["name"]) for row in rows)
    yield f"{'':<{width}}     RR     TP     FP     FN     MH     AD recall precision     F1 macro F1"
    for row in rows:
        found = row["localization"]
        counts = "".join(f"{found[key]:>7}" for key in ("RR", "TP", "FP", "FN", "MH"))
        shown = f"{number(found['AD']):>7}{number(found['recall']):>7}{number(found['precision']):>10}"
        yield f"{row['name']:<{width}}{counts}{shown}{number(found['F1']):>7}{number(row['macro_f1']):>9}"


def number(value: float | None) -> str:
    """Three decimals, or a dash where there is nothing to divide by."""
    return "-" if value is None else f"{value:.3f}"
