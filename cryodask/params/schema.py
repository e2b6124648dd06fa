"""Parameters of every stage: frozen, keyword-only, units in the names.

A pair ``(low, high)`` is a range from which one value a model is drawn uniformly; equal ends fix it. Presets
(``presets/*.yaml``) are data for these classes; ``loader.load_parameters`` is the only way from text to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Range = tuple[float, float]
CountRange = tuple[int, int]

_BENCHMARK_MEGAVOXELS = 512 * 512 * 180 / 1e6
"""Of a tomogram of the SHREC 2021 benchmark."""


@dataclass(frozen=True, kw_only=True)
class SampleParameters:
    """What lies in the ice."""

    box_voxels: tuple[int, int, int] = (360, 1024, 1024)
    """Grand model size (z, y, x); z is the ice thickness."""
    voxel_size_angstrom: float = 5.0
    particle_count: CountRange = (1000, 3000)
    volume_fraction: float | None = None
    """Share of the box that the particles' shapes fill, in place of ``particle_count``; above 0.1 with ``shapes``."""
    placement: Literal["spheres", "shapes"] = "spheres"
    """What must not overlap: bounding spheres, or the particles' own shapes, which pack more densely."""
    class_counts: dict[str, int] | None = None
    """Particles of each class named here, exactly; together they replace ``particle_count``."""
    class_weights: dict[str, float] | None = None
    """How often a class is drawn relative to the others, where not named 1; None draws all equally often."""
    molecular_weight_kda: Range = (0.0, 100_000.0)
    """Classes outside this range are left out, with a notice."""
    gold_count: CountRange = (0, 0)
    vesicle_count: CountRange = (0, 0)
    carbon_film_nm: Range | None = None
    """Thickness of a carbon film whose edge reaches into the field; None for a field without carbon."""
    carbon_share: Range = (0.2, 0.2)
    """Share of the field that the film covers, drawn once a model."""
    clearance_angstrom: float = 5.0
    """Least gap between the bounding spheres of two particles."""
    motion_blur_sigma_angstrom: float = 4.0
    """Gaussian blur of all potentials: beam-induced motion and radiation damage."""
    solvent_potential_v: float = 4.530129
    """Mean inner potential of the ice that each atom displaces."""
    ice_absorption_v: float | None = None
    """Absorption potential of ice; None computes it from its density (0.2041 V at 300 kV)."""


@dataclass(frozen=True, kw_only=True)
class MicroscopeParameters:
    """Electron optics."""

    voltage_kv: float = 300.0
    defocus_um: Range = (2.0, 5.0)
    """Underfocus is positive; at the centre of the specimen."""
    defocus_jitter_um: float = 0.0
    """Standard deviation of each image's own defocus about that of the series."""
    astigmatism_um: Range = (0.0, 0.0)
    """Largest minus smallest defocus over the directions of an image, drawn once a model with a random direction."""
    spherical_aberration_mm: float = 2.7
    chromatic_aberration_mm: float = 2.7
    energy_spread_ev: float = 0.7
    illumination_aperture_urad: float = 30.0
    objective_diameter_um: float = 100.0
    focal_distance_mm: float = 4.7


@dataclass(frozen=True, kw_only=True)
class AcquisitionParameters:
    """The tilt series: angles, dose, shifts and how the beam's way through the sample is computed."""

    tilt_min_deg: float = -60.0
    tilt_max_deg: float = 60.0
    tilt_count: int = 61
    tilt_deg: tuple[float, ...] | None = None
    """Tilts one by one in the order of acquisition, in place of evenly spaced ones."""
    tilt_order: Literal["sequential", "bidirectional", "dose-symmetric"] = "sequential"
    """In which order evenly spaced tilts are taken: upwards, from the middle up and then down, or by turns."""
    total_dose_e_per_a2: Range = (100.0, 120.0)
    """Over the whole series, divided equally over the tilts."""
    shift_sigma_angstrom: Range = (0.0, 0.0)
    """Standard deviation of the random image shifts in x and y, drawn once a model."""
    slice_thickness_angstrom: float = 50.0


