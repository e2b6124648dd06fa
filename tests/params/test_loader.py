"""The strict loader: round trips, layers, and every kind of refusal with the words a user needs."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cryodask.errors import ConfigError
from cryodask.params import RunParameters, describe, load_parameters, preset_names, to_dict
from cryodask.params.bounds import BOUNDS
from cryodask.params.schema import MatchingParameters, MicroscopeParameters, SampleParameters


def refused(*overrides: str, **options: Any) -> str:  # noqa: ANN401
    with pytest.raises(ConfigError) as error:
        load_parameters(RunParameters, overrides=overrides, **options)
    return str(error.value)


def write(folder: Path, text: str, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_without_arguments_the_defaults_hold() -> None:
    assert load_parameters(RunParameters) == RunParameters()


@pytest.mark.parametrize("name", ["quick", "shrec2021"])
def test_presets_load_and_survive_a_round_trip_through_a_file(name: str, tmp_path: Path) -> None:
    parameters = load_parameters(RunParameters, preset=name)
    as_yaml = write(tmp_path, yaml.safe_dump(to_dict(parameters)))
    as_json = write(tmp_path, json.dumps(to_dict(parameters)), "json.yaml")
    assert load_parameters(RunParameters, config=as_yaml) == parameters
    assert load_parameters(RunParameters, config=as_json) == parameters
    assert parameters != RunParameters()


def test_preset_names_are_the_files() -> None:
    assert preset_names() == ("quick", "shrec2021")


def test_later_layers_win(tmp_path: Path) -> None:
    path = write(tmp_path, "matching: {angular_step_deg: 7, max_picks: 5}\nmodels: 3\n")
    parameters = load_parameters(
        RunParameters, preset="quick", config=path, overrides=["matching.max_picks=9", "matching.max_picks=11"]
    )
    assert parameters.matching.angular_step_deg == 7.0
    assert parameters.matching.max_picks == 11
    assert parameters.models == 3
    assert parameters.simulation.acquisition.tilt_count == 41


def test_a_part_takes_its_section_of_a_preset() -> None:
    whole = load_parameters(RunParameters, preset="quick")
    part = load_parameters(SampleParameters, preset="quick", overrides=["gold_count=2"])
    assert part.box_voxels == whole.simulation.sample.box_voxels
    assert part.gold_count == (2, 2)
    assert load_parameters(MatchingParameters, preset="quick") == whole.matching


def test_toml_gives_the_same_as_yaml(tmp_path: Path) -> None:
    toml = write(tmp_path, "models = 2\n[simulation.microscope]\ndefocus_um = [1.5, 2]\n", "run.toml")
    text = write(tmp_path, "models: 2\nsimulation:\n  microscope:\n    defocus_um: [1.5, 2]\n")
    assert load_parameters(RunParameters, config=toml) == load_parameters(RunParameters, config=text)


@given(
    low=st.floats(0, 20),
    high=st.floats(0, 20),
    voltage=st.floats(60, 1500),
    count=st.integers(0, 1000),
    whiten=st.booleans(),
)
def test_any_valid_value_arrives_exactly(low: float, high: float, voltage: float, count: int, whiten: bool) -> None:
    low, high = sorted((low, high))
    parameters = load_parameters(
        RunParameters,
        overrides=[
            f"simulation.microscope.defocus_um=[{low!r}, {high!r}]",
            f"simulation.microscope.voltage_kv={voltage!r}",
            f"simulation.sample.gold_count={count}",
            f"matching.whiten={str(whiten).lower()}",
        ],
    )
    assert parameters.simulation.microscope.defocus_um == (low, high)
    assert parameters.simulation.microscope.voltage_kv == voltage
    assert parameters.simulation.sample.gold_count == (count, count)
    assert parameters.matching.whiten is whiten


@given(st.text(max_size=40))
def test_any_text_is_a_value_within_bounds_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        assert 60 <= load_parameters(MicroscopeParameters, overrides=[f"voltage_kv={text}"]).voltage_kv <= 1500


@pytest.mark.parametrize(
    ("text", "expected"), [("1e2", 100.0), ("1.5e+2", 150.0), ("+300", 300.0), ("3_00", None), ("'300'", None)]
)
def test_numbers_follow_the_core_schema(text: str, expected: float | None) -> None:
    override = f"simulation.microscope.voltage_kv={text}"
    if expected is None:
        assert "expected a number" in refused(override)
    else:
        assert load_parameters(RunParameters, overrides=[override]).simulation.microscope.voltage_kv == expected


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("simulation.microscop.defocus_um=3", ["unknown parameter simulation.microscop", "simulation.microscope?"]),
        ("simulation.microscope.defocus=3", ["unknown", "did you mean simulation.microscope.defocus_um?"]),
        ("defocus_um=3", ["unknown parameter defocus_um", "did you mean simulation.microscope.defocus_um?"]),
        ("zzz=3", ["unknown parameter zzz", "models, simulation"]),
        ("simulation.microscope.defocus_um=35000", ["35000", "from 0 to 20 um", "unit"]),
        ("simulation.microscope.defocus_um=[20000, 50000]", ["20000", "from 0 to 20 um"]),
        ("simulation.microscope.defocus_um=[5, 2]", ["[5, 2]", "low not above high"]),
        ("simulation.microscope.defocus_um=[1, 2, 3]", ["[1, 2, 3]", "[low, high]"]),
        ("simulation.microscope.voltage_kv=300000", ["300000", "from 60 to 1500 kV"]),
        ("simulation.microscope.voltage_kv=.nan", ["nan", "finite"]),
        ("simulation.microscope.voltage_kv=.inf", ["inf", "finite"]),
        ("simulation.microscope.voltage_kv=true", ["true", "expected a number"]),
        ("simulation.microscope.voltage_kv=", ["null", "expected a number"]),
        ("simulation.sample.voxel_size_angstrom=500", ["from 0.5 to 50 angstrom"]),
        ("simulation.sample.box_voxels=[1, 2]", ["[1, 2]", "a list of 3 values"]),
        ("simulation.sample.box_voxels=64", ["64", "a list of 3 values"]),
        ("simulation.sample.particle_count=-1", ["-1", "from 0"]),
        ("simulation.sample.particle_count=1.5", ["1.5", "whole number"]),
        ("simulation.acquisition.tilt_max_deg=120", ["120", "from -90 to 90 deg"]),
        ("simulation.acquisition.tilt_min_deg=70", ["70", "above tilt_max_deg = 60 (the default)"]),
        ("simulation.detector.camera=k3", ["'k3'", "one of k2, ideal"]),
        ("simulation.detector.camera=[k2]", ["['k2']", "one of k2, ideal"]),
        ("matching.whiten=yes", ["'yes'", "true or false"]),
        ("matching=3", ["matching = 3", "a section with engine"]),
        ("simulation.sample.class_counts={a:3}", ["class_counts", "'a:3'", "a space after the colon"]),
        ("models.x=3", ["models = {...}", "whole number"]),
        ("models=" + "9" * 3000, ["more than 70 digits"]),
        ("models=" + "9" * 5000, ["not valid YAML"]),
        ("models", ["path=value"]),
        ("=3", ["path=value"]),
        ("simulation..sample=3", ["path=value"]),
    ],
)
def test_refusals_name_source_path_value_and_expectation(override: str, words: list[str]) -> None:
    message = refused(override)
    assert "--set" in message or "preset" in message
    for word in words:
        assert word in message


def test_file_errors_name_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "simulation:\n  microscope:\n    defocus_um: 35000\n")
    assert str(path) in refused(config=path)
    assert "simulation.microscope.defocus_um = 35000" in refused(config=path)


def test_an_empty_section_or_file_changes_nothing(tmp_path: Path) -> None:
    assert (
        load_parameters(RunParameters, config=write(tmp_path, "matching:\n  # angular_step_deg: 3\n"))
        == RunParameters()
    )
    assert load_parameters(RunParameters, config=write(tmp_path, "# nothing\n")) == RunParameters()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "models: 1\nmodels: 2\n", ["duplicate key 'models'", "line 2"]),
        ("a.yaml", "matching: {max_picks: 1, max_picks: 2}\n", ["duplicate key 'max_picks'"]),
        ("a.yaml", "a: &a [1,1]\nb: &b [*a,*a]\nc: [*b,*b]\n", ["anchors and aliases", "line 1"]),
        ("a.yaml", "models: *unknown\n", ["anchors and aliases"]),
        ("a.yaml", "models: !!python/object/apply:os.getcwd []\n", ["tags", "not allowed"]),
        ("a.yaml", "models: !!binary aGk=\n", ["tags", "not allowed"]),
        ("a.yaml", "<<: {models: 2}\n", ["unknown parameter <<"]),
        ("a.yaml", "? [1, 2]\n: 3\n", ["a key must be a word"]),
        ("a.yaml", "3: 4\n", ["unknown parameter 3"]),
        ("a.yaml", "models: " + "[" * 5000 + "]" * 5000 + "\n", ["nested deeper than 16"]),
        ("a.yaml", "---\nmodels: 1\n---\nmodels: 2\n", ["not valid YAML"]),
        ("a.yaml", "models: [1\n", ["not valid YAML", "line"]),
        ("a.yaml", "- 1\n- 2\n", ["found a list at the top"]),
        ("a.yaml", "models: \x07\n", ["not valid YAML"]),
        ("a.toml", "models = 1\nmodels = 2\n", ["not valid TOML"]),
        ("a.toml", "models = " + "[" * 5000 + "]" * 5000 + "\n", ["not valid TOML"]),
        ("a.toml", "[simulation.microscope]\nvoltage_kv = nan\n", ["finite"]),
        ("a.toml", "models = 2020-01-01\n", ["whole number"]),
        ("a.json", "{}", [".yaml, .yml or .toml"]),
        ("a.yaml", "#" + "x" * 2**20 + "\n", ["larger than 1024 KiB"]),
    ],
)
def test_hostile_or_broken_files_are_refused(name: str, text: str, words: list[str], tmp_path: Path) -> None:
    path = write(tmp_path, text, name)
    message = refused(config=path)
    for word in [str(path), *words]:
        assert word in message
    assert len(message) < 1000


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(config=tmp_path / "absent.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert "directory" in refused(config=tmp_path / "folder.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"models: 1 # \xe9\n")
    assert "not UTF-8" in refused(config=tmp_path / "latin.yaml")


def test_unknown_presets_are_refused() -> None:
    assert "did you mean quick?" in refused(preset="quik")
    assert "quick, shrec2021" in refused(preset="../secrets")


def test_describe_lists_every_parameter() -> None:
    rows = {row.path: row for row in describe(RunParameters())}
    assert rows["simulation.microscope.defocus_um"].value == (2.0, 5.0)
    assert rows["simulation.microscope.defocus_um"].unit == "um"
    assert next(iter(rows)) == "models"
    assert len(rows) == sum(1 for _ in _fields(RunParameters))


def test_bounds_cover_exactly_the_numbers_of_the_schema() -> None:
    numeric = {key for key, annotation in _fields(RunParameters) if "int" in annotation or "float" in annotation}
    assert set(BOUNDS) == numeric
    assert all(bound.low < bound.high for bound in BOUNDS.values())


def _fields(cls: type[Any]) -> list[tuple[str, str]]:
    """("Class.field", text of the type) of every parameter, found without the loader's help."""
    found: list[tuple[str, str]] = []
    for item in fields(cls):
        annotation = get_type_hints(cls)[item.name]
        found += _fields(annotation) if is_dataclass(annotation) else [(f"{cls.__name__}.{item.name}", str(annotation))]  # type: ignore[arg-type]
    return found
