"""Evaluation of many tomograms: batches change nothing, what a data set knows of them is told, damage is named."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from cryodask.errors import ConfigError, StoreError
from cryodask.io.store import Store
from cryodask.model.particles import Particles, concatenate
from cryodask.model.progress import NullProgress
from cryodask.workflows import evaluate as workflow
from cryodask.workflows.evaluate import conditions_of, evaluate, find_truths, truths_of_store, with_conditions
from tests.workflows.conftest import Reference


def several(reference: Reference, folder: Path, number: int = 5) -> Path:
    """The tiny data set with its one model under ``number`` names."""
    store = reference.copy(folder)
    for k in range(1, number):
        shutil.copytree(Path(store.path) / "model_000", Path(store.path) / f"model_{k:03d}")
    return Path(store.path)


def picks_for(data: Path) -> Particles:
    """All true particles of the first tomogram, one less of the second, and so on."""
    parts = []
    for k, truth in enumerate(truths_of_store(Store(data))):
        own = truth.particles.take(np.arange(max(0, len(truth.particles) - k)))
        names = np.full(len(own), truth.name, dtype=object)
        score = np.linspace(1, 0, len(own))
        parts.append(Particles.create(own.class_id, own.position_angstrom, tomogram=names, score=score))
    return concatenate(parts)


@pytest.mark.parametrize("mode", ["strict", "shrec21", "czii"])
def test_batches_and_the_loop_over_truths_agree(
    mode: str, reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = several(reference, tmp_path)
    picks = picks_for(data)
    results = []
    for batch in (64, 2, 1):
        monkeypatch.setattr(workflow, "BATCH", batch)
        results.append(evaluate(find_truths(data), picks, mode, client=None, progress=NullProgress()))
    loaded = truths_of_store(Store(data))[::-1]
    results.append(evaluate(loaded, picks, mode, client=None, progress=NullProgress()))
    assert all(json.dumps(own) == json.dumps(results[0]) for own in results)
    assert results[0]["n_tomograms"] == 5
    assert [row["FN"] for row in results[0]["tomograms"]][:2] == [0, 1]


def test_what_travels_is_small_and_masks_stay_where_they_are(reference: Reference) -> None:
    (source,) = find_truths(Path(reference.store.path))
    assert len(pickle.dumps(source)) < 1000
    truth = source.load()
    assert truth.name == source.name
    assert set(truth.symmetry) == set(truth.class_ids)


def test_defocus_is_told_of_each_tomogram(reference: Reference, tmp_path: Path) -> None:
    data = several(reference, tmp_path, 2)
    conditions = conditions_of([data])
    assert conditions == {"defocus_um": {"model_000": pytest.approx(3.0), "model_001": pytest.approx(3.0)}}
    assert conditions_of([data, data]) == {}
    result = {"tomograms": [{"name": "model_000"}, {"name": "model_001"}]}
    rows = with_conditions(result, {"snr": {"model_001": 0.5}, "defocus_um": {}})["tomograms"]
    assert rows == [{"name": "model_000", "snr": None}, {"name": "model_001", "snr": 0.5}]


def test_no_truth_and_damage_are_refused(reference: Reference, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        evaluate([], Particles.create([], []), "strict", client=None, progress=NullProgress())
    data = several(reference, tmp_path, 2)
    chunk = next(path for path in (data / "model_001/truth/occupancy_mask/c").rglob("*") if path.is_file())
    chunk.write_bytes(b"damaged")
    with pytest.raises(StoreError, match=r"occupancy_mask.*is damaged"):
        evaluate(find_truths(data), picks_for(data), "shrec21", client=None, progress=NullProgress())