@dataclass(frozen=True, kw_only=True)
class DetectorParameters:
    """The camera and what is done to its images."""

    camera: Literal["k2", "ideal", "file"] = "k2"
    camera_file: str | None = None
    """For the camera ``file``: its curves as CSV (fraction of Nyquist, MTF, DQE) or its MTF as RELION's STAR file."""
    oversampling: int = 2
    """Camera pixels along one side of an image pixel."""
    beam_damage_snr: Range | None = None
    """Extra Gaussian noise at this signal-to-noise ratio, as in the organisers' configurations; None adds none."""
    ring_scaling: Literal["none", "synthetic", "file"] = "none"
    """Amplitude profile that the images are scaled to ring by ring."""
    ring_scaling_file: str | None = None
    """For the profile ``file``: CSV (frequency in 1/angstrom, amplitude), or a recorded tilt series as MRC."""
    target_snr: Range | None = None
    """Signal-to-noise ratio over the tomogram's protein voxels, reached by scaling the noise; None leaves it."""


@dataclass(frozen=True, kw_only=True)
class SimulationParameters:
    """Everything that ``simulate`` depends on besides the structures, the number of models and the seed."""

    sample: SampleParameters = field(default_factory=SampleParameters)
    microscope: MicroscopeParameters = field(default_factory=MicroscopeParameters)
    acquisition: AcquisitionParameters = field(default_factory=AcquisitionParameters)
    detector: DetectorParameters = field(default_factory=DetectorParameters)


@dataclass(frozen=True, kw_only=True)
class ReconstructionParameters:
    """Weighted back-projection."""

    binning: int = 2
    """Fourier-crop factor of the images; the tomogram's voxels are this many image pixels wide."""
    window: Literal["ram-lak", "shepp-logan", "hamming", "hann", "sirt-like", "exact"] = "ram-lak"
    """Filter of the lines: the ramp, plain or weakened towards Nyquist; what some rounds of SIRT would make of it; or
    weights that are exact for these tilts and a sample as thick as the tomogram."""
    sirt_iterations: int = 30
    """Rounds that the filter ``sirt-like`` stands for."""
    thickness_voxels: int | None = None
    """Depth of the tomogram; None takes the sample's thickness."""
    taper_fraction: float = 0.05
    """Width of the cosine taper at each image edge, as a fraction of the image."""
    slab_voxels: int = 32
    """Rows along y that one task reconstructs."""
    normalization: Literal["auto", "contrast", "standard", "subtract"] = "auto"
    """Images become (I - mean) / mean, (I - mean) / deviation or I - mean; auto: the first, or for images about 0 the
    second."""
    invert: bool = False
    """Change the sign, for images in which proteins are bright."""
    hot_pixel_sigma: float | None = 10.0
    """Single pixels that many standard deviations off are replaced by their neighbours' median; None keeps them."""
    dose_weighting: bool = False
    """Weigh each image's detail by the dose the sample had received."""
    ctf_correction: Literal["none", "phase-flip"] = "none"
    """Turn back the phases that the microscope turned over, strip by strip along the tilt axis."""
    amplitude_contrast: float = 0.07
    """Share of absorption in the contrast, for ``ctf_correction``."""
    defocus_handedness: Literal[1, -1] = 1
    """-1 if, at a positive tilt, the side of the images at larger x is farther from focus, not nearer."""
    half_precision: bool = False
    """Store tomograms as float16: half the size, three digits."""

    @property
    def output_dtype(self) -> str:
        """Of tomograms."""
        return "float16" if self.half_precision else "float32"


