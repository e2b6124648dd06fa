"""One simulated tilt: where things appear, how bright the ice is, and what the seed decides."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.backend import as_device_array
from cryodask.kernels.absorption import inelastic_mean_free_path_angstrom
from cryodask.kernels.slab_rotation import PADDING_VOXELS, spline_coefficients
from cryodask.model.particles import Particles
from cryodask.model.source import ArraySource
from cryodask.ops import projection
from cryodask.ops.acquisition import TiltSettings
from cryodask.ops.bodies import ice_absorption_v
from cryodask.ops.densities import particle_density
from cryodask.ops.projection import TiltImages, simulate_tilt, simulate_tilt_bytes, simulated_images
from cryodask.ops.sample import sample_slab
from cryodask.params.schema import (
    AcquisitionParameters,
    DetectorParameters,
    MicroscopeParameters,
    SampleParameters,
    SimulationParameters,
)
from tests.conftest import Namespace
from tests.tiny import Balls, centroid, gaussian, source_of

NZ, NY, NX = 24, 40, 48
PARAMETERS = SimulationParameters(
    sample=SampleParameters(box_voxels=(NZ, NY, NX)),
    microscope=MicroscopeParameters(defocus_um=(2.0, 2.0)),
    acquisition=AcquisitionParameters(slice_thickness_angstrom=20.0),
)
IDEAL = replace(PARAMETERS, detector=DetectorParameters(camera="ideal"))
TILT = TiltSettings(
    tilt_deg=0.0, dose_e_per_a2=2.0, defocus_um=2.0, shift_y_angstrom=0.0, shift_x_angstrom=0.0, seed=(1, (2, 0, 0))
)
ELECTRONS = TILT.dose_e_per_a2 * PARAMETERS.sample.voxel_size_angstrom**2
NOTHING = np.zeros((NZ, NY, NX), np.float32)


def images_of(
    volume: npt.NDArray[np.float32],
    tilt: TiltSettings = TILT,
    parameters: SimulationParameters = PARAMETERS,
    absorption: npt.NDArray[np.float32] = NOTHING,
) -> TiltImages:
    potentials = [ArraySource(spline_coefficients(part)) for part in (volume, absorption)]
    ice = ice_absorption_v(parameters.sample, parameters.microscope)
    return simulate_tilt(potentials[0], potentials[1], tilt, parameters, ice)


def test_a_tilt_on_another_device_is_the_same(arrays: Namespace) -> None:
    """The whole task on each array library: what a GPU worker does, as far as it shows without a GPU."""
    volume = 5 * gaussian(NOTHING.shape, (12, 20, 24), 3.0)
    tilt = replace(TILT, tilt_deg=20.0, shift_x_angstrom=7.0, damage_snr=1.0, astigmatism_um=0.2, astigmatism_deg=30.0)
    parameters = replace(PARAMETERS, detector=DetectorParameters(ring_scaling="synthetic"))
    electrostatic, absorption = (ArraySource(spline_coefficients(part)) for part in (volume, np.float32(0.1) * volume))
    here = simulate_tilt(electrostatic, absorption, tilt, parameters, 0.2)
    like = arrays.asarray(np.zeros(0, np.float32))
    there = simulate_tilt(electrostatic, absorption, tilt, parameters, 0.2, like=like)
    for name in ("noise_free", "counts", "scaled", "scaled_noise_free"):
        one, other = getattr(here, name), getattr(there, name)
        assert isinstance(other, np.ndarray)
        assert other.dtype == np.float32
        np.testing.assert_allclose(other.mean(), one.mean(), rtol=1e-3)
    np.testing.assert_allclose(there.noise_free, here.noise_free, rtol=1e-4)
    # Of the random counts, all but those that rounding tips.
    assert (np.abs(there.counts - here.counts) < 0.05).mean() > 0.5


def test_each_block_moves_to_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read goes to the device as it is and once; nothing that is computed there comes back to go again."""
    moved: list[int] = []

    def counted(values: npt.NDArray[np.float32], like: npt.NDArray[np.float32]) -> Any:  # noqa: ANN401
        moved.append(values.size)
        return as_device_array(values, like)

    monkeypatch.setattr(projection, "as_device_array", counted)
    parts = [spline_coefficients(part) for part in (5 * gaussian(NOTHING.shape, (12, 20, 24), 3.0), NOTHING)]
    electrostatic, absorption = map(ArraySource, parts)
    simulate_tilt(electrostatic, absorption, replace(TILT, tilt_deg=20.0), PARAMETERS, 0.2)
    assert sum(moved) == sum(part.size for part in parts)


