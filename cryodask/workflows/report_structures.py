"""Table 1 of the SHREC 2021 paper for the structures that a data set was made of, beside what the paper prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryodask.errors import DataError
from cryodask.io.store import Store
from cryodask.model.shrec21_table1 import TABLE_1
from cryodask.workflows import layout
from cryodask.workflows.describe import describe_shape
from cryodask.workflows.report_numbers import Cell, cell, mass_text, number_text

COLUMNS = {
    "volume_nm3": "volume (nm³)",
    "area_nm2": "area (nm²)",
    "sphericity": "sphericity",
    "effective_radius_nm": "effective radius (nm)",
}


def structure_table(store: Store, class_ids: Sequence[str]) -> dict[str, Any] | None:
    """Head and rows of the table, lightest class first; None where the data set holds no densities."""
    found = []
    for name in class_ids:
        group = layout.structure_group(name)
        if store.is_complete(group):
            found.append((store.info(group).get("molecular_weight_kda"), name, _shape(store, group)))
    if not found:
        return None
    found.sort(key=lambda row: (row[0] is None, row[0] or 0.0, row[1]))
    with_paper = any(name.upper() in TABLE_1 for _, name, _ in found)
    rows = []
    for weight, name, shape in found:
        paper = TABLE_1[name.upper()]._asdict() if name.upper() in TABLE_1 else {}
        cells: list[Cell] = [(name, name), cell(mass_text(weight), weight)]
        for key in COLUMNS:
            cells.append(cell(number_text(shape.get(key)), shape.get(key)))
            if with_paper:
                cells.append(cell(number_text(paper.get(key)), paper.get(key)))
        rows.append(cells)
    head = ["class", "mass (kDa)"]
    for text in COLUMNS.values():
        head += [text, "paper"] if with_paper else [text]
    return {"head": head, "rows": rows}


def _shape(store: Store, group: str) -> dict[str, float]:
    """Nothing for a density that has no surface at the paper's threshold."""
    source = store.source(group, "electrostatic_v")
    density = source.read((slice(None),) * 3)
    try:
        return describe_shape(density, float(store.info(group)["voxel_size_angstrom"]))
    except DataError:
        return {}
