"""What the multi-class decision knows of one template: its filtered density, its low-rank images, its rotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cryodask.kernels.flips import flipped, representatives
from cryodask.kernels.fourier import irfftn, rfftn
from cryodask.kernels.low_rank_basis import LowRankBasis, build_basis
from cryodask.kernels.low_rank_search import Bank
from cryodask.kernels.resample import rotate_volume
from cryodask.kernels.whitening import LEAST_RATIO, PASS, STOP, pass_band, ramp_amplitude
from cryodask.ops.low_rank import sampler_of
from cryodask.ops.matching import one_thread
from cryodask.ops.template_lists import equivalent_radius_angstrom
from cryodask.ops.templates import FineTemplate, SearchFilter, TemplateSource, fine_template

Volume = npt.NDArray[np.float32]
Matrices = npt.NDArray[np.float64]

MISALIGNMENT_SIGMA_ANGSTROM = 5.0
"""Gaussian blur of templates for what the alignment of the tilts leaves."""

TOLERANCES = ((0.1, 120), (0.2, 200), (0.3, 300))
"""A basis misses the first of these lengths for which it needs no more than so many images."""

LAST_TOLERANCE, MOST_IMAGES = 0.4, 600

_TRAINED_TO = ((10.5, 0.1), (14.0, 0.2), (np.inf, LAST_TOLERANCE))
"""Up to a mask radius of so many voxels images are made down to this tolerance: large ones would need thousands."""

FINE_STEPS_DEG = ((14.0, 13.0), (np.inf, 10.0))
"""Up to a mask radius of so many voxels, the step of the list that posteriors are averaged over."""
COARSE_STEP_DEG = 18.0
"""Of maps, which are to tell places only."""

MOST_DENSE_IMAGES = 230
"""Maps of templates with more images are sampled at every second voxel."""

_MASK_GROWTH = ((7.0, 2.0), (10.5, 1.5), (np.inf, 0.0))
"""Up to a mask radius of so many voxels the mask is widened by so many: fringes of the CTF carry signal."""


def model_settings() -> dict[str, object]:
    """The constants above: they decide models, so they are part of their tokens."""
    return {
        "misalignment_sigma_angstrom": MISALIGNMENT_SIGMA_ANGSTROM,
        "tolerances": [list(pair) for pair in TOLERANCES],
        "last": [LAST_TOLERANCE, MOST_IMAGES],
        "trained_to": [[str(limit), least] for limit, least in _TRAINED_TO],
        "steps_deg": [[[str(limit), step] for limit, step in FINE_STEPS_DEG], COARSE_STEP_DEG],
        "mask_growth": [[str(limit), by] for limit, by in _MASK_GROWTH],
        "pass_band": [PASS, STOP, LEAST_RATIO],
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class ParticleModel:
    """One template of the multi-class decision."""

    class_id: str
    template: FineTemplate
    bank: Bank
    """Its strongest images and the coefficients of the list of rotations."""
    coarse: Bank
    """The same images at fewer rotations, for maps."""
    length: npt.NDArray[np.float64]
    """(rotations,) sigma of each, before flips."""
    matrices: Matrices
    """(rotations x flips, 3, 3)."""
    equivalent_radius_voxels: float
    """Of the ball with the volume of the particle's shape."""

    @property
    def kept_energy(self) -> float:
        """Share of a template's energy in its images, on average."""
        return 1.0 - float(self.bank.basis.residual[-1]) ** 2

    @property
    def half(self) -> int:
        """Half width of the mask's box."""
        return int(self.template.mask.shape[0]) // 2

    @property
    def image_half(self) -> int:
        """Half width of the box that a whole filtered image fills."""
        return self.template.box[0] // 2

    @property
    def every(self) -> int:
        """Voxels between two samples of its map."""
        return sample_distance(len(self.bank.basis.kernels))


def sample_distance(images: int) -> int:
    """Voxels between two samples of the map of a template with so many images."""
    return 2 if images > MOST_DENSE_IMAGES else 1