@dataclass(frozen=True, kw_only=True)
class MatchingParameters:
    """Template matching and the picks that come of it."""

    engine: Literal["auto", "low-rank", "fft"] = "auto"
    """How scores are computed: exactly by one FFT a rotation, or by few correlations and exact scores of the peaks."""
    angular_step_deg: float = 15.0
    """Side of the cube of rotation space that one rotation stands for: 8 pi^2 / step^3 rotations."""
    low_pass_angstrom: float = 40.0
    """Resolution at which the Gaussian low-pass of tomogram and template has fallen to one half."""
    whiten: bool = True
    """Divide tomogram and template by the tomogram's radial amplitude spectrum within the wedge."""
    rotations_per_task: int = 128
    seed: int = 0
    """Of the random rotations that a low-rank basis is made of."""
    tolerance: float = 0.1
    """Length that the low-rank basis may miss of a template of unit length, on average: bounds the error of a score."""
    coarse_step_deg: float = 18.0
    """As ``angular_step_deg``, for the coarse list that ranks the voxels of a low-rank search."""
    keep: float = 0.02
    """Share of the voxels, the best by the coarse list, that a low-rank search looks at finely."""
    max_picks: int = 1000
    """Candidates kept per template before the classes compete."""
    threshold_z: float = 8.0
    """Least robust z-score of a pick (median and median absolute deviation of its template's score map)."""
    false_positives: float | None = None
    """In place of ``threshold_z``: false picks to be expected of each template, if its background were normal."""
    refine: bool = False
    """Move each pick to the top of the parabolas through its score and its neighbours'."""


@dataclass(frozen=True, kw_only=True)
class PickingParameters:
    """What ``pick`` decides by, besides the search that ``matching`` describes."""

    candidates_per_template: int = 1000
    """Places of each template that ``tm`` starts from in 512 x 512 x 180 voxels; in others in proportion."""
    both_hands: bool = False
    """Look for the mirror image of every template too, for tomograms whose hand is not known."""
    gold_sigma_voxels: Range = (1.0, 5.0)
    """Scales at which gold beads are looked for; a bead's radius is sqrt(3) times its scale."""
    gold_threshold_z: float = 25.0
    """Least strength of a bead, in robust standard deviations of its scale's answers."""
    diameter_angstrom: float = 120.0
    """Of the particles that ``dog`` looks for."""
    dog_threshold_z: float = 5.0
    """Least robust z-score of a pick of ``dog``."""

    amplitude: float = 0.6
    """Of particles in the whitened tomogram, deviations of the noise a volt, until confident picks tell: ``tm-c``."""
    expected_per_megavoxel: float = 3.0
    """Particles of each class that ``tm-c`` expects in a million voxels before it looks."""
    expected_count: float | None = None
    """Particles of each class that ``tm-c`` is to expect in the tomogram; None estimates it."""
    least_score: float = 0.0
    """Least log posterior odds of a pick of ``tm-c``: 0 means more probable than background."""
    find_membranes: bool = True
    """Whether ``tm-c`` looks for membranes, which it takes no picks from."""
    amplitude_gate: bool = True
    """Whether ``tm-c`` drops picks whose amplitude is too low for their class."""
    decoys: bool = False
    """Whether ``tm-c`` also decides on the negative of what it leaves, to estimate how many of its picks are false."""

    def candidates(self, megavoxels: float) -> int:
        """Places of each template in a tomogram of this size, at least one."""
        return max(1, round(self.candidates_per_template * megavoxels / _BENCHMARK_MEGAVOXELS))


@dataclass(frozen=True, kw_only=True)
class RunParameters:
    """All stages of ``benchmark``; the stage commands take their part of it."""

    models: int = 1
    simulation: SimulationParameters = field(default_factory=SimulationParameters)
    reconstruction: ReconstructionParameters = field(default_factory=ReconstructionParameters)
    matching: MatchingParameters = field(default_factory=MatchingParameters)
    picking: PickingParameters = field(default_factory=PickingParameters)
