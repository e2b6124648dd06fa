"""A tiny data set with tomogram and picks, made once by the commands themselves, and a way to call a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cryodask.cli import main
from cryodask.io.mrc import write_volume
from cryodask.io.store import Store

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
