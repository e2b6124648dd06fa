"""docs/how-to/slurm.md and deploy/slurm, on a real SLURM: every command of the page, in order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cryodask.cluster import ClusterSpec
from cryodask.cluster.site import SlurmSite, make_site, read_site
from cryodask.cluster.slurm import job_script
from tests.cluster.slurm_machine import running_slurm, why_not

pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed; pip install 'cryodask[slurm]'")

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy" / "slurm"
PAGE = REPOSITORY / "docs" / "how-to" / "slurm.md"


@pytest.mark.slow
def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    blocks = re.findall(r"^```sh no-run: needs SLURM\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    work = tmp_path / "work"
    work.mkdir()
    shutil.copy(DEPLOY / "coordinator.sbatch", work)
    command = tmp_path / "bin" / "cryodask"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cryodask "$@"\n')
    command.chmod(0o755)
    with running_slurm(tmp_path / "slurm") as slurm:
        path = os.pathsep.join((str(command.parent), slurm.environment["PATH"]))
        environment = {**slurm.environment, "PATH": path, "HOME": str(tmp_path)}
        environment["PYTHONPATH"] = os.pathsep.join((str(REPOSITORY), environment.get("PYTHONPATH", "")))
        for block in blocks:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                cwd=work,
                env=environment,
                capture_output=True,
                text=True,
                timeout=250,
                check=False,
            )
            logs = "".join(file.read_text()[-1500:] for file in work.glob("*.log"))
            assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}{logs}"
        assert (work / "picks" / "picks.star").exists()
        leader = next(work.glob("cryodask-batch-*.log")).read_text()
        assert "2 tomograms: 2 done" in leader
    assert list((tmp_path / ".cryodask" / "tls").iterdir()) == []
    assert list((tmp_path / ".cryodask" / "logs").iterdir()) == []
    assert [path.name for path in work.glob("slurm-*")] == []


@pytest.mark.parametrize("name", ["site.yaml", "site-gpu.yaml"])
def test_site_files_make_job_scripts(name: str) -> None:
    site = read_site(DEPLOY / name, "slurm")
    assert isinstance(site, SlurmSite)
    script = job_script(ClusterSpec(kind="slurm", site=site, workers=1))
    assert ("--gres=gpu:1" in script) == (name == "site-gpu.yaml")
    assert f"#SBATCH -p {site.partition}" in script


def test_keys_in_comments_exist_too() -> None:
    """A commented example is copied as often as any other."""
    text = (DEPLOY / "site.yaml").read_text()
    values: dict[str, Any] = yaml.safe_load(re.sub(r"^  # (?=\w+:)", "  ", text, flags=re.MULTILINE))["slurm"]
    make_site("slurm", values, "site.yaml")
    assert set(values) == set(SlurmSite.__dataclass_fields__) - {"gpus", "gpu_type"}


def test_jobqueue_configuration_is_taken() -> None:
    import dask

    values = yaml.safe_load((DEPLOY / "jobqueue.yaml").read_text())
    known = dask.config.get("jobqueue.slurm")
    assert set(values["jobqueue"]["slurm"]) <= set(known)
    with dask.config.set({"jobqueue.slurm.death-timeout": values["jobqueue"]["slurm"]["death-timeout"]}):
        script = job_script(ClusterSpec(kind="slurm", workers=1, memory_limit_bytes=2**30))
    assert "--death-timeout 120" in script


def test_the_coordinator_is_sound_shell() -> None:
    script = DEPLOY / "coordinator.sbatch"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    missing = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    assert (missing.returncode, "usage:" in missing.stderr) == (1, True)
