"""The ratios against published numbers: the SHREC 2021 paper's tables, and a third party's runs on its tomogram."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from cryodask.kernels.scoring_ratios import (
    f1_from_confusion,
    f1_scores,
    group_means,
    localization_ratios,
    mean,
    ratio,
    weight_group,
)

N_TRUTH, N_FOUND_OR_MISSED = 1571, 1565
"""Particles of the test tomogram with and without its six vesicles."""

MISPRINTS = {("YOPO", "recall"): 0.779, ("TM-F", "FN"): 602}
"""What the paper's own counts give where its Table 3 says something else."""


def table(shared_data: Path, name: str) -> list[dict[str, str]]:
    path = shared_data.parent / "paper" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_3_follows_from_its_counts(shared_data: Path) -> None:
    wrong = {}
    for row in table(shared_data, "table3_localization.csv"):
        found, submitted = int(row["TP"]), int(row["RR"])
        ratios = localization_ratios(found, N_TRUTH, submitted)
        ours = {"recall": ratios.recall, "precision": ratios.precision, "miss_rate": ratios.miss_rate, "F1": ratios.f1}
        for column, value in ours.items():
            assert value is not None
            if abs(value - float(row[column])) > 5.1e-4:
                wrong[row["method"], column] = round(value, 3)
        missed = N_FOUND_OR_MISSED - found
        if missed != int(row["FN"]):
            wrong[row["method"], "FN"] = missed
        # RR = TP + FP + extra picks + picks on excluded particles, and each multiply found particle has an extra pick.
        assert submitted - found - int(row["FP"]) >= int(row["MH"])
    assert wrong == MISPRINTS


def f1_by_method(shared_data: Path) -> dict[str, dict[str, float | None]]:
    rows = table(shared_data, "table4_classification_f1.csv")
    return {row["method"]: {name: float(value) for name, value in row.items() if name != "method"} for row in rows}


def weights(shared_data: Path) -> dict[str, float]:
    return {row["pdb"]: float(row["molecular_weight_kda"]) for row in table(shared_data, "table1_particles.csv")}


def test_table_6_is_the_group_mean_of_table_4(shared_data: Path) -> None:
    f1, weight_kda = f1_by_method(shared_data), weights(shared_data)
    cells = 0
    for row in table(shared_data, "table6_group_f1.csv"):
        for group, value in group_means(f1[row["method"]], weight_kda).items():
            assert value == pytest.approx(float(row[group]), abs=6e-4), (row["method"], group)
            cells += 1
    assert cells == 24


def test_the_groups_have_the_papers_members(shared_data: Path) -> None:
    members: dict[str, list[str]] = {}
    for name, value in weights(shared_data).items():
        members.setdefault(weight_group(value), []).append(name)
    assert {group: len(names) for group, names in members.items()} == {"small": 5, "medium": 5, "large": 2}


def test_sums_and_macro_means_of_table_4(shared_data: Path) -> None:
    f1 = f1_by_method(shared_data)
    sums = {method: sum(value or 0.0 for value in row.values()) for method, row in f1.items()}
    assert {method: round(value, 3) for method, value in sums.items()} == {
        "MC-DS-Net": 10.413,
        "CFN": 10.280,
        "DeepFinder": 10.196,
        "U-CLSTM": 9.199,
        "YOPO": 8.932,
        "URFinder": 8.366,
        "TM": 6.582,
        "TM-F": 6.238,
    }
    macro = [mean(value for name, value in f1[method].items() if name != "fiducial") for method in sums]
    expected = {
        "MC-DS-Net": 0.784,
        "CFN": 0.773,
        "DeepFinder": 0.766,
        "U-CLSTM": 0.683,
        "YOPO": 0.665,
        "URFinder": 0.661,
        "TM": 0.474,
        "TM-F": 0.445,
    }
    assert macro == pytest.approx([expected[method] for method in sums], abs=6e-4)


def test_third_party_runs(shared_data: Path) -> None:
    files = sorted((shared_data / "evaluation").glob("*__confusion_matrix.csv"))
    if not files:
        pytest.skip("no confusion matrices")
    for path in files:
        with path.open(newline="") as file:
            labels, *rows = csv.reader(file)
        values = dict(zip(labels, f1_from_confusion([[int(cell) for cell in row] for row in rows]), strict=True))
        report = json.loads(Path(str(path).replace("__confusion_matrix.csv", "__evaluation.json")).read_text())
        theirs = report["classification"]["per_class"]["F1"]
        assert set(values) == set(theirs)
        for name, value in values.items():
            assert value == pytest.approx(theirs[name], abs=1e-9), (path.name, name)

        own = report["localization"]
        ratios = localization_ratios(own["TP"], own["expected_particles"], own["predicted_particles"])
        assert (ratios.recall, ratios.precision) == (own["recall"], own["Precision"])
        assert ratios.miss_rate == pytest.approx(own["Miss rate"], abs=1e-12)
        assert ratios.f1 == pytest.approx(own["F1 score"], abs=1e-12)
        assert own["TP"] + own["FN"] == N_FOUND_OR_MISSED
        assert sum(sum(map(int, row)) for row in rows) == N_FOUND_OR_MISSED


def test_ratios_of_nothing_are_none() -> None:
    nothing = localization_ratios(0, 0, 0)
    assert (nothing.recall, nothing.precision, nothing.miss_rate, nothing.f1) == (None, None, None, None)
    empty = localization_ratios(0, 10, 0)
    assert (empty.recall, empty.precision, empty.miss_rate, empty.f1) == (0.0, None, 1.0, 0.0)
    assert ratio(0, 0) is None
    assert mean([]) is None
    assert mean([None, 0.5]) == 0.5
    assert f1_scores([0, 1], [0, 1], [0, 0]) == [None, pytest.approx(2 / 3)]
    assert group_means({"a": 0.5, "b": 1.0}, {"a": 700.0}) == {"small": None, "medium": None, "large": 0.5}
