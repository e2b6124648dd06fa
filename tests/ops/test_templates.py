"""Templates: centre, scale and filters against closed forms and against the atoms themselves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from cryodask.errors import DataError
from cryodask.kernels.optics import phase_contrast_transfer
from cryodask.kernels.potential import electrostatic_potential
from cryodask.kernels.resample import rotate_volume
from cryodask.kernels.rotations import matrix_from_zxz_deg
from cryodask.kernels.spectrum import gaussian_low_pass
from cryodask.kernels.templates import soft_sphere_mask, wedge_mask
from cryodask.model.source import ArraySource
from cryodask.ops.densities import DENSITY_VOXEL_ANGSTROM, particle_density
from cryodask.ops.templates import FineTemplate, SearchFilter, TemplateSource, fine_template
from cryodask.params.schema import SampleParameters
from tests.tiny import Balls, centroid, gaussian

TARGET = 10.0
LOW_PASS = 40.0
BLOB_SIGMA = 12.0
PLAIN = SearchFilter(voxel_size_angstrom=TARGET, low_pass_angstrom=LOW_PASS, tilt_deg=None, dark=False)
OPTICS = {"voltage_kv": 300.0, "defocus_um": 3.0, "spherical_aberration_mm": 2.7}


def blob_template(
    shape: tuple[int, int, int], voxel: float, offset_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> TemplateSource:
    """A Gaussian at ``offset_angstrom`` (z, y, x) from the centre (N - 1) / 2."""
    centre = [(n - 1) / 2 + o / voxel for n, o in zip(shape, offset_angstrom, strict=True)]
    density = gaussian(shape, centre, BLOB_SIGMA / voxel)
    return TemplateSource(
        template_id="blob", density=ArraySource(density), voxel_size_angstrom=voxel, radius_angstrom=45.0
    )


def rotated(template: FineTemplate, matrix: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """The density as the search rotates it, before mask and normalisation."""
    volume: npt.NDArray[np.float32] = rotate_volume(
        template.density, matrix, output_shape=template.box, zoom=template.zoom, order=1
    )
    return volume


@pytest.mark.parametrize("voxel", [2.5, 3.7, 6.0, 10.0])
@pytest.mark.parametrize("size", [(40, 40, 40), (41, 41, 41), (40, 41, 46)])
def test_the_centre_stays_for_any_size_and_voxel(voxel: float, size: tuple[int, int, int]) -> None:
    nz, ny, nx = (max(13, round(n * 2.5 / voxel)) + n % 2 for n in size)
    template = fine_template(blob_template((nz, ny, nx), voxel), PLAIN)
    for angles in ((0.0, 0.0, 0.0), (50.0, 110.0, -20.0)):
        found = centroid(rotated(template, matrix_from_zxz_deg(angles)))
        np.testing.assert_allclose(found, (np.array(template.box) - 1) / 2, atol=0.1)


@pytest.mark.parametrize("size", [40, 41])
def test_what_lies_off_the_centre_turns_about_it(size: int) -> None:
    offset = (8.0, -11.0, 14.0)
    template = fine_template(blob_template((size,) * 3, 2.5, offset), PLAIN)
    for angles in ((0.0, 0.0, 0.0), (35.0, 80.0, -120.0)):
        turned = Rotation.from_euler("ZXZ", angles, degrees=True).apply(offset[::-1])[::-1]
        found = centroid(rotated(template, matrix_from_zxz_deg(angles))) - (np.array(template.box) - 1) / 2
        np.testing.assert_allclose(found, turned / TARGET, atol=0.1)


def test_templates_of_a_phase_flipped_tomogram_have_one_sign() -> None:
    k = np.linspace(0.0, 0.05, 200, dtype=np.float32)
    recorded = replace(PLAIN, optics=OPTICS, low_pass_angstrom=20.0)
    seen, flipped = (replace(recorded, phase_flipped=flag).radial(k, contrast=True) for flag in (False, True))
    assert seen.min() < 0 < seen.max()
    assert flipped.max() <= 0
    np.testing.assert_array_equal(np.abs(seen), np.abs(flipped))


@pytest.mark.parametrize("voxel", [2.5, 4.0])
def test_a_low_passed_gaussian_is_a_wider_gaussian(voxel: float) -> None:
    # Half at 1 / LOW_PASS is exp(-2 pi^2 s^2 k^2) with s^2 = ln 2 / (2 pi^2) LOW_PASS^2: variances add.
    template = fine_template(blob_template((41, 41, 41), voxel), PLAIN)
    extra = math.log(2) / (2 * math.pi**2) * LOW_PASS**2
    sigma = math.sqrt(BLOB_SIGMA**2 + extra)
    height = (BLOB_SIGMA / sigma) ** 3
    found = rotated(template, np.eye(3))
    expected = height * gaussian(found.shape, [(n - 1) / 2 for n in found.shape], sigma / TARGET)
    np.testing.assert_allclose(found, expected, atol=0.02 * height)


def test_a_template_is_the_filtered_potential_of_its_turned_atoms() -> None:
    structure, sample = Balls(), SampleParameters()
    density = particle_density(structure, sample)
    source = TemplateSource(
        template_id="balls",
        density=ArraySource(density.electrostatic_v),
        voxel_size_angstrom=density.voxel_size_angstrom,
        radius_angstrom=density.radius_angstrom,
    )
    template = fine_template(source, PLAIN)
    angles = (25.0, 70.0, -130.0)
    atoms = structure.load()
    turned = Rotation.from_euler("ZXZ", angles, degrees=True).apply(atoms.position_angstrom)
    # Directly on a fine grid that has the template's grid among its points, then low-passed there.
    step = round(TARGET / DENSITY_VOXEL_ANGSTROM)
    side = step * (template.box[0] - 1) + 1
    potential = electrostatic_potential(
        atoms.scattering_a,
        atoms.scattering_b,
        turned + (side - 1) / 2 * DENSITY_VOXEL_ANGSTROM,
        shape=(side,) * 3,
        voxel_size_angstrom=DENSITY_VOXEL_ANGSTROM,
        solvent_volume_a3=atoms.solvent_volume_a3,
        solvent_potential_v=sample.solvent_potential_v,
        blur_sigma_angstrom=sample.motion_blur_sigma_angstrom,
    )
    frequencies = [np.fft.fftfreq(side, DENSITY_VOXEL_ANGSTROM)] * 3
    k = np.sqrt(sum(axis**2 for axis in np.meshgrid(*frequencies, indexing="ij")))
    direct = np.fft.ifftn(np.fft.fftn(potential) * gaussian_low_pass(k, LOW_PASS)).real[::step, ::step, ::step]
    inside = soft_sphere_mask(template.box, source.radius_angstrom / TARGET, 0.0, template.density) > 0
    found = rotated(template, matrix_from_zxz_deg(angles))
    assert np.linalg.norm((found - direct)[inside]) < 0.03 * np.linalg.norm(direct[inside])
    wrong = rotated(template, matrix_from_zxz_deg(angles).T)
    assert np.linalg.norm((wrong - direct)[inside]) > 0.3 * np.linalg.norm(direct[inside])


def test_contrast_follows_optics_or_what_was_said() -> None:
    source = blob_template((41, 41, 41), 2.5)
    bright, dark = (fine_template(source, replace(PLAIN, dark=dark)).density for dark in (False, True))
    assert np.array_equal(bright, -dark)
    k = np.linspace(0, 0.05, 30, dtype=np.float32)
    with_optics = replace(PLAIN, optics=OPTICS)
    np.testing.assert_allclose(
        with_optics.radial(k, contrast=True),
        gaussian_low_pass(k, LOW_PASS) * phase_contrast_transfer(k, **OPTICS),
        rtol=1e-5,
        atol=1e-7,
    )
    np.testing.assert_allclose(with_optics.radial(k, contrast=False), gaussian_low_pass(k, LOW_PASS), rtol=1e-6)
    # Under focus a particle is dark, with a bright fringe around it.
    template = fine_template(source, with_optics)
    middle = tuple(n // 2 for n in template.density.shape)
    assert template.density[middle] == template.density.min() < 0 < template.density.max()


def test_whitening_is_part_of_tomogram_and_template() -> None:
    gains = ((0.0, 0.02, 0.05), (1.0, 3.0, 2.0))
    k = np.array([0.0, 0.01, 0.02, 0.05], dtype=np.float32)
    for contrast in (False, True):
        ratio = replace(PLAIN, whitening=gains).radial(k, contrast=contrast) / PLAIN.radial(k, contrast=contrast)
        np.testing.assert_allclose(ratio, [1.0, 2.0, 3.0, 2.0], rtol=1e-5)


def test_templates_are_masked_normalised_and_wedged() -> None:
    source = blob_template((41, 41, 41), 2.5, (6.0, 0.0, 9.0))
    tilts = tuple(np.linspace(-50, 50, 11).tolist())
    template = fine_template(source, replace(PLAIN, tilt_deg=tilts))
    assert template.wedge is not None
    assert np.array_equal(template.wedge, wedge_mask(template.box, tilts, template.density))
    matrices = matrix_from_zxz_deg([(0.0, 0.0, 0.0), (30.0, 60.0, 90.0)])
    weights = template.mask.astype(np.float64)
    made = list(template.at_rotations(matrices))
    assert len(made) == 2
    for volume in made:
        assert volume.shape == template.mask.shape
        assert volume.dtype == np.float32
        assert volume.sum(dtype=np.float64) == pytest.approx(0, abs=1e-3)
        inside = weights > 0
        assert (volume[inside] ** 2 / weights[inside]).sum() == pytest.approx(weights.sum(), rel=1e-4)
    # The wedge blurs along z: without it the template is another one.
    (plain,) = fine_template(source, PLAIN).at_rotations(matrices[:1])
    assert np.abs(plain - made[0]).max() > 0.05


def test_the_mask_holds_the_radius_and_the_halo_holds_the_mask() -> None:
    template = fine_template(blob_template((41, 41, 41), 2.5), PLAIN)
    side = template.mask.shape[0]
    assert side % 2 == 1
    assert template.reach_voxels >= side // 2
    assert template.mask[side // 2, side // 2, side // 2 + 4] == 1.0
    assert (np.array(template.box) >= 1.4 * side).all()
    assert all(n % 2 == 1 for n in template.box)


def test_a_density_that_is_not_finite_is_refused() -> None:
    density = np.ones((9, 9, 9), np.float32)
    density[1, 2, 3] = np.nan
    source = TemplateSource(
        template_id="holes", density=ArraySource(density), voxel_size_angstrom=5.0, radius_angstrom=20.0
    )
    with pytest.raises(DataError, match="template holes: its density holds values that are not finite"):
        fine_template(source, PLAIN)
