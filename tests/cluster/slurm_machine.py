"""A real SLURM on this one machine, for tests: controller, node daemon and munge, all of our own, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "sinfo", "squeue")
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
START_SECONDS = 30.0


def why_not() -> str | None:
    """Why there can be no SLURM here; None if there can."""
    missing = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    if missing:
        return f"no {missing[0]} (Debian: apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "SLURM's daemons are started as root"
    return None


@dataclass(frozen=True)
class Slurm:
    """A running SLURM; ``environment`` makes its commands talk to it."""

    folder: Path
    environment: dict[str, str]

    def call(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}{self.logs()}"
        return done.stdout.strip()

    def jobs(self, states: str = "RUNNING") -> list[str]:
        """Numbers of the jobs in one of these states."""
        return self.call("squeue", "-h", "-o", "%i", "-t", states).split()

    def logs(self) -> str:
        return "".join(
            f"\n== {file.name}\n{file.read_text(errors='replace')[-2000:]}" for file in self.folder.glob("*.log")
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configuration(folder: Path, gpus: int) -> str:
    host = socket.gethostname().partition(".")[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    gres = f" Gres=gpu:{gpus}" if gpus else ""
    return "\n".join(
        [
            "ClusterName=test",
            f"SlurmctldHost={host}(127.0.0.1)",
            "SlurmUser=root",
            "SlurmdUser=root",
            "AuthType=auth/munge",
            f"AuthInfo=socket={folder}/munge.sock",
            "CredType=cred/munge",
            "MpiDefault=none",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/none",
            "AccountingStorageType=accounting_storage/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core_Memory",
            "ReturnToService=2",
            f"SlurmctldPort={free_port()}",
            f"SlurmdPort={free_port()}",
            f"SlurmctldPidFile={folder}/slurmctld.pid",
            f"SlurmdPidFile={folder}/slurmd.pid",
            f"SlurmdSpoolDir={folder}/spool",
            f"StateSaveLocation={folder}/state",
            "SchedulerParameters=sched_interval=1,bf_interval=1",
            "InactiveLimit=0",
            "KillWait=2",
            "MinJobAge=30",
            "GresTypes=gpu",
            # More processors than there are, so that jobs need not wait for each other on a small machine.
            f"NodeName={host} NodeAddr=127.0.0.1 CPUs={max(4, os.cpu_count() or 1)} RealMemory={int(memory * 0.9)}"
            f" State=UNKNOWN{gres}",
            f"PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO",
            "SlurmdParameters=config_overrides",
            "",
        ]
    )


@contextmanager
def running_slurm(folder: Path, gpus: int = 0) -> Iterator[Slurm]:
    """SLURM in ``folder``, with ``gpus`` pretended GPUs; all of its processes are gone at the end."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "slurm.conf").write_text(configuration(folder, gpus))
    devices = []
    for index in range(gpus):
        device = folder / f"gpu{index}"
        subprocess.run(["mknod", str(device), "c", "1", "3"], check=True)
        devices.append(f"Name=gpu File={device}\n")
    (folder / "gres.conf").write_text("".join(devices))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}
    slurm = Slurm(folder, environment)
    munge = [f"--socket={folder}/munge.sock", f"--key-file={key}", f"--seed-file={folder}/munge.seed"]
    daemons = [
        ["munged", "--foreground", "--force", f"--pid-file={folder}/munged.pid", *munge],
        ["slurmctld", "-D", "-c", "-f", f"{folder}/slurm.conf"],
        ["slurmd", "-D", "-c", "-f", f"{folder}/slurm.conf"],
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in daemons:
            with (folder / f"{command[0]}.log").open("wb") as log:
                started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            if command[0] == "munged":
                _wait(lambda: (folder / "munge.sock").exists(), slurm)
        _wait(lambda: _idle(environment), slurm)
        yield slurm
    finally:
        subprocess.run(["scancel", "-u", "root"], env=environment, check=False, capture_output=True, timeout=30)
        time.sleep(0.5)
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _idle(environment: dict[str, str]) -> bool:
    done = subprocess.run(
        ["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    return "idle" in done.stdout


def _wait(happened: object, slurm: Slurm) -> None:
    assert callable(happened)
    end = time.monotonic() + START_SECONDS
    while not happened():
        assert time.monotonic() < end, f"SLURM did not start in {START_SECONDS} s{slurm.logs()}"
        time.sleep(0.1)
