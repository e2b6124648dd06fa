"""Sane limits of every number in the schema: wide enough for any real experiment, narrow enough to catch a wrong unit.

Keys are ``Class.field``; a pair is checked end by end. The unit also serves messages and the parameter table.
"""

from __future__ import annotations

from typing import NamedTuple


class Bound(NamedTuple):
    """Both ends are allowed."""

    low: float
    high: float
    unit: str = ""


BOUNDS: dict[str, Bound] = {
    "RunParameters.models": Bound(1, 100_000),
    "SampleParameters.box_voxels": Bound(4, 16_384, "voxels"),
    "SampleParameters.voxel_size_angstrom": Bound(0.5, 50, "angstrom"),
    "SampleParameters.particle_count": Bound(0, 1_000_000),
    "SampleParameters.volume_fraction": Bound(0.0001, 0.5),
    "SampleParameters.class_counts": Bound(0, 1_000_000),
    "SampleParameters.class_weights": Bound(0, 1_000_000),
    "SampleParameters.molecular_weight_kda": Bound(0, 100_000, "kDa"),
    "SampleParameters.gold_count": Bound(0, 10_000),
    "SampleParameters.vesicle_count": Bound(0, 1_000),
    "SampleParameters.carbon_film_nm": Bound(1, 200, "nm"),
    "SampleParameters.carbon_share": Bound(0.001, 0.95),
    "SampleParameters.clearance_angstrom": Bound(0, 1_000, "angstrom"),
    "SampleParameters.motion_blur_sigma_angstrom": Bound(0, 100, "angstrom"),
    "SampleParameters.solvent_potential_v": Bound(0, 20, "V"),
    "SampleParameters.ice_absorption_v": Bound(0, 5, "V"),
    "MicroscopeParameters.voltage_kv": Bound(60, 1_500, "kV"),
    "MicroscopeParameters.defocus_um": Bound(0, 20, "um"),
    "MicroscopeParameters.defocus_jitter_um": Bound(0, 5, "um"),
    "MicroscopeParameters.astigmatism_um": Bound(0, 5, "um"),
    "MicroscopeParameters.spherical_aberration_mm": Bound(0, 20, "mm"),
    "MicroscopeParameters.chromatic_aberration_mm": Bound(0, 20, "mm"),
    "MicroscopeParameters.energy_spread_ev": Bound(0, 10, "eV"),
    "MicroscopeParameters.illumination_aperture_urad": Bound(0, 1_000, "urad"),
    "MicroscopeParameters.objective_diameter_um": Bound(1, 1_000, "um"),
    "MicroscopeParameters.focal_distance_mm": Bound(0.1, 50, "mm"),
    "AcquisitionParameters.tilt_min_deg": Bound(-90, 90, "deg"),
    "AcquisitionParameters.tilt_max_deg": Bound(-90, 90, "deg"),
    "AcquisitionParameters.tilt_count": Bound(1, 1_000),
    "AcquisitionParameters.tilt_deg": Bound(-89, 89, "deg"),
    "AcquisitionParameters.total_dose_e_per_a2": Bound(0.01, 1_000, "e/angstrom^2"),
    "AcquisitionParameters.shift_sigma_angstrom": Bound(0, 1_000, "angstrom"),
    "AcquisitionParameters.slice_thickness_angstrom": Bound(0.5, 1_000, "angstrom"),
    "DetectorParameters.oversampling": Bound(1, 8),
    "DetectorParameters.beam_damage_snr": Bound(0.01, 1_000),
    "DetectorParameters.target_snr": Bound(0.001, 1_000),
    "ReconstructionParameters.binning": Bound(1, 32),
    "ReconstructionParameters.thickness_voxels": Bound(1, 16_384, "voxels"),
    "ReconstructionParameters.sirt_iterations": Bound(1, 10_000),
    "ReconstructionParameters.taper_fraction": Bound(0, 0.5),
    "ReconstructionParameters.slab_voxels": Bound(1, 16_384, "voxels"),
    "ReconstructionParameters.hot_pixel_sigma": Bound(1, 1_000),
    "ReconstructionParameters.amplitude_contrast": Bound(0, 0.9),
    "MatchingParameters.angular_step_deg": Bound(0.5, 90, "deg"),
    "MatchingParameters.low_pass_angstrom": Bound(1, 1_000, "angstrom"),
    "MatchingParameters.seed": Bound(0, 2**32 - 1),
    "MatchingParameters.tolerance": Bound(0.01, 0.5),
    "MatchingParameters.coarse_step_deg": Bound(5, 90, "deg"),
    "MatchingParameters.keep": Bound(0.0001, 1),
    "MatchingParameters.rotations_per_task": Bound(1, 1_000_000),
    "MatchingParameters.max_picks": Bound(1, 1_000_000),
    "MatchingParameters.threshold_z": Bound(0, 1_000),
    "MatchingParameters.false_positives": Bound(0.001, 1_000_000),
    "PickingParameters.candidates_per_template": Bound(1, 1_000_000),
    "PickingParameters.gold_sigma_voxels": Bound(0.5, 50, "voxels"),
    "PickingParameters.gold_threshold_z": Bound(1, 1_000),
    "PickingParameters.diameter_angstrom": Bound(1, 10_000, "angstrom"),
    "PickingParameters.dog_threshold_z": Bound(0, 1_000),
    "PickingParameters.amplitude": Bound(0.001, 1_000),
    "PickingParameters.expected_per_megavoxel": Bound(0.0001, 10_000),
    "PickingParameters.expected_count": Bound(0.01, 1_000_000),
    "PickingParameters.least_score": Bound(-100, 1_000),
}

IN_ORDER: dict[str, tuple[str, str]] = {"AcquisitionParameters": ("tilt_min_deg", "tilt_max_deg")}
"""Class, and its two fields of which the first must not exceed the second."""
