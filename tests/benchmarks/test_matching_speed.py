"""Template matching on one core: both engines against pyTME, and the fused product against a plain one.

Processor time, one thread each (set OMP_NUM_THREADS=1), in one run. Products of matrices go to the BLAS of numpy and
scipy: variables that keep it from the machine's own instructions (OPENBLAS_CORETYPE) halve their rate. The low-rank
searches are of four real structures in 128^3 voxels of 10 angstrom: tilts of +-60 degrees, CTF at 3.65 um, low-pass 40
angstrom, all rotations of the 7 degree list, coarse list 18 degrees, 2 % kept; bank included, training given apart.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from cryodask.io.structures import load_structure_set
from cryodask.kernels.correlation import search_volume
from cryodask.kernels.fast.low_rank import best_rotation
from cryodask.kernels.flips import representatives
from cryodask.kernels.fourier import irfftn, radius, rfftn
from cryodask.kernels.low_rank_basis import LowRankBasis, build_basis
from cryodask.kernels.low_rank_search import Bank, CoarseToFine, low_rank_scores
from cryodask.kernels.spectrum import gaussian_low_pass
from cryodask.model.source import ArraySource
from cryodask.ops.densities import particle_density
from cryodask.ops.low_rank import LARGEST_BASIS, sampler_of
from cryodask.ops.matching import Tile, prepare_tile, search_batch
from cryodask.ops.templates import FineTemplate, SearchFilter, TemplateSource, fine_template
from cryodask.params.schema import SampleParameters
from tests.peers import pytme_scores

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(3000),
    pytest.mark.skipif(os.environ.get("OMP_NUM_THREADS") != "1", reason="one thread: set OMP_NUM_THREADS=1"),
]

EDGE = 128
STEP_DEG, COARSE_DEG, KEEP = 7.0, 18.0, 0.02
SEARCH = SearchFilter(
    voxel_size_angstrom=10.0,
    low_pass_angstrom=40.0,
    tilt_deg=tuple(range(-60, 61, 2)),
    dark=True,
    optics={"voltage_kv": 300.0, "defocus_um": 3.65, "spherical_aberration_mm": 2.7},
)
SPEED_UPS = {"3gl1": 250, "1bxn": 150, "1u6g": 80, "4cr2": 28}
"""Least ratios to pyTME."""


def processor_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def volume(edge: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Low-passed noise of deviation 1."""
    noise = np.random.default_rng(seed).standard_normal((edge,) * 3).astype(np.float32)
    k = radius(noise.shape, 10.0, noise, real=True)
    smooth = irfftn(rfftn(noise) * gaussian_low_pass(k, 40.0), noise.shape)
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


def template_of(shared_data: Path, class_id: str) -> FineTemplate:
    (structure,) = load_structure_set(shared_data / "structures", [class_id]).structures
    density = particle_density(structure, SampleParameters())
    source = TemplateSource(
        template_id=class_id,
        density=ArraySource(density.electrostatic_v),
        voxel_size_angstrom=density.voxel_size_angstrom,
        radius_angstrom=structure.info.mask_radius_angstrom or 100.0,
    )
    return fine_template(source, SEARCH)


@pytest.fixture(scope="module")
def pytme_seconds() -> float:
    """Of one rotation, at 128^3 with a template of 32^3."""
    side = 32
    place = np.indices((side,) * 3) - (side - 1) / 2
    mask = ((place**2).sum(axis=0) <= 12**2).astype(np.float32)
    template = np.random.default_rng(0).random((side,) * 3).astype(np.float32) * mask
    matrices = Rotation.random(25, random_state=1).as_matrix()
    return pytme_scores(volume(EDGE), template, mask, matrices)[1]


