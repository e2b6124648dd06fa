"""Manifests: what the three formats say, what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryodask.errors import ConfigError, DataError
from cryodask.workflows.batch_manifest import Entry, read_manifest
from tests.workflows.conftest import Reference


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


CSV = """name,tomogram,voxel_size_angstrom,tilt_angles
# a comment
a,one.mrc,10,one.tlt
b,sub/two.mrc,13.5,
"""
YAML = """defaults: {tilt_angles: one.tlt}
tomograms:
- {name: a, tomogram: one.mrc, voxel_size_angstrom: 10}
- {name: b, tomogram: sub/two.mrc, voxel_size_angstrom: 13.5, tilt_angles: null}
"""
STAR = """data_tomograms

loop_
_rlnTomoName #1
_rlnTomoReconstructedTomogram #2
_rlnTomoTiltSeriesPixelSize #3
_rlnTomoTomogramBinning #4
_rlnVoltage #5
_tilt_angles #6
a one.mrc 2.5 4 300 one.tlt
b sub/two.mrc 1.35 10 300 ""
"""


@pytest.mark.parametrize(("name", "text"), [("m.csv", CSV), ("m.yaml", YAML), ("m.star", STAR)])
def test_three_formats_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    first, second = read_manifest(written(tmp_path, name, text))
    assert first == Entry(
        name="a",
        stages=("match",),
        tomogram=str(tmp_path / "one.mrc"),
        voxel_size_angstrom=10.0,
        tilt_angles=str(tmp_path / "one.tlt"),
    )
    assert second == Entry(
        name="b", stages=("match",), tomogram=str(tmp_path / "sub/two.mrc"), voxel_size_angstrom=13.5
    )
    assert Entry.from_dict(first.to_dict()) == first


def test_a_data_set_stands_for_all_of_its_models(tmp_path: Path, reference: Reference) -> None:
    other = tmp_path / "other.zarr"
    other.symlink_to(reference.store.path)
    (one,) = read_manifest(written(tmp_path, "m.csv", f"tilt_series\n{reference.store.path}\n"))
    assert (one.name, one.model, one.stages) == ("model_000", "model_000", ("reconstruct", "match"))
    both = read_manifest(written(tmp_path, "m.csv", f"tilt_series\n{reference.store.path}\nother.zarr\n"))
    assert [entry.name for entry in both] == ["data_model_000", "other_model_000"]
    (named,) = read_manifest(written(tmp_path, "n.csv", "name,tilt_series\nx,other.zarr\n"), stages=("reconstruct",))
    assert (named.name, named.stages) == ("x", ("reconstruct",))


PROJECT = """data_global

loop_
_rlnTomoName #1
_rlnTomoTiltSeriesStarFile #2
_rlnTomoTiltSeriesPixelSize #3
_rlnVoltage #4
TS_01 tilt_series/TS_01.star 1.35 300
TS_02 tilt_series/TS_02.star 1.35 300
"""


def test_a_relion_project_is_a_manifest_of_its_tilt_series(tmp_path: Path) -> None:
    path = written(tmp_path, "tomograms.star", PROJECT)
    entries = read_manifest(path)
    assert [(e.name, e.model, e.tilt_series, e.stages) for e in entries] == [
        ("TS_01", "TS_01", str(path), ("reconstruct", "match")),
        ("TS_02", "TS_02", str(path), ("reconstruct", "match")),
    ]


def test_alignments_belong_to_files(tmp_path: Path, reference: Reference) -> None:
    (entry,) = read_manifest(written(tmp_path, "m.csv", "tilt_series,aln,tilt_axis_deg\na.st,a.aln,-85.5\n"))
    assert entry.alignment == {"aln": str(tmp_path / "a.aln"), "tilt_axis_deg": -85.5}
    assert Entry.from_dict(entry.to_dict()) == entry
    text = f"tilt_series,aln\n{reference.store.path},a.aln\n"
    with pytest.raises(ConfigError, match="aln belongs to the images of a microscope"):
        read_manifest(written(tmp_path, "n.csv", text))


def test_stages_are_put_in_order(tmp_path: Path) -> None:
    (entry,) = read_manifest(written(tmp_path, "m.yaml", "- {tilt_series: a.zarr, stages: [match, reconstruct]}"))
    assert entry.stages == ("reconstruct", "match")
    (entry,) = read_manifest(written(tmp_path, "m.csv", "tilt_series,stages\na.zarr,evaluate+match reconstruct\n"))
    assert entry.stages == ("reconstruct", "match", "evaluate")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.txt", "a", "ends in .csv"),
        ("m.csv", "tomogram\n", "lists no tomograms"),
        ("m.csv", "tomogramm\na.mrc\n", "line 2.*'tomogramm'; did you mean tomogram"),
        ("m.csv", "tomogram,tomogram\na.mrc,b.mrc\n", "line 1.*twice"),
        ("m.csv", "name,tomogram\nx\n", r"line 2.*1 values for the 2 columns"),
        ("m.csv", 'tomogram\n"a.mrc\n', "not valid CSV"),
        ("m.csv", "name,tomogram\n../x,a.mrc\n", "line 2.*cannot name"),
        ("m.csv", "name,tomogram\n..,a.mrc\n", "line 2.*cannot name"),
        ("m.csv", "name,tomogram\nx,a.mrc\nx,b.mrc\n", "several tomograms are called 'x'"),
        ("m.csv", "name,voxel_size_angstrom\nx,10\n", "neither a tilt_series nor a tomogram"),
        ("m.csv", "tilt_series,tomogram\na.zarr,b.mrc\n", "either a tilt_series or a tomogram"),
        ("m.csv", "tomogram,stages\na.mrc,reconstruct\n", "needs no reconstruction"),
        ("m.csv", "tomogram,stages\na.mrc,simulate\n", "unknown stage 'simulate'"),
        ("m.csv", "tilt_series,stages\na.zarr,match\n", "without the stage reconstruct"),
        ("m.csv", "tomogram,stages\na.mrc,evaluate\n", "without the stage match"),
        ("m.csv", "tomogram,voxel_size_angstrom\na.mrc,ten\n", "'ten' is no number"),
        ("m.yaml", "tomograms: 3", "expected a list"),
        ("m.yaml", "- 3", "tomogram 1: expected keys"),
        ("m.yaml", "- !!python/object/apply:os.system ['true']", "tags .* are not allowed"),
        ("m.star", "data_\nloop_\n_tomogram\na b\n", "2 values for the 1 columns"),
    ],
)
def test_what_makes_no_sense_is_refused_by_place(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words):
        read_manifest(written(tmp_path, name, text))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m\.csv: cannot read"):
        read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes(b"tomogram\n\xff.mrc\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_manifest(tmp_path / "m.csv")