def likelihood_filter(
    voxel_size_angstrom: float,
    tilt_deg: tuple[float, ...] | None,
    optics: dict[str, float],
    *,
    dark: bool,
    transfer: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> SearchFilter:
    """What happens to a density on its way into a tomogram, before whitening; ``transfer`` is a further radial gain."""
    # A Gaussian blur of sigma s falls to one half at the resolution pi s sqrt(2 / ln 2).
    half = float(np.pi * MISALIGNMENT_SIGMA_ANGSTROM * np.sqrt(2 / np.log(2)))
    return SearchFilter(
        voxel_size_angstrom=voxel_size_angstrom,
        low_pass_angstrom=half,
        tilt_deg=tilt_deg,
        dark=dark,
        optics=optics,
        whitening=transfer,
    )


def likelihood_template(source: TemplateSource, search: SearchFilter) -> FineTemplate:
    """The template as a whitened tomogram shows it, in volts times the contrast transfer."""
    voxels = source.radius_angstrom / search.voxel_size_angstrom
    growth = next(by for limit, by in _MASK_GROWTH if voxels <= limit)
    wider = replace(source, radius_angstrom=source.radius_angstrom + growth * search.voxel_size_angstrom)
    fine = fine_template(wider, search)
    box = np.zeros(fine.box, np.float32)
    transfer = pass_band(fine.box, box) / ramp_amplitude(fine.box, box)
    if search.optics:
        transfer = 0.5 * transfer  # phase_contrast_transfer is -2 sin(chi); amplitudes are counted in sin(chi)
    if fine.wedge is not None:
        transfer = transfer * fine.wedge
    return replace(fine, wedge=np.asarray(transfer, dtype=np.float32))


def make_model(class_id: str, source: TemplateSource, search: SearchFilter, *, seed: int) -> ParticleModel:
    """Train a template's images and compute the coefficients of its rotations; seconds to half a minute."""
    template = likelihood_template(source, search)
    sampler = sampler_of(template)
    with one_thread():
        voxels = source.radius_angstrom / search.voxel_size_angstrom
        whole = build_basis(sampler, next(least for limit, least in _TRAINED_TO if voxels <= limit), seed=seed)
        basis = whole.first(_images(whole))
        step = next(step for limit, step in FINE_STEPS_DEG if voxels <= limit)
        rotations = representatives(step, basis.flips)
        coefficients, length = basis.coefficients_and_lengths(sampler, rotations)
        coarse = basis.coefficients(sampler, representatives(COARSE_STEP_DEG, basis.flips))
    return ParticleModel(
        class_id=class_id,
        template=template,
        bank=Bank(basis=basis, coefficients=coefficients),
        coarse=Bank(basis=basis, coefficients=coarse),
        length=length,
        matrices=flipped(rotations, basis.flips),
        equivalent_radius_voxels=equivalent_radius_angstrom(source) / search.voxel_size_angstrom,
    )


def _images(basis: LowRankBasis) -> int:
    for tolerance, most in TOLERANCES:
        count = basis.components(tolerance)
        if count <= most and basis.residual[count - 1] <= tolerance:
            return count
    return min(basis.components(LAST_TOLERANCE), MOST_IMAGES)


def whole_image(template: FineTemplate, matrix: Matrices) -> Volume:
    """The filtered template at one rotation, without mask, in the box that it was filtered in."""
    rotated = rotate_volume(template.density, matrix, output_shape=template.box, zoom=template.zoom, order=1)
    if template.wedge is None:
        return np.asarray(rotated, dtype=np.float32)
    return np.asarray(irfftn(rfftn(rotated) * template.wedge, template.box), dtype=np.float32)


def exact_kernels(template: FineTemplate, matrices: Matrices) -> Iterator[tuple[Volume, float]]:
    """For each rotation ``sqrt(m) u`` in the box of the mask, u the masked template of unit length, and sigma."""
    mask = template.mask
    total = float(mask.sum(dtype=np.float64))
    margin = (template.box[0] - mask.shape[0]) // 2
    inside = (slice(margin, margin + mask.shape[0]),) * 3
    for matrix in matrices:
        image = whole_image(template, matrix)[inside]
        deviation = image - np.float32((mask * image).sum(dtype=np.float64) / total)
        weighted = mask * deviation
        length = float(np.sqrt((weighted * deviation).sum(dtype=np.float64)))
        yield np.asarray(weighted / (length if length > 0 else 1.0), dtype=np.float32), length
