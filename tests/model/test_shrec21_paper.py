"""The paper's tables as the package has them: as printed, and following from each other where they can."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cryodask.kernels.scoring_ratios import group_means, localization_ratios, mean
from cryodask.model.evaluation import SHREC21_CLASS_IDS
from cryodask.model.shrec21_paper import CLASSES, MISPRINTS, PARTICLES, RECALL_BASE, SUBMISSIONS, TIMES
from cryodask.model.shrec21_table1 import TABLE_1

HALF_A_DIGIT = 5.1e-4


def printed(shared_data: Path, name: str) -> list[dict[str, str]]:
    path = shared_data.parent / "paper" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_column_of_table_3_follows_from_its_counts_but_for_two_misprints() -> None:
    wrong: dict[tuple[str, str], float] = {}
    cells = 0
    for method, submission in SUBMISSIONS.items():
        own = submission.localization
        ratios = localization_ratios(own.TP, RECALL_BASE, own.RR)
        ours = {"recall": ratios.recall, "precision": ratios.precision, "miss_rate": ratios.miss_rate, "F1": ratios.f1}
        for column, value in ours.items():
            assert value is not None
            cells += 1
            if abs(value - getattr(own, column)) > HALF_A_DIGIT:
                wrong[method, column] = round(value, 3)
        missed = sum(PARTICLES.values()) - own.TP
        if missed != own.FN:
            wrong[method, "FN"] = missed
        assert own.RR - own.TP - own.FP >= own.MH  # each particle found more than once has at least one extra pick
    assert cells == 4 * 8
    assert wrong == MISPRINTS


def test_table_2_has_the_particles_that_the_counts_need() -> None:
    assert sum(PARTICLES.values()) == 1565 == RECALL_BASE - 6
    assert set(CLASSES) == set(SHREC21_CLASS_IDS) - {"4V94", "vesicle"}


def test_table_6_is_the_group_mean_of_table_4() -> None:
    weights = {name: row.molecular_weight_kda for name, row in TABLE_1.items()}
    for method, submission in SUBMISSIONS.items():
        means = group_means(dict(zip(CLASSES, submission.class_f1, strict=True)), weights)
        assert list(means.values()) == pytest.approx(submission.group_f1, abs=6e-4), method


def test_macro_means_and_sums_of_table_4() -> None:
    """The sums are the heights of the bars of Figure 9."""
    sums = [round(sum(own.class_f1), 3) for own in SUBMISSIONS.values()]
    assert sums == [8.366, 10.196, 9.199, 10.413, 8.932, 10.280, 6.238, 6.582]
    macro = [mean(own.class_f1[:-1]) for own in SUBMISSIONS.values()]
    assert macro == pytest.approx([0.661, 0.766, 0.683, 0.784, 0.665, 0.773, 0.445, 0.474], abs=6e-4)


def test_the_package_holds_what_is_printed(shared_data: Path) -> None:
    three = {row.pop("method"): row for row in printed(shared_data, "table3_localization.csv")}
    four = {row.pop("method"): row for row in printed(shared_data, "table4_classification_f1.csv")}
    six = {row.pop("method"): row for row in printed(shared_data, "table6_group_f1.csv")}
    assert list(three) == list(SUBMISSIONS)
    assert set(four) == set(six) == set(SUBMISSIONS)
    for method, own in SUBMISSIONS.items():
        assert own.localization._asdict() == {name: float(value) for name, value in three[method].items()}
        assert dict(zip(CLASSES, own.class_f1, strict=True)) == {
            name.upper() if name != "fiducial" else name: float(value) for name, value in four[method].items()
        }
        assert list(own.group_f1) == [float(six[method][group]) for group in ("small", "medium", "large")]
    two = {row["class"]: int(row["count"]) for row in printed(shared_data, "table2_test_tomogram_counts.csv")}
    assert list(two.values()) == list(PARTICLES.values())
    assert [name.upper() for name in two] == [name.upper() for name in PARTICLES]
    seven = printed(shared_data, "table7_timings.csv")
    assert len(seven) == 7
    for row in seven:
        for method in ("TM-F", "TM") if row["method"].startswith("TM-F") else (row["method"],):
            written = tuple(value.replace(" ", "").replace("min", "m") for value in TIMES[method])
            assert written == (row["training"].replace(" ", ""), row["inference"].replace(" ", ""))
