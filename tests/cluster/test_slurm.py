"""SLURM: what jobs would look like, and a real one that runs, loses and replaces them."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

from cryodask.cluster import ClusterSpec, Session, connect
from cryodask.cluster.site import SlurmSite
from cryodask.cluster.slurm import job_script
from cryodask.errors import ClusterError, ConfigError
from tests.cluster.slurm_machine import Slurm, running_slurm, why_not

pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed; pip install 'cryodask[slurm]'")

SITE = SlurmSite(
    partition="short",
    account="lab-7",
    walltime="1-00:00:00",
    processors=4,
    scratch="/scratch/user",
    directives=("--constraint=skylake",),
    prologue=("module load python",),
)


def spec(site: SlurmSite, **values: Any) -> ClusterSpec:  # noqa: ANN401
    return ClusterSpec(kind="slurm", site=site, **{"workers": 2, "memory_limit_bytes": 2**30, **values})


def test_the_job_script_says_what_the_site_wants() -> None:
    lines = job_script(spec(SITE)).splitlines()
    head = [line for line in lines if line.startswith("#SBATCH")]
    assert head == [
        "#SBATCH -J cryodask",
        "#SBATCH -p short",
        "#SBATCH -A lab-7",
        "#SBATCH -n 1",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=1G",
        "#SBATCH -t 1-00:00:00",
        f"#SBATCH --output={Path.home()}/.cryodask/logs/CLUSTER/cryodask-%j.out",
        "#SBATCH --constraint=skylake",
    ]
    assert "module load python" in lines
    assert "export OMP_NUM_THREADS=1" in lines
    command = lines[-1].split()
    assert command[1:5] == ["-m", "distributed.cli.dask_worker", "tls://SCHEDULER:PORT", "--name"]
    options = dict(itertools.pairwise(command))
    assert options["--nthreads"] == "1"
    assert options["--memory-limit"] == "1.00GiB"
    assert options["--lifetime"] == f"{86400 - 8640}s"
    assert options["--lifetime-stagger"] == "4320s"
    assert options["--local-directory"] == "/scratch/user"
    assert options["--tls-key"].endswith("/key.pem")


def test_gpu_jobs_and_forbidden_directives() -> None:
    site = SlurmSite(gpus=1, gpu_type="a100", skip_directives=("--mem",), tls=False)
    script = job_script(spec(site))
    assert "#SBATCH --gres=gpu:a100:1" in script
    assert "--mem" not in script.partition("\n-m")[0].partition("python")[0]
    assert " -m dask_cuda.cli tcp://SCHEDULER:PORT" in script
    assert "--resources GPU=1" in script
    assert "export CRYODASK_DEVICE=cuda" in script.splitlines()
    assert "--lifetime" not in script  # an option that the CUDA worker lacks: it is told by the environment
    assert f"export DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION={4 * 3600 - 1440}s" in script.splitlines()
    assert "CRYODASK_DEVICE" not in job_script(spec(SITE))


def test_where_jobs_write_is_the_sites_choice() -> None:
    assert "#SBATCH --output=logs/cryodask-%j.out" in job_script(spec(SlurmSite(log_folder="logs"))).splitlines()
    assert not Path("logs").exists()  # nothing is made to describe it
    with dask.config.set({"jobqueue.slurm.log-directory": "/var/log"}):
        assert "#SBATCH -o /var/log/cryodask-%J.out" in job_script(spec(SlurmSite())).splitlines()


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ConfigError, match="--memory-limit"):
        job_script(ClusterSpec(kind="slurm", workers=1))
    with pytest.raises(ConfigError, match="at least 120 seconds"):
        job_script(spec(SlurmSite(walltime="00:01:00")))
    with pytest.raises(ConfigError, match="--workers N"), connect(ClusterSpec(kind="slurm", memory_limit_bytes=2**30)):
        pass


def test_a_machine_without_slurm_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="no sbatch on this machine"), connect(spec(SITE)):
        pass


# -- a real one ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running_slurm(tmp_path_factory.mktemp("slurm"), gpus=2) as machine, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", machine.environment["SLURM_CONF"])
        patch.setenv("PATH", machine.environment["PATH"])
        yield machine


@pytest.fixture
def session(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    site = SlurmSite(tls_folder=str(tmp_path / "tls"), interface="lo")
    with connect(spec(site, memory_limit_bytes=400 * 2**20)) as opened:
        yield opened
    assert list((tmp_path / "tls").iterdir()) == []
    assert list((tmp_path / ".cryodask" / "logs").iterdir()) == []
    assert list(tmp_path.glob("*.out")) == []
    wait_for(lambda: not slurm.jobs("RUNNING,PENDING,COMPLETING"), 30)


def wait_for(happened: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
def test_jobs_work_over_tls_and_a_cancelled_one_is_replaced(slurm: Slurm, session: Session, tmp_path: Path) -> None:
    client: Any = session.client
    assert session.scheduler_address.startswith("tls://")
    client.wait_for_workers(2, timeout=60)
    assert client.gather(client.map(pow, range(6), [2] * 6)) == [k * k for k in range(6)]
    numbers = set(client.run(os.getenv, "SLURM_JOB_ID").values())
    assert numbers == set(slurm.jobs())
    assert set(client.run(os.getenv, "OMP_NUM_THREADS").values()) == {"1"}

    (logs,) = (tmp_path / ".cryodask" / "logs").iterdir()
    assert {log.name for log in logs.iterdir()} == {f"cryodask-{number}.out" for number in numbers}

    (folder,) = (tmp_path / "tls").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}

    victim = min(numbers)
    slurm.call("scancel", victim)
    wait_for(lambda: victim not in slurm.jobs() and len(slurm.jobs()) == 2, 60)
    wait_for(lambda: len(client.nthreads()) == 2, 60)
    assert client.submit(pow, 2, 9).result(timeout=60) == 512


@pytest.mark.slow
def test_gpu_jobs_see_different_gpus(slurm: Slurm) -> None:
    """The order of SLURM that our directive gives: one device for each job (the devices only pretend)."""
    script = job_script(spec(SlurmSite(gpus=1, tls=False), memory_limit_bytes=400 * 2**20))
    head = "\n".join(line for line in script.splitlines() if line.startswith("#"))
    seen = []
    for index in range(2):
        out = slurm.folder / f"gpu-job-{index}.out"
        file = slurm.folder / f"gpu-job-{index}.sh"
        file.write_text(f"{head}\n#SBATCH -o {out}\necho devices=$CUDA_VISIBLE_DEVICES\nsleep 2\n")
        slurm.call("sbatch", str(file))
        seen.append(out)
    wait_for(lambda: all(out.exists() and "devices=" in out.read_text() for out in seen), 30)
    assert {out.read_text().strip() for out in seen} == {"devices=0", "devices=1"}