def test_exact_engine_against_pytme(pytme_seconds: float) -> None:
    """As a search runs it, in boxes of 33^3: no wedge on either side."""
    density = np.random.default_rng(0).random((33, 33, 33)).astype(np.float32)
    source = TemplateSource(
        template_id="noise", density=ArraySource(density), voxel_size_angstrom=10.0, radius_angstrom=150.0
    )
    template = fine_template(source, replace(SEARCH, tilt_deg=None, optics={}))
    assert template.mask.shape == (33, 33, 33)
    prepared = prepare_tile(ArraySource(volume(EDGE)), Tile((0, 0, 0), (EDGE,) * 3), template)
    matrices = Rotation.random(25, random_state=1).as_matrix()

    def search() -> None:
        search_batch(prepared, template, matrices, 0)

    search()
    ours = statistics.median(processor_seconds(search) / len(matrices) for _ in range(5))
    print(f"fft engine {1e3 * ours:.1f} ms, pyTME {1e3 * pytme_seconds:.1f} ms a rotation: {pytme_seconds / ours:.2f}")
    assert pytme_seconds > 1.5 * ours


def banks(template: FineTemplate, basis: LowRankBasis) -> CoarseToFine:
    """As ``ops.low_rank.make_banks``, with the basis given."""
    coarse = basis.first(basis.components(0.3))
    fine = basis.first(min(len(basis.strength_rank), max(LARGEST_BASIS, len(coarse.strength_rank))))
    sampler = sampler_of(template)
    few, many = (representatives(step, basis.flips) for step in (COARSE_DEG, STEP_DEG))
    flips = len(basis.flips.signs_zyx)
    return CoarseToFine(
        coarse=Bank(basis=coarse, coefficients=coarse.coefficients(sampler, few), first_id=len(many) * flips),
        fine=Bank(basis=fine, coefficients=fine.coefficients(sampler, many)),
        keep=KEEP,
    )


@pytest.mark.parametrize("class_id", list(SPEED_UPS))
def test_low_rank_engine_against_pytme(class_id: str, shared_data: Path, pytme_seconds: float) -> None:
    template = template_of(shared_data, class_id)
    plan = search_volume(volume(EDGE), template.mask, mean_and_deviation=(0.0, 1.0))
    start = time.process_time()
    basis = build_basis(sampler_of(template), 0.1)
    training = time.process_time() - start
    banks(template, basis)
    start = time.process_time()
    made = banks(template, basis)
    bank = time.process_time() - start
    search = min(processor_seconds(lambda: low_rank_scores(plan, made)) for _ in range(2))
    rotations = len(made.fine.coefficients) * len(basis.flips.signs_zyx)
    ratio = rotations * pytme_seconds / (bank + search)
    few, many = len(made.coarse.basis.strength_rank), len(made.fine.basis.strength_rank)
    print(
        f"{class_id}: K {few}/{many}, {rotations} rotations, bank {bank:.2f} s, search {search:.2f} s "
        f"(training {training:.1f} s), pyTME {rotations * pytme_seconds:.0f} s: {ratio:.0f} times faster"
    )
    assert ratio > SPEED_UPS[class_id]


def test_fused_product_against_a_plain_one() -> None:
    k, voxels, rotations = 96, 65_536, 512
    generator = np.random.default_rng(0)
    maps = generator.standard_normal((k, voxels)).astype(np.float32)
    coefficients = generator.standard_normal((rotations, k)).astype(np.float32)
    offsets = np.array([0, 24, 48, 72, 96])
    flat = np.concatenate([coefficients[:, a : a + 24].ravel() for a in range(0, 96, 24)])
    signs = np.array([[1, 1, 1, 1], [1, -1, -1, 1], [1, -1, 1, -1], [1, 1, -1, -1]], np.float32)
    best, arg = np.empty(voxels, np.float32), np.empty(voxels, np.int32)

    def fused() -> None:
        best_rotation(maps, offsets, flat, signs, best, arg)

    fused()
    ours = statistics.median(processor_seconds(fused) for _ in range(5))
    out = np.empty((rotations, voxels), np.float32)
    plain = statistics.median(processor_seconds(lambda: np.matmul(coefficients, maps, out=out)) for _ in range(5))
    rate = 4 * rotations * voxels / ours
    print(f"K = 96: {rate / 1e9:.2f} G voxel rotations/s; {plain / ours:.0%} of the plain product's rate")
    assert rate > 2.5e9
    assert plain > 0.7 * ours
