"""Exchange of Gaussian blurs: against Gaussians written down."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import to_host
from cryodask.errors import ConfigError
from cryodask.kernels.density_map import STRONGEST_GAIN, cutoff_frequency, reblurred
from tests.conftest import Namespace

VOXEL = 3.0
SHAPE = (24, 30, 27)
CENTRE = (34.0, 46.0, 40.0)


def gaussian(sigma: float, shape: tuple[int, ...] = SHAPE, voxel: float = VOXEL) -> npt.NDArray[np.float64]:
    """A unit of mass at CENTRE (angstrom from voxel 0), blurred."""
    axes = np.meshgrid(*(np.arange(n) * voxel for n in shape), indexing="ij")
    squared = sum((axis - c) ** 2 for axis, c in zip(axes, CENTRE, strict=True))
    return np.asarray(np.exp(-squared / (2 * sigma**2)) / (2 * math.pi * sigma**2) ** 1.5)


@pytest.mark.parametrize("upsampling", [1, 2, 3])
def test_a_gaussian_becomes_another(arrays: Namespace, upsampling: int) -> None:
    found = reblurred(
        arrays.asarray(gaussian(7.0)),
        voxel_size_angstrom=VOXEL,
        blur_sigma_angstrom=7.0,
        target_sigma_angstrom=5.5,
        cutoff=0.5 / VOXEL,
        upsampling=upsampling,
    )
    fine = tuple(upsampling * n for n in SHAPE)
    expected = gaussian(5.5, fine, VOXEL / upsampling)
    # Beyond the cut-off of 0.167 1/angstrom the narrower Gaussian has 6e-8 of its spectrum left, and the tails that the
    # box cuts off (5 sigma away) are the larger part of the difference.
    np.testing.assert_allclose(to_host(found), expected, atol=1e-3 * expected.max())
    assert float(to_host(found).mean()) == pytest.approx(gaussian(7.0).mean(), rel=1e-9)


def test_what_the_blur_has_buried_is_left_out() -> None:
    """White noise a millionth as strong as the signal must not be raised beyond the strongest gain."""
    noise = np.random.default_rng(1).normal(0, 1e-6, SHAPE)
    cutoff = cutoff_frequency(VOXEL, 9.0, 2.5)
    assert math.exp(2 * math.pi**2 * 81 * cutoff**2) == pytest.approx(STRONGEST_GAIN)
    found = reblurred(
        noise, voxel_size_angstrom=VOXEL, blur_sigma_angstrom=9.0, target_sigma_angstrom=0.0, cutoff=cutoff
    )
    assert np.abs(found).max() < STRONGEST_GAIN * np.abs(noise).max()
    assert np.isfinite(found).all()


def test_cutoff_is_that_of_the_coarser_grid_without_a_blur() -> None:
    assert cutoff_frequency(5.0, 0.0, 2.5) == 0.1
    assert cutoff_frequency(1.0, 0.0, 2.5) == 0.2


@pytest.mark.parametrize(
    "wrong",
    [{"upsampling": 0}, {"cutoff": 0.0}, {"cutoff": 0.3}, {"blur_sigma_angstrom": -1.0}, {"target_sigma_angstrom": -1}],
)
def test_what_cannot_be_done_is_refused(wrong: dict[str, float]) -> None:
    arguments = {
        "voxel_size_angstrom": VOXEL,
        "blur_sigma_angstrom": 6.0,
        "target_sigma_angstrom": 4.0,
        "cutoff": 0.1,
    }
    with pytest.raises(ConfigError, match="cannot deconvolve"):
        reblurred(np.zeros(SHAPE), **{**arguments, **wrong})  # type: ignore[arg-type]