@pytest.mark.parametrize("tilt_deg", [-60.0, 0.0, 35.0])
def test_ice_lets_through_what_its_mean_free_path_says(tilt_deg: float) -> None:
    images = images_of(NOTHING, replace(TILT, tilt_deg=tilt_deg))
    path = NZ * PARAMETERS.sample.voxel_size_angstrom / math.cos(math.radians(tilt_deg))
    expected = ELECTRONS * math.exp(-path / inelastic_mean_free_path_angstrom("ice", 300.0))
    np.testing.assert_allclose(images.noise_free, expected, rtol=1e-4)
    # Shot noise of all pixels together.
    assert images.counts.mean() == pytest.approx(expected, abs=4 * math.sqrt(expected / images.counts.size))


def test_a_given_ice_absorption_counts() -> None:
    clear = replace(PARAMETERS, sample=replace(PARAMETERS.sample, ice_absorption_v=0.0))
    np.testing.assert_allclose(images_of(NOTHING, parameters=clear).noise_free, ELECTRONS, rtol=1e-5)


def test_images_scale_with_the_dose() -> None:
    volume = 5 * gaussian(NOTHING.shape, (12, 20, 24), 3.0)
    one, three = (images_of(volume, replace(TILT, dose_e_per_a2=dose)).noise_free for dose in (1.0, 3.0))
    np.testing.assert_allclose(three, 3 * one, rtol=1e-5)


@pytest.mark.parametrize("tilt_deg", [0.0, -40.0])
def test_a_protein_is_darker_than_the_ice(tilt_deg: float) -> None:
    density = particle_density(Balls(balls=(((0.0, 0.0, 0.0), 35.0),)), PARAMETERS.sample)
    one = Particles.create(["balls"], [(0.0, 0.0, 0.0)], zxz_deg=[(0.0, 0.0, 0.0)])
    slab = sample_slab(one, {"balls": source_of(density)}, (0, NY), PARAMETERS.sample, PARAMETERS.microscope)
    image = images_of(slab.electrostatic_v, replace(TILT, tilt_deg=tilt_deg), absorption=slab.absorption_v).noise_free
    inside = gaussian((NY, NX), ((NY - 1) / 2, (NX - 1) / 2), 1.0) > math.exp(-(5**2) / 2)
    assert image[inside].mean() < 0.99 * image[:4].mean()
    # The absorption is a part of that, smaller than the phase contrast but not nothing.
    without = images_of(slab.electrostatic_v, replace(TILT, tilt_deg=tilt_deg)).noise_free
    assert image[inside].mean() < without[inside].mean()


@pytest.mark.parametrize("tilt_deg", [-60.0, -30.0, 0.0, 20.0, 45.0])
def test_a_heavy_blob_appears_at_x_cos_plus_z_sin(tilt_deg: float) -> None:
    centre = np.array([(NZ - 1) / 2, (NY - 1) / 2, (NX - 1) / 2])
    place = np.array([6.0, -7.0, 9.0])
    volume = 20 * gaussian(NOTHING.shape, centre + place, 1.8)
    # Absorption alone has no fringes: the shadow's centre is that of the blob.
    image = images_of(NOTHING, replace(TILT, tilt_deg=tilt_deg, defocus_um=0.05), IDEAL, absorption=volume).noise_free
    angle = math.radians(tilt_deg)
    expected = (place[1], place[2] * math.cos(angle) + place[0] * math.sin(angle))
    found = centroid(image.max() - image) - centre[1:]
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_a_shift_moves_the_content_by_that_much() -> None:
    volume = 10 * gaussian(NOTHING.shape, (12, 17, 26), 2.0)
    still = images_of(volume).noise_free
    moved = images_of(volume, replace(TILT, shift_y_angstrom=15.0, shift_x_angstrom=-20.0)).noise_free
    np.testing.assert_allclose(moved, np.roll(still, (3, -4), axis=(0, 1)), rtol=1e-4)


def test_the_seed_decides_the_counts_and_nothing_else() -> None:
    volume = 5 * gaussian(NOTHING.shape, (12, 20, 24), 3.0)
    one, same = images_of(volume), images_of(volume)
    other = images_of(volume, replace(TILT, seed=(1, (2, 0, 1))))
    assert one.counts.tobytes() == same.counts.tobytes()
    assert one.noise_free.tobytes() == same.noise_free.tobytes() == other.noise_free.tobytes()
    assert not np.array_equal(one.counts, other.counts)


