"""The ratios against a third party's runs on the SHREC 2021 tomogram (its paper's tables: see tests/model)."""

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

N_FOUND_OR_MISSED = 1565
"""Particles of the test tomogram without its six vesicles."""


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
    assert (weight_group(199.9), weight_group(200.0), weight_group(600.0)) == ("small", "medium", "medium")
    assert group_means({"a": 0.5, "b": 1.0}, {"a": 700.0}) == {"small": None, "medium": None, "large": 0.5}
