"""The parameter table in the docs, and the shrec2021 preset against the organisers' own configurations."""

from __future__ import annotations

import ast
import configparser
import math
from pathlib import Path
from typing import Any

import pytest

from cryodask.params import RunParameters, describe, load_parameters

DOCS = Path(__file__).resolve().parents[2] / "docs" / "parameters.md"
PRESET = load_parameters(RunParameters, preset="shrec2021")


def tables() -> list[list[list[str]]]:
    """Rows of every table of docs/parameters.md, without header and ruler."""
    blocks: list[list[list[str]]] = [[]]
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            blocks[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif blocks[-1]:
            blocks.append([])
    return [block[2:] for block in blocks if block]


def shown(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.10g}" if isinstance(value, int | float) else str(value)


def test_the_table_shows_every_parameter_as_it_is() -> None:
    columns = [
        describe(RunParameters()),
        *(describe(load_parameters(RunParameters, preset=name)) for name in ("quick", "shrec2021")),
    ]
    expected = [
        [rows[0].path, rows[0].unit, *(shown(row.value) for row in rows)] for rows in zip(*columns, strict=True)
    ]
    assert [row[:5] for row in tables()[0]] == expected


@pytest.fixture(scope="module", params=range(10))
def organisers(request: pytest.FixtureRequest, shared_data: Path) -> tuple[configparser.ConfigParser, Path]:
    """One model's configuration, and the path of its list of angles."""
    folder = shared_data / "shrec21" / "generation_configs"
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    assert parser.read(folder / f"model_{request.param}_tilt.conf")
    return parser, folder / parser["TiltSeries"]["MetaFile"]


def test_preset_agrees_with_the_configurations(organisers: tuple[configparser.ConfigParser, Path]) -> None:
    config, _ = organisers
    sample, microscope = PRESET.simulation.sample, PRESET.simulation.microscope
    acquisition, detector = PRESET.simulation.acquisition, PRESET.simulation.detector
    size_nm = sample.voxel_size_angstrom / 10 * sample.box_voxels[0]
    expected: dict[tuple[str, str], Any] = {
        ("General", "PixelSize"): sample.voxel_size_angstrom,
        ("General", "Oversampling"): detector.oversampling,
        ("General", "Voltage"): microscope.voltage_kv,
        ("GenerateModel", "Size"): sample.box_voxels[1],
        ("GenerateModel", "Thickness"): size_nm,
        ("GenerateModel", "NumberOfParticles"): sample.particle_count,
        ("GenerateModel", "NumberOfMarkers"): sample.gold_count,
        ("GenerateModel", "NumberOfMembranes"): sample.vesicle_count,
        ("GenerateModel", "SigmaMotionBlur"): sample.motion_blur_sigma_angstrom,
        ("Microscope", "BeamDamageSNR"): detector.beam_damage_snr,
        ("Microscope", "Defocus"): microscope.defocus_um,
        ("Microscope", "ElectronDose"): acquisition.total_dose_e_per_a2,
        ("Microscope", "SphericalAberration"): microscope.spherical_aberration_mm,
        ("Microscope", "ChromaticAberration"): microscope.chromatic_aberration_mm,
        ("Microscope", "EnergySpread"): microscope.energy_spread_ev,
        ("Microscope", "IlluminationAperture"): microscope.illumination_aperture_urad / 1000,
        ("Microscope", "ObjectiveDiameter"): microscope.objective_diameter_um,
        ("Microscope", "FocalDistance"): microscope.focal_distance_mm,
        ("TiltSeries", "ImageSize"): sample.box_voxels[2],
        ("TiltSeries", "MultisliceStep"): acquisition.slice_thickness_angstrom / 10,
        ("TiltSeries", "TranslationalShift"): acquisition.shift_sigma_angstrom,
        ("TomogramReconstruction", "Binning"): PRESET.reconstruction.binning,
        ("TomogramReconstruction", "Weighting"): {"ram-lak": -1}[PRESET.reconstruction.window],
    }
    for (section, key), value in expected.items():
        written = ast.literal_eval(config[section][key])
        assert (tuple(written) if isinstance(written, list) else written) == value, key
    assert config["Microscope"]["Camera"] == {"k2": "K2SUMMIT"}[detector.camera]


def test_conflict_table_quotes_the_configurations(organisers: tuple[configparser.ConfigParser, Path]) -> None:
    config, _ = organisers
    keys = {key: value for section in config.sections() for key, value in config[section].items()}
    quoted = [part for row in tables()[1] for part in row[2].split("`")[1::2] if "=" in part]
    assert len(quoted) >= 8
    for quote in quoted:
        key, _, value = (part.strip() for part in quote.partition("="))
        assert keys[key].replace(" ", "") == value.replace(" ", ""), quote


def test_conflicts_of_angles_dose_and_classes(organisers: tuple[configparser.ConfigParser, Path]) -> None:
    config, meta = organisers
    acquisition = PRESET.simulation.acquisition
    angles = sorted(float(line.split()[9]) for line in meta.read_text().splitlines() if not line.startswith("#"))
    assert len(angles) == acquisition.tilt_count
    step = (acquisition.tilt_max_deg - acquisition.tilt_min_deg) / (acquisition.tilt_count - 1)
    differences = [abs(angle - (acquisition.tilt_min_deg + step * k)) for k, angle in enumerate(angles)]
    assert 0 < max(differences) <= 0.0125
    low, high = (dose / acquisition.tilt_count for dose in acquisition.total_dose_e_per_a2)
    assert (round(low, 2), round(high, 2)) == (1.64, 1.97)
    models = ast.literal_eval(config["GenerateModel"]["Models"])
    assert len(models) == 13
    assert "4V94_fixed" in models
    assert round(float(config["General"]["SolventConstant"]), 3) == PRESET.simulation.sample.solvent_potential_v


def test_released_shifts_fit_a_standard_deviation_of_at_most_one_nanometre(shared_data: Path) -> None:
    lines = (shared_data / "shrec21" / "simulation.meta").read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    shifts = [float(row[column]) * float(row[7]) for row in rows for column in (12, 13)]
    deviation = math.sqrt(sum(shift**2 for shift in shifts) / len(shifts))
    low, high = PRESET.simulation.acquisition.shift_sigma_angstrom
    assert low < deviation < high <= 10
    assert 17 <= max(map(abs, shifts)) < 18
