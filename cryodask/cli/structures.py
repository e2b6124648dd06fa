"""``cryodask structures``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cryodask.cli._running import classes_option, notices
from cryodask.cli.options import OutputFile, verbose_option


@click.group(short_help="List, describe or fetch structures.")
def structures() -> None:
    """List, describe or fetch the structures that particles are made of."""


@structures.command("list", short_help="List the classes of a structure set.")
@click.argument("source", default="builtin", metavar="[DIR|FILE|builtin]")
@verbose_option
def list_structures(source: str) -> None:
    """List the classes of a structure set, lightest first."""
    from cryodask.io.structures import load_structure_set

    found = load_structure_set(source)
    notices(found.notices)
    infos = sorted((s.info for s in found.structures), key=lambda info: info.molecular_weight_kda or 0.0)
    width = max(len(info.class_id) for info in infos)
    for info in infos:
        weight = f"{info.molecular_weight_kda:9.2f} kDa" if info.molecular_weight_kda is not None else " " * 13
        click.echo(f"{info.class_id:<{width}} {weight}  {info.symmetry:<3} {info.assembly:<14} {info.name}")


@structures.command(short_help="Measure volume, area, sphericity and radius of each class.")
@click.argument("source", default="builtin", metavar="[DIR|FILE|builtin]")
@click.option("--json", "json_file", type=OutputFile(), help="Write the numbers here.")
@classes_option
@verbose_option
def describe(source: str, json_file: Path | None, classes: tuple[str, ...] | None) -> None:
    """Measure each class at 1 nm sampling where its potential exceeds 0.5 V, as in Table 1 of the SHREC 2021 paper.

    Below a class of the paper stands what the paper has.
    """
    from cryodask.io.structures import load_structure_set
    from cryodask.workflows.describe import describe_structures
    from cryodask.workflows.picks_folder import write_json

    found = load_structure_set(source, classes)
    notices(found.notices)
    rows = describe_structures(found.structures)
    if json_file is not None:
        write_json(json_file, {"structures": rows})
    click.echo(f"{'class':<14}" + "".join(f"{name:>12}" for name in _COLUMNS.values()))
    for row in rows:
        click.echo(f"{row['class_id']:<14}" + _cells(row))
        if row["paper"] is not None:
            click.echo(f"{'  paper':<14}" + _cells(row["paper"]))


_COLUMNS = {
    "molecular_weight_kda": "weight/kDa",
    "volume_nm3": "volume/nm3",
    "area_nm2": "area/nm2",
    "sphericity": "sphericity",
    "effective_radius_nm": "radius/nm",
}


def _cells(row: Mapping[str, Any]) -> str:
    return "".join(f"{'-' if row[key] is None else format(row[key], '.4g'):>12}" for key in _COLUMNS)


@structures.command(short_help="Download PDB entries into a folder.")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to download into.")
@verbose_option
def fetch(ids: tuple[str, ...], output: Path) -> None:
    """Download PDB entries into a folder and list them in its assemblies.tsv; without IDs, the benchmark's twelve.

    Needs a network.
    """
    from cryodask.io.fetch import SHREC21_ENTRIES, fetch_entries

    files = fetch_entries(ids or tuple(SHREC21_ENTRIES), output)
    click.echo(f"{output}: {len(files)} structures")
