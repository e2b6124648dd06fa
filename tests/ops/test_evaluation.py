"""Evaluation over tomograms: what each mode makes of a small truth, and that no split or order changes a bit."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import dask.config
import dask.local
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryodask.errors import ConfigError, DataError
from cryodask.model.evaluation import Truth
from cryodask.model.particles import Particles, concatenate
from cryodask.ops.evaluation import (
    EvaluationCounts,
    count_tomogram,
    evaluate_counts,
    merge_all,
    picks_by_tomogram,
)
from cryodask.ops.evaluation_result import finalise

SHAPE = (20, 40, 40)
VOXEL = 10.0
CLASSES = ("4V94", "1BXN", "1S3X", "5MRC", "vesicle", "fiducial")
WEIGHTS = {"1BXN": 559.96, "1S3X": 42.75, "5MRC": 3325.59}


class Source:
    """A mask that is read where it is needed, as from a store."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        return self._array[region]


def centred(voxel: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return (np.asarray(voxel, dtype=np.float64) - (np.asarray(SHAPE) - 1) / 2) * VOXEL


def make_truth(name: str = "model_0", seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Truth:
    """Balls of radius 2 on a grid, with classes drawn at random, and at least one of each."""
    generator = np.random.default_rng(seed)
    centres = np.array([(z, y, x) for z in (5, 14) for y in (6, 16, 26, 35) for x in (5, 15, 25, 34)])
    centres = centres[generator.permutation(len(centres))]
    mask = np.zeros(SHAPE, dtype=np.int32)
    grid = np.indices(SHAPE)
    for k, centre in enumerate(centres, start=1):
        mask[((grid - centre.reshape(3, 1, 1, 1)) ** 2).sum(axis=0) <= 4] = k
    names = [*classes, *generator.choice(classes, len(centres) - len(classes))]
    return Truth(
        name=name,
        particles=Particles.create(names, centred(centres), tomogram=name),
        occupancy=mask,
        shape=SHAPE,
        voxel_size_angstrom=VOXEL,
        class_ids=classes,
        molecular_weight_kda=WEIGHTS,
    )


def make_picks(truth: Truth, seed: int = 0, n: int = 40) -> Particles:
    """Some on particles, some not, some of the wrong class or of none that is known."""
    generator = np.random.default_rng(seed)
    near = truth.particles.take(generator.integers(0, len(truth.particles), n))
    return Particles.create(
        list(generator.choice([*truth.class_ids, "1bxn", "other"], n)),
        near.position_angstrom + generator.normal(0, 25, (n, 3)),
        tomogram=truth.name,
        score=np.round(generator.random(n), 2),
    )


def evaluate(truth: Truth, picks: Particles, mode: str) -> dict[str, Any]:
    counts = count_tomogram(truth, picks, mode=mode)
    return finalise(counts, molecular_weight_kda=truth.molecular_weight_kda)


NOTHING = Particles.create([], np.empty((0, 3)))


def test_truth_against_itself_is_perfect_in_strict() -> None:
    truth = make_truth(seed=3)
    result = evaluate(truth, truth.particles, "strict")
    vesicles = int(np.sum(truth.particles.class_id == "vesicle"))
    counts = {"RR": 32, "TP": 32 - vesicles, "FP": 0, "FN": 0, "MH": 0, "AD": 0.0}
    assert result["localization"] == counts | {"recall": 1.0, "precision": 1.0, "miss_rate": 0.0, "F1": 1.0}
    assert result["classification"]["f1"] == dict.fromkeys(("4V94", "1BXN", "1S3X", "5MRC", "fiducial"), 1.0)
    assert result["classification"]["macro_f1"] == 1.0
    assert result["classification"]["groups"] == {"small": 1.0, "medium": 1.0, "large": 1.0}
    assert result["ceiling"]["localization"]["F1"] == 1.0
    assert result["ceiling"]["macro_f1"] == 1.0
    assert result["notes"] == [f"{vesicles} picks left out: class not evaluated (vesicle)"]


def test_truth_against_itself_in_shrec21_misses_the_vesicles_that_recall_counts() -> None:
    truth = make_truth(seed=3)
    result = evaluate(truth, truth.particles, "shrec21")
    number = {name: int(np.sum(truth.particles.class_id == name)) for name in CLASSES}
    evaluated = 32 - number["4V94"] - number["vesicle"]
    own = result["localization"]
    assert (own["RR"], own["TP"], own["FP"], own["FN"], own["MH"], own["AD"]) == (32, evaluated, 0, 0, 0, 0.0)
    assert own["recall"] == evaluated / (32 - number["4V94"])
    assert own["precision"] == evaluated / 32
    assert result["ceiling"]["localization"]["precision"] == 1.0
    assert result["ceiling"]["localization"]["recall"] == own["recall"]
    assert set(result["classification"]["f1"]) == {"1BXN", "1S3X", "5MRC", "fiducial"}
    confusion = np.asarray(result["classification"]["confusion"])
    assert result["classification"]["labels"] == ["background", *CLASSES]
    np.testing.assert_array_equal(np.diag(confusion)[2:5], [number[name] for name in ("1BXN", "1S3X", "5MRC")])
    assert confusion[[1, 5]].sum() == 0


@pytest.mark.parametrize("mode", ["shrec21", "strict", "czii"])
def test_no_picks(mode: str) -> None:
    result = evaluate(make_truth(), NOTHING, mode)
    own = result["localization"]
    assert [own[name] for name in ("RR", "TP", "FP", "MH")] == [0, 0, 0, 0]
    assert own["FN"] > 0
    assert (own["recall"], own["precision"], own["miss_rate"], own["F1"], own["AD"]) == (0.0, None, 1.0, 0.0, None)
    assert result["classification"]["macro_f1"] == 0.0
    assert result["ceiling"]["macro_f1"] == 1.0
    assert "no picks were submitted" in result["notes"]


@pytest.mark.parametrize("mode", ["shrec21", "strict", "czii"])
def test_neither_picks_nor_truth(mode: str) -> None:
    truth = replace(make_truth(), particles=NOTHING, occupancy=np.zeros(SHAPE, dtype=np.int32))
    result = evaluate(truth, NOTHING, mode)
    own = result["localization"]
    assert [own[name] for name in ("RR", "TP", "FP", "FN", "MH")] == [0] * 5
    assert [own[name] for name in ("AD", "recall", "precision", "miss_rate", "F1")] == [None] * 5
    assert result["classification"]["macro_f1"] is None
    assert set(result["classification"]["f1"].values()) == {None}
    assert result["classification"]["groups"] == {"small": None, "medium": None, "large": None}


@pytest.mark.parametrize("mode", ["shrec21", "strict", "czii"])
def test_the_result_has_the_agreed_keys_and_goes_to_json(mode: str) -> None:
    truth = make_truth()
    result = json.loads(json.dumps(evaluate(truth, make_picks(truth), mode), allow_nan=False))
    own = ["f_beta"] * (mode == "czii")
    first = ["mode", "n_tomograms", "localization", "classification", "ceiling", *own, "picks"]
    figures = ["distances", "orientation", "curve", "weight_correlation", "intervals", "tomograms", "examples", "notes"]
    assert list(result) == first + figures
    keys = ["RR", "TP", "FP", "FN", "MH", "AD", "recall", "precision", "miss_rate", "F1"]
    assert list(result["localization"]) == list(result["ceiling"]["localization"]) == keys
    assert list(result["classification"]) == ["f1", "macro_f1", "confusion", "labels", "groups"]
    assert any("'other'" in note for note in result["notes"])
    assert (result["mode"], result["n_tomograms"]) == (mode, 1)


@pytest.mark.parametrize("mode", ["shrec21", "strict", "czii"])
def test_what_became_of_the_lines_is_counted(mode: str) -> None:
    truth = make_truth()
    first = truth.particles.take(truth.particles.class_id == "1BXN").take(np.array([0]))
    outside = Particles.create(["1bxn", "other", "OTHER"], centred([[-9, 0, 0], [0, 0, 0], [0, 0, 0]]))
    picks = concatenate([first, first, outside])
    result = evaluate(truth, picks, mode)
    assert result["picks"] == {
        "submitted": 5,
        "clipped": 1,
        "duplicate": 2,  # the second of the first, and of the unknown class in other letters
        "further": 1,
        "unknown_class": {"other": 1, "OTHER": 1},
        "not_evaluated": 0,
    }
    assert "2 picks repeat class and position of an earlier one" in result["notes"]


def test_weights_of_classes_enter_the_score_of_czii() -> None:
    truth = make_truth()
    own = truth.particles.take(truth.particles.class_id != "1S3X")
    counts = count_tomogram(truth, own, mode="czii")
    plain = finalise(counts)["f_beta"]
    assert plain["score"] == pytest.approx(3 / 4)
    assert plain["weights"] == {"4V94": 1.0, "1BXN": 1.0, "1S3X": 1.0, "5MRC": 1.0}
    weighted = finalise(counts, class_weights={"1s3x": 2, "5MRC": 0})["f_beta"]
    assert weighted["score"] == pytest.approx(2 / 4)
    with pytest.raises(ConfigError, match="vesicle, which is not evaluated"):
        finalise(counts, class_weights={"vesicle": 1})
    with pytest.raises(ConfigError, match=r"weight -1.* of class 5MRC"):
        finalise(counts, class_weights={"5MRC": -1.0})


def test_class_names_are_compared_without_case() -> None:
    truth = make_truth()
    picks = replace(
        truth.particles, class_id=np.array([name.lower() for name in truth.particles.class_id], dtype=object)
    )
    assert (
        evaluate(truth, picks, "strict")["classification"]
        == evaluate(truth, truth.particles, "strict")["classification"]
    )


def test_macro_f1_leaves_out_classes_that_the_truth_does_not_have() -> None:
    truth = make_truth(classes=("1BXN", "1S3X", "fiducial"))
    truth = replace(truth, class_ids=CLASSES)
    stray = Particles.create(["5MRC"], centred([[0, 0, 0]]), tomogram=truth.name)
    result = evaluate(truth, concatenate([truth.particles, stray]), "strict")
    assert result["classification"]["f1"]["5MRC"] == 0.0
    assert result["classification"]["f1"]["4V94"] is None
    assert result["classification"]["macro_f1"] == 1.0
    assert result["classification"]["groups"] == {"small": 1.0, "medium": 1.0, "large": None}
    assert result["localization"]["FP"] == 1


def test_weights_may_be_missing() -> None:
    truth = replace(make_truth(), molecular_weight_kda={})
    result = finalise(count_tomogram(truth, NOTHING))
    assert result["classification"]["groups"] == {"small": None, "medium": None, "large": None}


def test_picks_on_a_vesicle_do_not_count_against() -> None:
    truth = make_truth()
    vesicle = truth.particles.take(truth.particles.class_id == "vesicle")
    picks = replace(vesicle, class_id=np.array(["1BXN"] * len(vesicle), dtype=object))
    own = evaluate(truth, picks, "strict")["localization"]
    assert (own["RR"], own["TP"], own["FP"]) == (len(vesicle), 0, 0)


def test_the_radius_of_the_manifest_widens_the_tolerance() -> None:
    truth = make_truth()
    one = truth.particles.take(truth.particles.class_id == "1BXN").take(np.array([0]))
    picks = replace(one, position_angstrom=one.position_angstrom + np.array([0, 0, 36]))
    assert evaluate(truth, picks, "strict")["localization"]["TP"] == 0
    wide = replace(truth, radius_angstrom={"1bxn": 80.0})
    assert evaluate(wide, picks, "strict")["localization"]["TP"] == 1


def test_a_ring_scores_below_one_against_itself_in_shrec21() -> None:
    mask = np.zeros(SHAPE, dtype=np.int32)
    _, y, x = np.indices(SHAPE)
    mask[9:12][(np.abs(np.hypot(y - 20, x - 20) - 8) < 1)[9:12]] = 1
    truth = replace(make_truth(), occupancy=mask, particles=Particles.create(["1BXN"], centred([[10, 20, 20]])))
    assert evaluate(truth, NOTHING, "shrec21")["ceiling"]["localization"]["F1"] == 0.0
    assert evaluate(truth, NOTHING, "strict")["ceiling"]["localization"]["F1"] == 1.0


def test_strict_needs_no_mask_and_shrec21_does() -> None:
    truth = make_truth()
    bare = replace(truth, occupancy=None)
    assert evaluate(bare, truth.particles, "strict")["localization"]["F1"] == 1.0
    with pytest.raises(DataError, match="no occupancy mask"):
        count_tomogram(bare, truth.particles, mode="shrec21")


@pytest.mark.parametrize("mode", ["shrec21", "strict", "czii"])
def test_a_truth_in_another_frame_is_refused(mode: str) -> None:
    truth = make_truth()
    assert isinstance(truth.occupancy, np.ndarray)
    moved = replace(truth, occupancy=np.roll(truth.occupancy, 3, axis=2))
    with pytest.raises(DataError, match=r"coordinate frame mismatch.*model_0.*shifted by 0, 0, 3 voxels"):
        count_tomogram(moved, truth.particles, mode=mode)


@pytest.mark.parametrize(
    ("mode", "shift", "said"),
    [("shrec21", 166, "no pick finds|most picks lie outside"), ("strict", 166, "no pick finds"), ("strict", 0, None)],
)
def test_picks_in_another_frame_find_nothing_and_are_told_why(mode: str, shift: float, said: str | None) -> None:
    truth = make_truth()
    moved = truth.particles.position_angstrom + np.array([shift, 0, 0]) * truth.voxel_size_angstrom
    notes = evaluate(truth, replace(truth.particles, position_angstrom=moved), mode)["notes"]
    told = [note for note in notes if "compare the frames" in note]
    assert len(told) == (0 if said is None else 1)
    assert said is None or re.match(said, told[0])


def test_hits_farther_off_than_a_particle_is_wide_are_refused() -> None:
    # One half of the ids was exchanged at random: most centres still lie on their own ids, but the picks do not.
    truth = make_truth()
    assert isinstance(truth.occupancy, np.ndarray)
    ids = np.arange(33)
    ids[1:16] = np.roll(ids[1:16], 4)
    mixed = replace(truth, occupancy=ids[truth.occupancy].astype(np.int32))
    with pytest.raises(DataError, match=r"coordinate frame mismatch.*voxels wide"):
        count_tomogram(mixed, truth.particles.take(np.arange(15)), mode="shrec21")


def test_modes_and_exclusions_are_checked() -> None:
    truth = make_truth()
    with pytest.raises(ConfigError, match=r"'loose'.*shrec21, strict"):
        count_tomogram(truth, NOTHING, mode="loose")
    with pytest.raises(ConfigError, match="9XYZ"):
        count_tomogram(truth, NOTHING, excluded=["9XYZ"])
    assert count_tomogram(truth, NOTHING, excluded=["1bxn", "fiducial"]).excluded == ("1BXN", "fiducial")
    with pytest.raises(DataError, match="labels differ"):
        count_tomogram(truth, NOTHING).merge(count_tomogram(make_truth(classes=("1BXN", "1S3X")), NOTHING))


PAIRS = [(truth, make_picks(truth, seed)) for seed in range(7) for truth in [make_truth(f"model_{seed}", seed)]]
PARTS = {mode: [count_tomogram(*pair, mode=mode) for pair in PAIRS] for mode in ("shrec21", "strict", "czii")}
WHOLE = {mode: merge_all(parts) for mode, parts in PARTS.items()}


@given(
    st.sampled_from(["shrec21", "strict", "czii"]), st.permutations(range(7)), st.lists(st.integers(0, 6), max_size=4)
)
@settings(deadline=None, max_examples=40)
def test_no_split_and_no_order_changes_a_bit(mode: str, order: list[int], cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 7]
    zero = EvaluationCounts.zero(mode, WHOLE[mode].labels, WHOLE[mode].excluded)
    groups = [[PARTS[mode][k] for k in order[a:b]] for a, b in pairwise(edges)]
    merged = merge_all([merge_all([zero, *group]) for group in groups])
    assert merged == WHOLE[mode]
    assert finalise(merged) == finalise(WHOLE[mode])


@pytest.mark.parametrize("mode", ["shrec21", "strict", "czii"])
def test_the_graph_equals_the_loop_and_computes_nothing_while_building(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def scheduler(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        calls.append("get")
        return dask.local.get_sync(*args, **kwargs)

    pairs = [(replace(truth, occupancy=Source(np.asarray(truth.occupancy))), picks) for truth, picks in PAIRS] * 2
    with dask.config.set(scheduler=scheduler):
        counts = evaluate_counts(pairs, mode=mode)
        assert not calls
        result = counts.compute()
    assert calls == ["get"]
    assert result == WHOLE[mode].merge(WHOLE[mode])
    names = [str(key).split("-")[0] for key in counts.__dask_graph__()]
    assert names.count("count_tomogram") == 14
    assert names.count("merge_all") == 3
    assert pickle.loads(pickle.dumps(result)) == result


def test_an_evaluation_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        evaluate_counts([])


def test_picks_go_to_their_tomograms() -> None:
    picks = concatenate([make_picks(make_truth(name), seed) for seed, name in enumerate(("a", "b", "c"))])
    (first, second, third), notes = picks_by_tomogram(picks, ["c", "a", "d"])
    assert (len(first), len(second), len(third)) == (40, 40, 0)
    assert set(first.tomogram) == {"c"}
    assert notes == ["40 picks of tomogram 'b' left out: it has no truth here"]
    with pytest.raises(DataError, match=r"no pick belongs.*'x'"):
        picks_by_tomogram(picks, ["x", "y"])


def test_picks_of_a_single_tomogram_need_not_name_it() -> None:
    unnamed = Particles.create(["1BXN"], [[0, 0, 0]])
    assert picks_by_tomogram(unnamed, ["model_0"]) == ([unnamed], [])
    named = Particles.create(["1BXN"], [[0, 0, 0]], tomogram="reconstruction")
    own, notes = picks_by_tomogram(named, ["model_0"])
    assert own == [named]
    assert "'reconstruction'" in notes[0]
    assert len(picks_by_tomogram(NOTHING, ["a", "b"])[0]) == 2


def test_a_truth_that_contradicts_itself_is_refused() -> None:
    truth = make_truth()
    with pytest.raises(DataError, match="class 1BXN"):
        replace(truth, class_ids=("4V94", "1S3X", "5MRC", "vesicle", "fiducial"))
    with pytest.raises(DataError, match="shape"):
        replace(truth, shape=(4, 4, 4))
    with pytest.raises(DataError, match="voxel size nan"):
        replace(truth, voxel_size_angstrom=float("nan"))
    with pytest.raises(DataError, match="more than case"):
        replace(truth, class_ids=(*CLASSES, "1bxn"))
    with pytest.raises(DataError, match="empty axis"):
        replace(truth, shape=(0, 4, 4))
    with pytest.raises(DataError, match="lists 31 particles"):
        count_tomogram(replace(truth, particles=truth.particles.take(np.arange(31))), NOTHING)


def test_czii_gives_the_mean_f4_of_the_proteins_and_needs_to_know_radii() -> None:
    truth = make_truth()
    perfect = evaluate(truth, truth.particles, "czii")["f_beta"]
    assert (perfect["beta"], perfect["score"]) == (4.0, 1.0)
    assert "vesicle" not in perfect["class"]
    with pytest.raises(DataError, match="does not tell the radius of"):
        evaluate(replace(truth, occupancy=None, radius_angstrom={}), NOTHING, "czii")