def test_the_mean_of_many_counts_is_the_noise_free_image() -> None:
    volume = 5 * gaussian(NOTHING.shape, (12, 20, 24), 3.0)
    many = [images_of(volume, replace(TILT, seed=(1, (2, 0, index)))) for index in range(40)]
    difference = np.mean([image.counts for image in many], axis=0) - many[0].noise_free
    # A K2 filters the noise, so that it is below Poisson's.
    assert np.abs(difference).mean() < math.sqrt(ELECTRONS / len(many))
    assert abs(difference.mean()) < 4 * math.sqrt(ELECTRONS / len(many) / difference.size)


def test_images_have_the_shape_and_type_of_the_store() -> None:
    images = images_of(NOTHING, replace(TILT, tilt_deg=60.0))
    for image in (images.counts, images.noise_free):
        assert image.shape == (NY, NX)
        assert image.dtype == np.float32


def test_a_rod_along_z_leans_as_it_is_tilted() -> None:
    # The end at larger z goes to larger x at a positive tilt.
    volume = NOTHING.copy()
    volume[NZ // 2 :, NY // 2, NX // 2] = 20
    spline = spline_coefficients(volume)
    assert spline.shape == (NX + 2 * PADDING_VOXELS, NZ + 2 * PADDING_VOXELS, NY)
    for tilt_deg, sign in ((40.0, 1), (-40.0, -1)):
        image = images_of(
            NOTHING, replace(TILT, tilt_deg=tilt_deg, defocus_um=0.05), IDEAL, absorption=volume
        ).noise_free
        assert sign * (centroid(image.max() - image)[1] - NX / 2) > 2


def test_memory_grows_with_the_box() -> None:
    large = replace(PARAMETERS, sample=replace(PARAMETERS.sample, box_voxels=(NZ, 2 * NY, 2 * NX)))
    small_bytes, large_bytes = simulate_tilt_bytes(PARAMETERS), simulate_tilt_bytes(large)
    assert 8 * NY * NX * 4 < small_bytes < large_bytes


SCALED = replace(PARAMETERS, detector=DetectorParameters(ring_scaling="synthetic"))


def test_scaled_images_differ_from_the_others_by_one_factor_a_ring() -> None:
    volume = gaussian((NZ, NY, NX), (12, 20, 24), 4.0)
    images, plain = images_of(volume, parameters=SCALED), images_of(volume)
    assert plain.scaled is None
    assert plain.scaled_noise_free is None
    assert images.counts.tobytes() == plain.counts.tobytes()
    assert images.scaled is not None
    assert images.scaled_noise_free is not None
    assert set(simulated_images(SCALED)) == {field.name for field in fields(TiltImages)}
    assert set(simulated_images(PARAMETERS)) == {"counts", "noise_free"}
    gains = [
        np.abs(np.fft.rfft2(after - after.mean())) / np.abs(np.fft.rfft2(before - before.mean()))
        for before, after in ((images.counts, images.scaled), (images.noise_free, images.scaled_noise_free))
    ]
    strong = np.abs(np.fft.rfft2(images.noise_free)) > 0.05 * images.noise_free.std() * NX
    strong[0, 0] = False
    assert strong.sum() > 10
    np.testing.assert_allclose(gains[0][strong], gains[1][strong], rtol=1e-3)


def test_beam_damage_has_the_ratio_asked_for_and_leaves_the_expectation_alone() -> None:
    volume = 20 * gaussian((NZ, NY, NX), (12, 20, 24), 4.0)
    damaged, sound = (
        images_of(volume, replace(TILT, dose_e_per_a2=1e6, damage_snr=snr, damage_seed=(1, (3, 0, 0))), IDEAL)
        for snr in (0.8, None)
    )
    assert damaged.noise_free.tobytes() == sound.noise_free.tobytes()
    noise = damaged.counts.astype(np.float64) - sound.counts
    # 1920 pixels tell a variance within 3.2 percent (one sigma); shot noise is a thousandth of it at this dose.
    assert sound.noise_free.var() / noise.var() == pytest.approx(0.8, rel=0.13)
    assert abs(noise.mean()) < 4 * noise.std() / math.sqrt(noise.size)
