"""What users get wrong: one clear message, the documented exit code, no traceback, nothing left half-made."""

from __future__ import annotations

import json
import resource
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.io.mrc import write_volume
from cryodask.io.pick_files import write_star
from cryodask.io.store import Store
from cryodask.model.particles import Particles
from tests.cli.conftest import COARSE, SYNC, TINY, Call, Called, Example

MATCH = ("match", "{tomogram}", "--templates", "{templates}", "-o", "{out}", *COARSE)
SIMULATE = ("simulate", "-o", "{out}.zarr", *TINY)
LARGER = ("--set", "simulation.sample.box_voxels=[96,256,256]")
ATOM = "ATOM      1  CA  ALA A   1    {x:>8}   2.000   3.000  1.00  0.00          {element:>2}\nEND\n"
STAR = "data_particles\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n_cryodaskClass #4\n"


def poke(path: Path, offset: int, form: str, value: float) -> None:
    """Overwrite one number of a file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, offset, value)
    path.write_bytes(content)


def edit(store: Path, group: str, change: Any) -> None:  # noqa: ANN401
    """Change the attributes of a group."""
    file = store / group / "zarr.json"
    metadata = json.loads(file.read_text())
    change(metadata["attributes"])
    file.write_text(json.dumps(metadata))


@pytest.fixture(scope="session")
def bad(example: Example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("bad")
    sound = example.tomogram.read_bytes()
    volume: npt.NDArray[np.float32] = np.random.default_rng(0).normal(size=(16, 32, 32)).astype(np.float32)
    (folder / "short.mrc").write_bytes(sound[: len(sound) // 2])
    (folder / "empty.mrc").write_bytes(b"")
    (folder / "text.mrc").write_text("no volume\n" * 200)
    for name, offset, form, value in (
        ("nan", 1024 + 4 * 1000, "<f", float("nan")),
        ("flat", 8, "<i", 1),  # nz
        ("unknown_size", 40, "<f", 0.0),  # cell
        ("tiny_voxel", 40, "<f", 32e-3),
        ("no_cube", 48, "<f", 500.0),
    ):
        shutil.copy(example.tomogram, folder / f"{name}.mrc")
        poke(folder / f"{name}.mrc", offset, form, value)
    poke(folder / "tiny_voxel.mrc", 44, "<f", 32e-3)
    poke(folder / "tiny_voxel.mrc", 48, "<f", 16e-3)
    write_volume(folder / "zero.mrc", np.zeros_like(volume), 10.0)
    write_volume(folder / "a name.mrc", volume, 10.0)
    for name, text in {
        "words.tlt": "-60\nforty\n60\n",
        "nan.tlt": "-60\nnan\n60\n",
        "radians.tlt": "-60\n600\n",
        "none.tlt": "",
        "bomb.yaml": "a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "tag.yaml": "models: !!python/object/apply:os.system ['false']\n",
        "unit.yaml": "simulation:\n  microscope:\n    defocus_um: 35000\n",
        "nan.txt": "syn-0060-c1 1 2 nan\n",
        "word.txt": "syn-0060-c1 1 two 3\n",
        "columns.txt": "syn-0060-c1 1 2\n",
        "nan.star": f"{STAR}1 2 nan syn-0060-c1\n",
        "columns.star": "data_particles\nloop_\n_rlnCoordinateX #1\n1\n",
        "columns.csv": "class,x,y\nsyn-0060-c1,1,2\n",
        "czii.json": json.dumps({"mode": "czii", "localization": {}, "classification": {}}),
        "file": "in the way",
        "file.zarr": "in the way",
    }.items():
        (folder / name).write_text(text)
    (folder / "binary.star").write_bytes(bytes(range(256)))
    (folder / "nothing").mkdir()
    for name, text in {
        "empty/a.pdb": "",
        "broken/a.cif": "data_x\nloop_\n_atom_site.id\n1 'ab\n",
        "element/a.pdb": ATOM.format(x="1.000", element="Xx"),
        "nan/a.pdb": ATOM.format(x="nan", element="C"),
        "cut/a.cif.gz": "\x1f",
    }.items():
        (folder / "structures" / name).parent.mkdir(parents=True)
        (folder / "structures" / name).write_text(text)
    two = Particles.create(["a", "a"], np.zeros((2, 3)), tomogram=["t1", "t2"])
    write_star(folder / "two_tomograms.star", two, shape=(16, 32, 32), voxel_size_angstrom=10.0)
    _stores(folder, example.data)
    _truths(folder)
    return folder


def _stores(folder: Path, sound: Path) -> None:
    for name in ("older", "newer", "incomplete", "lacking", "bare", "damaged"):
        shutil.copytree(sound, folder / f"{name}.zarr")
    edit(folder / "older.zarr", "", lambda attrs: attrs["cryodask"].update(schema_version=0))
    edit(folder / "newer.zarr", "", lambda attrs: attrs["cryodask"].update(schema_version=99))
    for group in ("tilt_series", "truth", "tomogram/scale0"):
        edit(folder / "incomplete.zarr" / "model_000", group, lambda attrs: attrs["cryodask"].update(complete=False))
    edit(folder / "lacking.zarr", "model_000/truth", lambda attrs: attrs.pop("mask_radius_angstrom"))
    shutil.rmtree(folder / "bare.zarr" / "structures")
    (folder / "damaged.zarr/model_000/tomogram/scale0/image/c/0/0/0").write_bytes(b"x" * 100)


def _truths(folder: Path) -> None:
    """Folders in the SHREC layout, each with one fault."""
    mask = np.zeros((16, 32, 32), dtype=np.float32)
    mask[8, 10, 10] = 1
    mask[8, 20, 20] = 2
    listed = "syn-0060-c1 10 10 8 0 0 0\nsyn-0060-c1 20 20 8 0 0 0\n"
    faults: dict[str, tuple[str | None, npt.NDArray[np.float32] | None]] = {
        "no list": (None, mask),
        "no mask": (listed, None),
        "short list": (listed.splitlines()[0], mask),
        "columns": ("syn-0060-c1 10 10\n", mask),
        "nan list": (listed.replace("8", "nan"), mask),
        "nan mask": (listed, mask),
        "halves": (listed, mask / np.float32(2)),
        "negative": (listed, -mask),
        "flat": (listed, mask[:1]),
        "other shape": (listed, np.ascontiguousarray(mask.transpose(1, 2, 0))),
        "moved": (listed.replace("10 10", "3 28").replace("20 20", "28 3"), mask),
        "unknown class": (listed, mask),
    }
    for name, (text, volume) in faults.items():
        own = folder / "truths" / name
        own.mkdir(parents=True)
        if text is not None:
            (own / "particle_locations.txt").write_text(text)
        if volume is not None:
            write_volume(own / "occupancy_mask.mrc", volume, 10.0)
    poke(folder / "truths" / "nan mask" / "occupancy_mask.mrc", 1024, "<f", float("nan"))
    (folder / "truths" / "unknown class" / "class_conversion_table.txt").write_text("background 0\nother 1\n")


def filled(argument: str, bad: Path, example: Example, out: Path) -> str:
    names = {"bad": bad, "data": example.data, "picks": example.picks, "tomogram": example.tomogram}
    return argument.format(**names, templates=example.templates, tilts=example.tilts, out=out)


def refused(called: Called, exit_code: int, words: tuple[str, ...]) -> None:
    """One message with ``words``, and the exit code."""
    assert called.exit_code == exit_code, called.err
    assert "Traceback" not in called.err
    assert called.err.lower().count("error: ") == 1, called.err
    for word in words:
        assert word in called.err


def against(truth: str) -> tuple[str, ...]:
    """An evaluation against one of the folders with a fault."""
    return ("evaluate", "{picks}", "--truth", f"{{bad}}/truths/{truth}", *SYNC)


BAD: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    # -- a data set or tomogram to search
    "no such data set": (("match", "{bad}/x.zarr", "-o", "{out}", *COARSE), 3, ("x.zarr", "no such file or folder")),
    "folder but no data set": (("match", "{bad}/nothing", "-o", "{out}", *COARSE), 3, ("nothing", "DATA.zarr")),
    "neither data set nor MRC": (("match", "{bad}/file", "-o", "{out}", *COARSE), 3, ("file", ".mrc")),
    "older store": (
        ("match", "{bad}/older.zarr", "-o", "{out}", *COARSE),
        3,
        ("schema version 0", "make the data set"),
    ),
    "newer store": (("match", "{bad}/newer.zarr", "-o", "{out}", *COARSE), 3, ("schema version 99", "newer cryodask")),
    "no tomogram": (("match", "{bad}/incomplete.zarr", "-o", "{out}", *COARSE), 3, ("no complete tomogram", "run the")),
    "no structures": (("match", "{bad}/bare.zarr", "-o", "{out}", *COARSE), 3, ("no structures", "--templates")),
    "damaged chunk": (("match", "{bad}/damaged.zarr", "-o", "{out}", *COARSE), 3, ("image/c/0/0/0", "Restore")),
    "truncated MRC": (("match", "{bad}/short.mrc", *MATCH[2:]), 3, ("short.mrc", "cut short")),
    "empty MRC": (("match", "{bad}/empty.mrc", *MATCH[2:]), 3, ("empty.mrc", "cut short")),
    "text as MRC": (("match", "{bad}/text.mrc", *MATCH[2:]), 3, ("text.mrc", "not an MRC file")),
    "NaN in MRC": (("match", "{bad}/nan.mrc", *MATCH[2:]), 3, ("nan.mrc", "section 0 has 1 values", "replace")),
    "one image": (("match", "{bad}/flat.mrc", *MATCH[2:]), 3, ("flat.mrc", "volume was expected")),
    "constant volume": (("match", "{bad}/zero.mrc", *MATCH[2:]), 3, ("constant",)),
    "voxel size unknown": (("match", "{bad}/unknown_size.mrc", *MATCH[2:]), 3, ("unknown_size.mrc", "--voxel-size")),
    "voxel size absurd": (("match", "{bad}/tiny_voxel.mrc", *MATCH[2:]), 3, ("0.001 angstrom", "--voxel-size")),
    "voxels no cubes": (("match", "{bad}/no_cube.mrc", *MATCH[2:]), 3, ("no_cube.mrc", "not cubes")),
    "name no group": (("match", "{bad}/a name.mrc", *MATCH[2:]), 3, ("a name.mrc", "rename the file")),
    "voxel size 0": ((*MATCH, "--voxel-size", "0"), 2, ("--voxel-size 0", "0.1 to 1000 angstrom")),
    "voxel size negative": ((*MATCH, "--voxel-size", "-10"), 2, ("--voxel-size -10",)),
    "voxel size NaN": ((*MATCH, "--voxel-size", "nan"), 2, ("--voxel-size nan",)),
    "voxel size of a data set": (
        ("match", "{data}", "-o", "{out}", "--voxel-size", "10"),
        2,
        ("leave out --voxel-size",),
    ),
    "template far too large": ((*MATCH, "--template-voxel-size", "200"), 3, ("radius of", "check the voxel sizes")),
    "template far too small": ((*MATCH, "--template-voxel-size", "0.1"), 3, ("radius of", "--template-voxel-size")),
    # -- tilt angles
    "angles no numbers": ((*MATCH, "--tilt-angles", "{bad}/words.tlt"), 3, ("words.tlt, line 2", "'forty'")),
    "angle NaN": ((*MATCH, "--tilt-angles", "{bad}/nan.tlt"), 3, ("nan.tlt, line 2",)),
    "angle too large": ((*MATCH, "--tilt-angles", "{bad}/radians.tlt"), 3, ("'600'", "-90 and 90 degrees")),
    "no angles": ((*MATCH, "--tilt-angles", "{bad}/none.tlt"), 3, ("none.tlt", "fewer than two")),
    "angles a folder": ((*MATCH, "--tilt-angles", "{bad}/nothing"), 3, ("nothing", "one angle a line")),
    "angles an MRC file": ((*MATCH, "--tilt-angles", "{tomogram}"), 3, ("line 1", "...'")),
    # -- templates
    "no templates": (("match", "{tomogram}", "-o", "{out}", *COARSE), 3, ("give --templates",)),
    "templates missing": ((*MATCH[:2], "--templates", "{bad}/x", "-o", "{out}"), 3, ("bad0/x", "builtin")),
    "templates truncated": ((*MATCH[:2], "--templates", "{bad}/short.mrc", "-o", "{out}"), 3, ("short.mrc",)),
    "template not positive": ((*MATCH[:2], "--templates", "{bad}/zero.mrc", "-o", "{out}"), 3, ("zero.mrc", "invert")),
    "template without size": (
        (*MATCH[:2], "--templates", "{bad}/unknown_size.mrc", "-o", "{out}"),
        3,
        ("--template-voxel-size",),
    ),
    "templates twice": ((*MATCH, "--templates", "{templates}"), 3, ("several templates", "rename")),
    "class of no file": ((*MATCH, "--classes", "syn-0060"), 2, ("'syn-0060'", "did you mean syn-0060-c1?")),
    "class of no built-in": (
        (*MATCH[:2], "--templates", "builtin", "--classes", "syn-006-c1", "-o", "{out}"),
        2,
        ("'syn-006-c1'", "did you mean syn-0060-c1?"),
    ),
    "class of no data set": (
        ("match", "{data}", "--classes", "syn-006", "-o", "{out}"),
        2,
        ("did you mean syn-0060-c1",),
    ),
    "classes empty": ((*MATCH, "--classes", ","), 2, ("names no class",)),
    # -- options of the search
    "angular step 0": ((*MATCH, "--angular-step", "0"), 2, ("--angular-step", "0.5 to 90 deg")),
    "angular step negative": ((*MATCH, "--angular-step", "-5"), 2, ("-5", "0.5 to 90 deg")),
    "angular step NaN": ((*MATCH, "--angular-step", "nan"), 2, ("nan", "a finite number")),
    "engine unknown": ((*MATCH, "--engine", "gpu"), 2, ("'gpu'", "low-rank", "fft")),
    "no picks": ((*MATCH, "--max-picks", "0"), 2, ("--max-picks", "x>=1")),
    "scheduler no address": (("match", "{data}", "-o", "{out}", "--scheduler", "here"), 2, ("tcp://HOST:PORT",)),
    # -- parameters
    "class unknown": ((*SIMULATE, "--classes", "syn-0150"), 2, ("did you mean syn-0150-c2?",)),
    "class twice": ((*SIMULATE, "--classes", "syn-0150-c2,syn-0150-c2"), 2, ("named twice",)),
    "preset unknown": ((*SIMULATE, "--preset", "quik"), 2, ("'quik'", "did you mean quick?")),
    "parameter unknown": (
        (*SIMULATE, "--set", "simulation.microscope.defocus=3"),
        2,
        ("did you mean simulation.microscope.defocus_um?",),
    ),
    "setting without value": ((*SIMULATE, "--set", "models"), 2, ("path=value", "for example models=5")),
    "wrong unit": (
        (*SIMULATE, "--set", "simulation.microscope.defocus_um=35000"),
        2,
        ("35000", "20 um", "wrong unit?"),
    ),
    "wrong unit in a file": ((*SIMULATE, "--config", "{bad}/unit.yaml"), 2, ("unit.yaml", "defocus_um = 35000")),
    "YAML bomb": ((*SIMULATE, "--config", "{bad}/bomb.yaml"), 2, ("bomb.yaml", "aliases are not allowed")),
    "YAML object": ((*SIMULATE, "--config", "{bad}/tag.yaml"), 2, ("tag.yaml", "tags", "not allowed")),
    "no configuration": ((*SIMULATE, "--config", "{bad}/x.yaml"), 2, ("x.yaml", "No such file")),
    "configuration no YAML": ((*SIMULATE, "--config", "{bad}/file"), 2, (".yaml, .yml or .toml",)),
    "seed negative": ((*SIMULATE, "--seed", "-1"), 2, ("--seed", "x>=0")),
    "no models": ((*SIMULATE, "--models", "0"), 2, ("--models", "x>=1")),
    "workers negative": ((*SIMULATE, "--workers", "-2"), 2, ("--workers", "x>=1")),
    "memory no size": ((*SIMULATE, "--memory-limit", "lots"), 2, ("'lots'", "4GiB")),
    "memory too small": ((*SIMULATE, "--memory-limit", "130MiB"), 2, ("130 MiB a worker", "at least 384 MiB")),
    "memory too small to run": ((*SIMULATE, *LARGER, "--memory-limit", "400MiB"), 2, ("0.39 GiB", "--memory-limit")),
    "memory too small to plan": (("plan", *TINY, *LARGER, "--memory-limit", "400MiB"), 2, ("0.39 GiB", "needs 0.")),
    "too many particles": (
        (*SIMULATE, "--set", "simulation.sample.particle_count=500"),
        2,
        ("of 500 particles fit", "lower sample.particle_count"),
    ),
    "box too thin": ((*SIMULATE, "--set", "simulation.sample.box_voxels=[16,32,32]"), 2, ("does not fit a box",)),
    "box no multiple": ((*SIMULATE, "--set", "simulation.sample.box_voxels=[33,64,64]"), 2, ("33", "multiples of 4")),
    "tilts in reverse": (
        (*SIMULATE, "--set", "simulation.acquisition.tilt_min_deg=70"),
        2,
        ("70", "tilt_max_deg = 60"),
    ),
    # -- structures
    "structures missing": ((*SIMULATE, "--structures", "{bad}/x"), 3, ("bad0/x", "builtin")),
    "no structure files": (("simulate", *SIMULATE[1:3], "--structures", "{bad}/nothing"), 3, ("no structure files",)),
    "structure empty": (("structures", "list", "{bad}/structures/empty"), 3, ("a.pdb", "no atoms")),
    "structure broken": (("structures", "list", "{bad}/structures/broken"), 3, ("a.cif", "cannot be read")),
    "element unknown": (("structures", "describe", "{bad}/structures/element"), 3, ("atom CA", "no known element")),
    "coordinate NaN": (("simulate", *SIMULATE[1:3], "--structures", "{bad}/structures/nan"), 3, ("not a number",)),
    "structure cut short": (("structures", "list", "{bad}/structures/cut"), 3, ("a.cif.gz", "cannot be read")),
    "no PDB id": (("structures", "fetch", "rubisco", "-o", "{out}"), 2, ("'rubisco'", "1bxn")),
    "fetch into a file": (("structures", "fetch", "1bxn", "-o", "{bad}/file"), 3, ("bad0/file", "in the way")),
    # -- outputs
    "output no .zarr": (("simulate", "-o", "{out}", *TINY), 2, ("ends in .zarr",)),
    "output a file": (("simulate", "-o", "{bad}/file.zarr", *TINY), 3, ("file.zarr", "choose another output")),
    "output below a file": (("simulate", "-o", "{bad}/file/x.zarr", *TINY), 3, ("file/x.zarr", "Not a directory")),
    "output older": (("simulate", "-o", "{bad}/older.zarr", *TINY), 3, ("schema version 0",)),
    "output made otherwise": (
        ("simulate", "-o", "{data}", *TINY, "--seed", "7"),
        3,
        ("stored 0, asked for 7", "--overw"),
    ),
    "reconstruct otherwise": (
        ("reconstruct", "{data}", "-o", "{data}", "--bin", "4", *SYNC),
        3,
        ("stored 2, asked for 4",),
    ),
    "picks into a file": (("match", "{data}", "-o", "{bad}/file", *COARSE), 3, ("bad0/file", "in the way")),
    "picks below a file": (("match", "{data}", "-o", "{bad}/file/x", *COARSE), 3, ("file/x", "in the way")),
    "picks into another data set": (
        ("match", "{data}", "-o", "other.zarr", *COARSE),
        2,
        ("names a data set", "a folder for"),
    ),
    "benchmark into a data set": (("benchmark", "-o", "{data}", *TINY), 2, ("names a data set",)),
    "benchmark into a file": (("benchmark", "-o", "{bad}/file", *TINY), 3, ("bad0/file", "in the way")),
    "JSON into no folder": (
        ("evaluate", "{picks}", "--truth", "{data}", "--json", "{bad}/x/e.json", *SYNC),
        3,
        ("x/e.json", "make it first"),
    ),
    "JSON into a folder": (
        ("evaluate", "{picks}", "--truth", "{data}", "--json", "{bad}/nothing", *SYNC),
        2,
        ("nothing", "is a directory"),
    ),
    "report into no folder": ((*SIMULATE, "--performance-report", "{bad}/x/r.html"), 3, ("x/r.html", "make it first")),
    "report of no workers": ((*SIMULATE, "--performance-report", "{bad}/r.html"), 2, ("r.html", "--cluster local")),
    # -- reconstruction
    "reconstruct a file": (
        ("reconstruct", "{tomogram}", "-o", "{out}.zarr", *SYNC),
        3,
        ("nothing says at which angles", "--tilt-angles FILE"),
    ),
    "no tilt series": (("reconstruct", "{bad}/incomplete.zarr", "-o", "{out}.zarr", *SYNC), 3, ("no complete tilt",)),
    "binning absurd": (("reconstruct", "{data}", "-o", "{out}.zarr", "--bin", "33", *SYNC), 2, ("33", "to 32")),
    "filter unknown": (("reconstruct", "{data}", "-o", "{out}.zarr", "--filter", "butter"), 2, ("'butter'", "ram-lak")),
    "thickness absurd": (
        ("reconstruct", "{data}", "-o", "{out}.zarr", "--thickness", "99999"),
        2,
        ("--thickness", "16384"),
    ),
    # -- picks and truth
    "no such picks": (("evaluate", "{bad}/x", "--truth", "{data}", *SYNC), 3, ("bad0/x",)),
    "folder without picks": (("evaluate", "{bad}/nothing", "--truth", "{data}", *SYNC), 3, ("without picks.star",)),
    "pick NaN": (("evaluate", "{bad}/nan.txt", "--truth", "{data}", *SYNC), 3, ("nan.txt, line 1", "finite")),
    "pick a word": (("evaluate", "{bad}/word.txt", "--truth", "{data}", *SYNC), 3, ("word.txt, line 1", "'two'")),
    "columns missing": (("evaluate", "{bad}/columns.txt", "--truth", "{data}", *SYNC), 3, ("line 1", "CLASS x y z")),
    "star NaN": (("evaluate", "{bad}/nan.star", "--truth", "{data}", *SYNC), 3, ("nan.star, line 7", "finite")),
    "star columns": (("evaluate", "{bad}/columns.star", "--truth", "{data}", *SYNC), 3, ("rlnCoordinateX/Y/Z",)),
    "star no text": (("evaluate", "{bad}/binary.star", "--truth", "{data}", *SYNC), 3, ("binary.star", "text")),
    "csv columns": (("evaluate", "{bad}/columns.csv", "--truth", "{data}", *SYNC), 3, ("expected class, x, y, z",)),
    "picks of other tomograms": (
        ("evaluate", "{bad}/two_tomograms.star", "--truth", "{data}", *SYNC),
        3,
        ("'t1', 't2'", "'model_000'"),
    ),
    "no truth": (("evaluate", "{picks}", "--truth", "{bad}/nothing", *SYNC), 3, ("nothing", "holds no truth")),
    "truth a file": (("evaluate", "{picks}", "--truth", "{bad}/file", *SYNC), 3, ("bad0/file", "holds no truth")),
    "truth incomplete": (("evaluate", "{picks}", "--truth", "{bad}/incomplete.zarr", *SYNC), 3, ("no complete truth",)),
    "truth lacking": (
        ("evaluate", "{picks}", "--truth", "{bad}/lacking.zarr", *SYNC),
        3,
        ("mask_radius_angstrom", "another version", "make it again"),
    ),
    "truth without its list": (against("no list"), 3, ("no list/particle_locations.txt does not exist",)),
    "truth without its mask": (against("no mask"), 3, ("no mask/occupancy_mask.mrc does not exist",)),
    "truth of more particles than listed": (against("short list"), 3, ("id 2", "lists 1 particles")),
    "truth of three columns": (against("columns"), 3, ("columns/particle_locations.txt, line 1", "CLASS x y z")),
    "truth NaN in the list": (against("nan list"), 3, ("nan list/particle_locations.txt, line 1", "finite")),
    "truth NaN in the mask": (against("nan mask"), 3, ("nan mask/occupancy_mask.mrc", "1 values")),
    "truth of fractions": (against("halves"), 3, ("halves/occupancy_mask.mrc", "whole particle ids")),
    "truth of negative ids": (against("negative"), 3, ("negative/occupancy_mask.mrc", "whole particle ids")),
    "truth one slice thin": (against("flat"), 3, ("occupancy_mask.mrc",)),
    "truth of another shape": (against("other shape"), 3, ("coordinate frame mismatch", "x y z")),
    "truth moved": (against("moved"), 3, ("coordinate frame mismatch", "0 lie where")),
    "truth of an unknown class": (against("unknown class"), 3, ("class syn-0060-c1", "its classes are other")),
    "truths and picks do not pair": (
        ("evaluate", "{picks}", "--truth", "{data}", "--truth", "{bad}/bare.zarr", *SYNC),
        2,
        ("1 submissions", "2 truths"),
    ),
    "truth twice": (
        ("evaluate", "{picks}", "{picks}", "--truth", "{data}", "--truth", "{data}", *SYNC),
        2,
        ("data.zarr is given twice",),
    ),
    "CSV into a file": (
        ("evaluate", "{picks}", "--truth", "{data}", "--csv", "{bad}/file", *SYNC),
        3,
        ("bad0/file", "in the way"),
    ),
    "CSV into no folder": (
        ("evaluate", "{picks}", "--truth", "{data}", "--csv", "{bad}/x/tables", *SYNC),
        3,
        ("x/tables", "make it first"),
    ),
    "class weight without value": (
        ("evaluate", "{picks}", "--truth", "{data}", "--mode", "czii", "--class-weight", "a", *SYNC),
        2,
        ("'a' is not CLASS=WEIGHT",),
    ),
    "class weight in another mode": (
        ("evaluate", "{picks}", "--truth", "{data}", "--class-weight", "a=2", *SYNC),
        2,
        ("--class-weight is for --mode czii",),
    ),
    "class weight of no class": (
        ("evaluate", "{picks}", "--truth", "{data}", "--mode", "czii", "--class-weight", "a=2", *SYNC),
        2,
        ("class a", "syn-0060-c1"),
    ),
    "compare with nothing": (
        ("evaluate", "{picks}", "--truth", "{data}", "--compare", "{bad}/x", *SYNC),
        3,
        ("bad0/x", "'paper' stands for"),
    ),
    "compare with another mode": (
        ("evaluate", "{picks}", "--truth", "{data}", "--compare", "{bad}/czii.json", *SYNC),
        3,
        ("czii.json", "in mode czii, not in mode strict"),
    ),
    # -- checks
    "check nothing": (("check", "{bad}/x.zarr"), 3, ("x.zarr", "no such file")),
    "check a folder": (("check", "{bad}/nothing"), 3, ("nothing", "not a data set")),
    "check a file": (("check", "{bad}/file"), 3, ("bad0/file", "not a data set")),
    "check older": (("check", "{bad}/older.zarr"), 3, ("schema version 0",)),
    "check damage": (("check", "{bad}/damaged.zarr"), 3, ("image/c/0/0/0", "Restore")),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_one_message_and_leaves_nothing(
    case: str, call: Call, bad: Path, example: Example, tmp_path: Path
) -> None:
    arguments, exit_code, words = BAD[case]
    folders = (bad, example.folder, example.picks, tmp_path)
    before = [sorted(folder.iterdir()) for folder in folders]
    called = call(*(filled(argument, bad, example, tmp_path / "out") for argument in arguments))
    refused(called, exit_code, words)
    assert [sorted(folder.iterdir()) for folder in folders] == before


def test_no_scheduler_is_4_and_leaves_nothing(
    call: Call, example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryodask.cluster.existing.CONNECT_SECONDS", 0.3)
    out = tmp_path / "picks"
    called = call("match", example.data, "-o", out, "--scheduler", "127.0.0.1:1")
    refused(called, 4, ("tcp://127.0.0.1:1", "leave out --scheduler"))
    assert not out.exists()


def test_no_particles_is_no_error(call: Call, tmp_path: Path) -> None:
    data, picks, file = tmp_path / "data.zarr", tmp_path / "picks", tmp_path / "e.json"
    assert call("simulate", "-o", data, *TINY, "--set", "simulation.sample.particle_count=0").exit_code == 0
    assert call("reconstruct", data, "-o", data, *SYNC).exit_code == 0
    assert call("match", data, "-o", picks, *COARSE).exit_code == 0
    assert call("evaluate", picks, "--truth", data, "--json", file, *SYNC).exit_code == 0
    result = json.loads(file.read_text())
    assert result["localization"]["TP"] == result["localization"]["FN"] == 0
    assert result["localization"]["recall"] is result["classification"]["macro_f1"] is None


def test_empty_picks_find_nothing(call: Call, example: Example, tmp_path: Path) -> None:
    for name in ("picks.star", "picks.txt", "picks.csv"):
        (tmp_path / name).write_text("")
        called = call("evaluate", tmp_path / name, "--truth", example.data, *SYNC)
        assert called.exit_code == 0, called.err
        assert "RR 0  TP 0  FP 0  FN 2" in called.out
        assert "note: no picks were submitted" in called.err


def test_picks_of_an_unknown_class_are_counted_and_named(call: Call, example: Example, tmp_path: Path) -> None:
    (tmp_path / "picks.txt").write_text("9xyz 1 2 3\n")
    called = call("evaluate", tmp_path / "picks.txt", "--truth", example.data, *SYNC)
    assert called.exit_code == 0
    assert "FP 1" in called.out
    assert "'9xyz'" in called.err


def test_a_full_disk_leaves_the_old_numbers(call: Call, example: Example, tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    file.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        called = call("evaluate", example.picks, "--truth", example.data, "--json", file, *SYNC)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    refused(called, 3, (f"cannot write {file}", "File too large", "free some space"))
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == "old"


def test_a_failed_command_removes_only_what_it_made(call: Call, example: Example, tmp_path: Path) -> None:
    data = tmp_path / "data.zarr"
    shutil.copytree(example.data, data)
    chunk = data / "model_000/tilt_series/counts/c/3/0/0"
    chunk.write_bytes(b"x")
    assert call("reconstruct", data, "-o", data, "--overwrite", *SYNC).exit_code == 3
    assert Store(data).is_complete("model_000/tilt_series")
    other = tmp_path / "other.zarr"
    called = call("reconstruct", data, "-o", other, *SYNC)
    refused(called, 3, (str(chunk),))
    assert not other.exists()  # nothing of it was finished
