"""docs/how-to/gpu-workstation.md, every command that needs GPUs, on a machine that only seems to have two."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "how-to" / "gpu-workstation.md"
SMALL = (
    *("--set", "simulation.sample.box_voxels=[32,64,64]", "--set", "simulation.sample.particle_count=[2,2]"),
    *("--set", "simulation.acquisition.tilt_count=7", "--classes", "syn-0060-c1", "--models", "1"),
)


def shell(text: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = folder / "bin" / "cryodask"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cryodask "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join((str(command.parent), environment["PATH"]))
    python_path = os.pathsep.join((str(REPOSITORY), environment.get("PYTHONPATH", "")))
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env={**environment, "PATH": path, "PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def blocks(info: str) -> list[str]:
    return re.findall(rf"^```{info}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_a_batch_on_two_gpus_that_have_no_driver(two_gpus: dict[str, str], tmp_path: Path) -> None:
    simulate = " ".join(["cryodask", "simulate", "--cluster", "sync", "-o", "data.zarr", *map(repr, SMALL)])
    manifest = "printf 'name,tilt_series,stages\\na,data.zarr,reconstruct\\nb,data.zarr,reconstruct\\n' > session.csv"
    made = shell(f"{simulate}\n{manifest}", tmp_path, dict(os.environ))
    assert made.returncode == 0, made.stderr
    (settings,), commands = blocks("sh"), blocks("sh no-run: needs GPUs")
    assert len(commands) == 2
    done = shell(settings + commands[0], tmp_path, two_gpus)
    assert "CUDA_VISIBLE_DEVICES: 0,1" in done.stdout
    # Blocks go to the device, and there is none: each tomogram is named with the reason, and the batch ends by itself.
    assert done.returncode == 5, done.stdout + done.stderr
    assert "2 tomograms: 0 done, 2 failed" in done.stdout
    for name in ("a", "b"):
        assert re.search(rf"failed: {name}, reconstruct: .*CUDA driver version", done.stdout), done.stdout


def test_the_check_says_what_is_missing(two_gpus: dict[str, str], tmp_path: Path) -> None:
    """Devices without a driver: one clear line and the exit code of a cluster that cannot be had, no traceback."""
    done = shell(blocks("sh no-run: needs GPUs")[1], tmp_path, two_gpus)
    assert done.returncode == 4, done.stdout
    (line,) = done.stderr.splitlines()
    assert re.search(r"CUDA", line)
    assert re.search(r"driver", line)


def test_without_any_gpu_the_batch_is_refused(two_gpus: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "session.csv").write_text("tomogram\nx.mrc\n")
    none = {**two_gpus, "STAND_IN_GPUS": "0"}
    done = shell("cryodask batch run session.csv --cluster cuda -o session", tmp_path, none)
    assert (done.returncode, "no NVIDIA GPU: use --cluster local" in done.stderr) == (4, True), done.stderr


@pytest.mark.slow
def test_what_the_page_installs_can_be_had_together() -> None:
    """The page's own line, with --dry-run: pip finds versions of all packages that agree, and installs none."""
    (line,) = blocks("sh no-run: installs packages")
    assert line.startswith("pip install ")
    program = f"{shlex.quote(sys.executable)} -m pip install --dry-run --no-input "
    command = line.replace("pip install ", program, 1)
    shell = ["timeout", "200", "bash", "-euc", command]  # some wheels come whole, only to be asked what they need
    done = subprocess.run(shell, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode == 124:
        pytest.skip("gigabytes of CUDA libraries take more than 200 s to come here")
    if done.returncode and not reachable():
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr[-2000:]
    # What is installed already is named too, with "already satisfied".
    for package in ("dask-cuda", "cupy-cuda13x"):
        assert re.search(rf"(Would install .*\b{package}-\d|Requirement already satisfied: {package}\b)", done.stdout)


def reachable() -> bool:
    """Whether pip gets a package at all here."""
    asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "click", "--dest"]
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run([*asked, folder], capture_output=True, check=False).returncode == 0
