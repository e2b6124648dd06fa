"""``tm-c`` on planted particles: classes, places, orientations; nothing from nothing; the same for any order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from cryodask.io.store import Store
from cryodask.kernels.rotations import matrix_from_zxz_deg, misorientation_deg
from cryodask.ops.candidates import empty_candidates
from cryodask.ops.matching import Tile
from cryodask.ops.peeling import Reaches, coloured_tiles, peel_tile
from cryodask.params.schema import PickingParameters
from cryodask.pickers.likelihood import MultiClassLikelihood, first_look
from cryodask.pickers.likelihood_maps import prepare
from cryodask.pickers.likelihood_peel import peel
from cryodask.pickers.protocol import Picks
from tests.pickers.planted import PlainBench, Planted, plant

SHAPE = (40, 104, 104)
PLACES = [(20, 14 + 25 * i, 14 + 25 * j) for i in range(4) for j in range(4)]
CLOSE = [(20, 50, 50), (20, 50, 58)]
AMPLITUDE = 1.8


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One store for all: templates are trained once."""
    return Store(tmp_path_factory.mktemp("planted") / "maps.zarr").create()


def pick(planted: Planted, store: Store, **others: object) -> Picks:
    settings = PickingParameters(gold_threshold_z=1000.0, find_membranes=False, amplitude=AMPLITUDE)
    return MultiClassLikelihood().pick(planted.target, PlainBench(store, settings, **others))  # type: ignore[arg-type]


def compared(planted: Planted, picks: Picks) -> tuple[list[int], list[int]]:
    """For each pick the planted particle within two voxels, -1 for none; and the particles that were found."""
    at = picks.particles.voxels(planted.target.shape, planted.target.voxel_size_angstrom)
    owners = []
    for place in at:
        apart = np.linalg.norm(planted.places - place, axis=1)
        owners.append(int(np.argmin(apart)) if apart.min() <= 2 else -1)
    return owners, sorted({owner for owner in owners if owner >= 0})


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant(SHAPE, PLACES, AMPLITUDE, seed=1)


@pytest.fixture(scope="module")
def picks(planted: Planted, store: Store) -> Picks:
    return pick(planted, store)


def test_similar_classes_are_told_apart(planted: Planted, picks: Picks) -> None:
    owners, found = compared(planted, picks)
    assert owners.count(-1) == 0
    assert found == list(range(len(PLACES)))
    assert len(owners) == len(PLACES)
    assert [planted.classes[owner] for owner in owners] == picks.particles.class_id.tolist()


def test_each_pick_says_how_sure_it_is(planted: Planted, picks: Picks) -> None:
    columns = picks.columns
    assert np.median(columns["cryodaskPosterior"]) > 0.9
    assert set(columns["cryodaskRunnerUpClass"]) <= {"armed", "plain", "background"}
    for name, own in zip(columns["cryodaskRunnerUpClass"], picks.particles.class_id, strict=True):
        assert name != own
    assert np.all(columns["cryodaskMargin"] <= picks.particles.score + 1e-9)
    assert np.all(np.diff(picks.particles.score) <= 0)
    # Whitening divides by a spectrum that holds the particles too.
    assert picks.record["amplitude_estimated"]
    assert 0.6 * AMPLITUDE < picks.record["amplitude"] < 1.05 * AMPLITUDE
    owners, _ = compared(planted, picks)
    angles = misorientation_deg(matrix_from_zxz_deg(picks.particles.zxz_deg), planted.matrices[owners])
    # The straight one looks the same however it turns about its axis.
    assert np.median(angles[picks.particles.class_id == "armed"]) < 8


def test_the_order_of_tasks_changes_nothing(planted: Planted, picks: Picks, store: Store) -> None:
    again = pick(planted, store, shuffled=True)
    assert_same(picks, again)


def assert_same(one: Picks, other: Picks) -> None:
    assert one.particles.to_dataset().equals(other.particles.to_dataset())
    for name, values in one.columns.items():
        assert np.array_equal(values, other.columns[name])


@pytest.mark.slow
def test_workers_change_nothing(planted: Planted, picks: Picks, tmp_path: Path, two_workers: Client) -> None:
    """Everything anew, maps and models too, on two processes."""
    again = pick(planted, Store(tmp_path / "maps.zarr").create(), client=two_workers)
    assert_same(picks, again)


def test_touching_particles_are_both_found(store: Store) -> None:
    close = plant((40, 100, 100), CLOSE, AMPLITUDE, seed=4)
    found = pick(close, store)
    assert compared(close, found)[1] == [0, 1]
    assert len(found.particles) == 2
    # Alone against noise the second would hardly be believed where the first still is.
    assert found.record["evaluations"] > 0


def test_nothing_is_found_in_noise(store: Store) -> None:
    """At most one pick a class and ten million voxels is what the threshold stands for; here is a twelfth of that."""
    empty = plant((64, 112, 112), [], AMPLITUDE, seed=5)
    found = pick(empty, store)
    assert len(found.particles) == 0
    assert not found.record["amplitude_estimated"]
    assert "the amplitude stays at 1.80" in found.notices[0]


def test_tiles_decide_as_one_list_would(store: Store) -> None:
    """Explaining away in coloured tiles against the same in a single one that holds the whole volume."""
    crowd = plant((40, 140, 140), [(20, 12 + 17 * i, 14 + 17 * j) for i in range(7) for j in range(7)], 1.0, seed=7)
    bench = PlainBench(store, PickingParameters(gold_threshold_z=1000.0, find_membranes=False, amplitude=0.7))
    prepared = prepare(crowd.target, bench)
    first = first_look(prepared, bench)
    tiled = peel(prepared, bench, first.candidates, threshold=0.0)
    models = [handle.load() for handle in prepared.models]
    whole = peel_tile(
        prepared.whitened,
        Tile((0, 0, 0), crowd.target.shape),
        first.candidates,
        empty_candidates(),
        empty_candidates(),
        models=models,
        reaches=Reaches.of(models, 1.0),
        threshold=0.0,
    ).accepted
    assert len(coloured_tiles(crowd.target.shape, Reaches.of(models, 1.0).tile)[0]) > 1
    assert len(whole) > 25
    assert sorted(tiled.accepted.key.tolist()) == sorted(whole.key.tolist())
    order = np.argsort(whole.key)
    mine = tiled.accepted.take(np.argsort(tiled.accepted.key))
    np.testing.assert_array_equal(mine.place, whole.place[order])
    # Sums in another order differ in the last digits.
    np.testing.assert_allclose(mine.score, whole.score[order], atol=0.05)


def test_decoys_count_false_picks(planted: Planted, store: Store) -> None:
    settings = PickingParameters(gold_threshold_z=1000.0, find_membranes=False, amplitude=AMPLITUDE, decoys=True)
    found = MultiClassLikelihood().pick(planted.target, PlainBench(store, settings))
    assert found.record["decoys"] == 0
    assert found.record["estimated_precision"] == 1
    assert np.all(found.columns["cryodaskFalseDiscoveryRate"] == 0)
