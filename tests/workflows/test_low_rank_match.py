"""The low-rank engine in a whole search: the picks of the exact engine, with exact scores, and resumable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from cryodask.io.store import Store
from cryodask.kernels.correlation import best_scores
from cryodask.kernels.rotations import matrix_from_zxz_deg
from cryodask.model.images import Tomogram
from cryodask.model.progress import NullProgress
from cryodask.model.source import ArraySource
from cryodask.ops import low_rank as low_rank_ops
from cryodask.ops.densities import particle_density
from cryodask.ops.engines import choose_engine, fft_seconds
from cryodask.ops.low_rank import LowRankSettings, rotations_of, tile_edge
from cryodask.ops.matching import CHUNK_VOXELS, TILE_VOXELS, Tile, prepare_tile
from cryodask.ops.templates import SearchFilter, TemplateSource, fine_template
from cryodask.params.schema import MatchingParameters
from cryodask.workflows import layout
from cryodask.workflows.match import MatchJob, MatchResult, match
from cryodask.workflows.search_inputs import NamedTemplate, tomogram_in_memory
from tests.tiny import SAMPLE, Balls, search_job
from tests.workflows.conftest import Reference

SETTINGS = LowRankSettings(angular_step_deg=20.0, coarse_step_deg=30.0, tolerance=0.1, keep=0.2)
PARAMETERS = MatchingParameters(
    engine="low-rank", angular_step_deg=20.0, coarse_step_deg=30.0, keep=0.2, threshold_z=3.0, max_picks=6
)


def searched(
    reference: Reference, folder: Path, parameters: MatchingParameters, client: Client | None = None
) -> tuple[Store, MatchResult]:
    maps = Store(folder / "maps.zarr")
    job = replace(search_job(reference.store), parameters=parameters)
    return maps, match(maps, job, client=client, progress=NullProgress())


@pytest.fixture(scope="module")
def low_rank(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, MatchResult]:
    return searched(reference, tmp_path_factory.mktemp("low"), PARAMETERS)


def test_maps_are_close_to_the_exact_ones(
    reference: Reference, low_rank: tuple[Store, MatchResult], tmp_path: Path
) -> None:
    exact, _ = searched(reference, tmp_path, replace(PARAMETERS, engine="fft"))
    for group in (entry.path for entry in exact.groups() if entry.kind == "scores"):
        ours, theirs = (s.source(group, "score").read((slice(None),) * 3) for s in (low_rank[0], exact))
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
        valid = np.isfinite(theirs)
        best = valid & (theirs > np.nanquantile(theirs, 0.95))
        assert np.corrcoef(ours[best], theirs[best])[0, 1] > 0.8


def test_every_pick_has_the_exact_score_of_its_pose(reference: Reference, low_rank: tuple[Store, MatchResult]) -> None:
    maps, result = low_rank
    job = search_job(reference.store)
    tomogram = job.tomograms[0]
    gains = maps.info(layout.search_group(tomogram.name))["whitening"]
    search = SearchFilter(
        voxel_size_angstrom=tomogram.voxel_size_angstrom,
        low_pass_angstrom=PARAMETERS.low_pass_angstrom,
        tilt_deg=tomogram.tilt_deg,
        dark=True,
        optics=tomogram.optics,
        whitening=None if gains is None else (tuple(gains[0]), tuple(gains[1])),
    )
    every = rotations_of(tomogram.tilt_deg, SETTINGS)
    filtered = maps.source(layout.search_group(tomogram.name), "image")
    sources = {template.source.template_id: template.source for template in job.templates}
    checked = 0
    voxels = result.picks.voxels(tomogram.shape, tomogram.voxel_size_angstrom)
    for name, voxel, angles, z in zip(
        result.picks.class_id, voxels, result.picks.zxz_deg, result.picks.score, strict=True
    ):
        template = fine_template(sources[str(name)], search)
        statistics = result.record["score_maps"][tomogram.name][str(name)]
        matrix = matrix_from_zxz_deg(angles)
        assert np.abs(every - matrix).max(axis=(1, 2)).min() < 1e-6
        plan = prepare_tile(filtered, Tile((0, 0, 0), tomogram.shape), template)
        exact, _ = best_scores(plan, template.at_rotations(matrix[None]), [0])
        score = statistics["median"] + z * statistics["sigma"]
        assert score == pytest.approx(float(exact[tuple(np.rint(voxel).astype(int))]), abs=1e-5)
        checked += 1
    assert checked > 0


def test_workers_change_no_bit(
    reference: Reference, low_rank: tuple[Store, MatchResult], two_workers: Client, tmp_path: Path
) -> None:
    maps, result = searched(reference, tmp_path, PARAMETERS, two_workers)
    for group in (entry.path for entry in maps.groups() if entry.kind == "scores"):
        for variable in ("score", "rotation_id"):
            ours, theirs = (s.source(group, variable).read((slice(None),) * 3) for s in (maps, low_rank[0]))
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(result.picks.position_angstrom, low_rank[1].picks.position_angstrom)
    np.testing.assert_array_equal(result.picks.score, low_rank[1].picks.score)


def test_the_record_says_which_engine_and_why(low_rank: tuple[Store, MatchResult]) -> None:
    engines = low_rank[1].record["engines"]
    assert {choice["engine"] for choice in engines.values()} == {"low-rank"}
    assert low_rank[1].record["rotations"] > 0


def test_auto_takes_what_is_estimated_to_be_faster() -> None:
    many = LowRankSettings(angular_step_deg=7.0, coarse_step_deg=18.0, tolerance=0.1, keep=0.02)
    tilts = tuple(range(-60, 61, 2))

    def chosen(rotations: int, edge: int, radius: float, wanted: str = "auto") -> str:
        return choose_engine(
            wanted, radius_voxels=radius, shape=(edge,) * 3, tilt_deg=tilts, rotations=rotations, settings=many
        ).engine

    assert chosen(45_000, 128, 7.5) == "low-rank"
    assert chosen(200, 64, 7.5) == "fft"
    assert chosen(45_000, 128, 7.5, "fft") == "fft"
    assert fft_seconds((128,) * 3, 7.5, 45_000) > 100


def test_a_tomogram_of_several_tiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tiles of one chunk, in a tomogram that is wider: each is written, and they agree with one large tile."""
    noise = np.random.default_rng(1).standard_normal((24, 80, 72)).astype(np.float32)
    tomogram = tomogram_in_memory(
        Tomogram.parse(xr.Dataset({"image": (("z", "y", "x"), noise)}, attrs={"voxel_size_angstrom": 10.0})), "m"
    )
    density = particle_density(Balls(), SAMPLE)
    template = NamedTemplate(
        source=TemplateSource(
            template_id="balls",
            density=ArraySource(density.electrostatic_v),
            voxel_size_angstrom=density.voxel_size_angstrom,
            radius_angstrom=density.radius_angstrom,
        ),
        token="balls",
    )
    parameters = replace(PARAMETERS, keep=1.0, angular_step_deg=45.0, coarse_step_deg=90.0)
    job = MatchJob(tomograms=(tomogram,), templates=(template,), parameters=parameters)
    maps = []
    for budget in (2**30, 1):
        monkeypatch.setattr(low_rank_ops, "COARSE_BUDGET_BYTES", budget)
        store = Store(tmp_path / f"{budget}.zarr")
        match(store, job, client=None, progress=NullProgress())
        assert store.info("m/scores/balls")["cryodask"]["blocks"] == (1 if budget > 1 else 4)
        maps.append(store.source("m/scores/balls", "score").read((slice(None),) * 3))
    # With all voxels kept, tiles differ by rounding only.
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)


@pytest.mark.parametrize("radius_voxels", [4.0, 8.5, 12.0, 17.5])
def test_tiles_are_made_of_whole_chunks(radius_voxels: float) -> None:
    edge = tile_edge(radius_voxels, TILE_VOXELS)
    assert edge % CHUNK_VOXELS == 0
    assert CHUNK_VOXELS <= edge <= TILE_VOXELS
