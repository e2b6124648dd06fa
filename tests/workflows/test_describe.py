"""Shapes of structures: built-in ones by what they are, real ones by Table 1 of the SHREC 2021 paper."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cryodask.io.builtin_structures import builtin_structures
from cryodask.io.structures import load_structure_set
from cryodask.model.shrec21_table1 import TABLE_1
from cryodask.workflows.describe import describe_structures

TOLERANCES = {"volume_nm3": 0.11, "area_nm2": 0.06, "sphericity": 0.08, "effective_radius_nm": 0.09}

PROTEIN_DENSITY_KDA_PER_NM3 = 0.81
"""1.35 g / cm^3."""


def test_the_numbers_of_a_structure_fit_together() -> None:
    (row,) = describe_structures(builtin_structures()[:1])
    assert row["class_id"] == "syn-0060-c1"
    assert row["molecular_weight_kda"] == pytest.approx(60, rel=0.01)
    assert row["effective_radius_nm"] == pytest.approx(3 * row["volume_nm3"] / row["area_nm2"])
    assert 0 < row["sphericity"] <= 1
    # The blurred surface at 0.5 V lies outside the protein's own volume.
    assert 1.0 < row["volume_nm3"] * PROTEIN_DENSITY_KDA_PER_NM3 / 60 < 2.0
    assert row["effective_radius_nm"] < row["bounding_radius_nm"]


def test_real_structures_have_the_shapes_of_table_1(shared_data: Path) -> None:
    """All twelve, every column. Measured: volumes -1 to +10 %, the small ones most (one voxel is 1 % of them)."""
    rows = describe_structures(
        load_structure_set(shared_data / "structures", [name.lower() for name in TABLE_1]).structures
    )
    assert len(rows) == 12
    for row in rows:
        paper = row["paper"]
        assert row["molecular_weight_kda"] == pytest.approx(paper["molecular_weight_kda"], rel=0.001)
        for name, tolerance in TOLERANCES.items():
            assert row[name] == pytest.approx(paper[name], rel=tolerance), (row["class_id"], name)


def test_table_1_is_the_papers(shared_data: Path) -> None:
    with (shared_data.parent / "paper" / "table1_particles.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found = TABLE_1[row["pdb"].upper()]._asdict()
            assert found == {name: float(row[name]) for name in found}


def test_heavier_is_larger() -> None:
    light, heavy = describe_structures(builtin_structures()[:2])
    assert light["volume_nm3"] < heavy["volume_nm3"]
    assert light["area_nm2"] < heavy["area_nm2"]
