"""A tiny data set with tomogram and picks, made once by the commands themselves, and a way to call a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryodask.cli import main
from cryodask.io.alignments import imod
from cryodask.io.mrc import write_volume
from cryodask.io.store import Store
from cryodask.model.alignment import TiltAlignment
from tests.cli.recorded import SHAPE, THICKNESS, TILTS, Reconstruct, Volume
from tests.phantom import write_stack

CLASSES = ("syn-0060-c1", "syn-0150-c2")
SYNC = ("--cluster", "sync")
TINY = (
    *("--set", "simulation.sample.box_voxels=[32,64,64]", "--set", "simulation.sample.particle_count=[2,2]"),
    *("--set", "simulation.acquisition.tilt_count=7", "--classes", ",".join(CLASSES), "--models", "1", *SYNC),
)
COARSE = ("--angular-step", "60", *SYNC)


@dataclass(frozen=True)
class Called:
    """What a command answered."""

    exit_code: int
    out: str
    err: str


Call = Callable[..., Called]


@dataclass(frozen=True)
class Example:
    """The files of the tiny run; read-only for tests."""

    folder: Path
    data: Path
    picks: Path
    tomogram: Path
    templates: Path
    tilts: Path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line in this process."""

    def run(*arguments: str | Path) -> Called:
        exit_code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Called(exit_code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """A data set with tomogram and picks; tomogram, templates and tilts also as files that other programs write."""
    folder = tmp_path_factory.mktemp("example")
    data, picks = folder / "data.zarr", folder / "picks"
    assert main(["simulate", "-o", str(data), *TINY]) == 0
    assert main(["reconstruct", str(data), "-o", str(data), *SYNC]) == 0
    assert main(["match", str(data), "-o", str(picks), *COARSE]) == 0
    store = Store(data)
    everything = (slice(None),) * 3
    tomogram, templates, tilts = folder / "tomogram.mrc", folder / "templates", folder / "tomogram.tlt"
    write_volume(tomogram, store.source("model_000/tomogram/scale0", "image").read(everything), 10.0)
    templates.mkdir()
    for name in CLASSES:
        density = store.source(f"structures/{name}", "electrostatic_v").read(everything)
        write_volume(templates / f"{name}.mrc", density, 2.5)
    tilts.write_text("".join(f"{tilt:8.2f}\n" for tilt in np.linspace(-60, 60, 7)))
    return Example(folder, data, picks, tomogram, templates, tilts)


@pytest.fixture
def reconstruct(call: Call, tmp_path: Path) -> Reconstruct:
    """Run the command on a stack and read what it wrote; what it said is kept as ``reconstruct.said``."""

    def run(stack: Path, *options: str | Path, name: str = "out.mrc") -> Volume:
        called: Called = call("reconstruct", stack, *options, "-o", tmp_path / name, *SYNC)
        assert called.exit_code == 0, called.err
        run.said = called.err  # type: ignore[attr-defined]
        volume: Volume = mrcfile.read(tmp_path / name)
        return volume

    return run


@pytest.fixture(scope="session")
def upright(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """The tomogram of images that need no alignment."""
    folder = tmp_path_factory.mktemp("upright")
    stack = write_stack(folder / "a.mrc", TiltAlignment.of(TILTS), SHAPE)
    imod.write_angles(folder / "a.tlt", TILTS)
    arguments = ["reconstruct", stack, "--tilt-angles", folder / "a.tlt", *THICKNESS, "-o", folder / "out.mrc", *SYNC]
    assert main([str(argument) for argument in arguments]) == 0
    volume: Volume = mrcfile.read(folder / "out.mrc")
    return volume
