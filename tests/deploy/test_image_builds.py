"""The image commands of docs/how-to/kubernetes.md, run by buildah in place of Docker.

The base that the Dockerfiles pin comes from a registry; in its place is a small Debian of the same release with its own
Python, made here. Everything above it is built as written, and what comes out is run as the user it names.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import SMALL

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "how-to" / "kubernetes.md"
SEEN_INSIDE = ("/etc/ssl/certs", "/etc/resolv.conf")
"""Of this machine, in the containers of a build: Docker would give them a network too."""
PACKAGES = "python3-venv,python-is-python3,ca-certificates"


class Builder:
    """buildah with a store of its own in ``folder``; needs no daemon, and with chroot no right to make namespaces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stored = ("--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver", "vfs")
        self.volumes = [word for path in SEEN_INSIDE for word in ("--volume", f"{path}:{path}:ro")]

    def call(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return run("buildah", *self.stored, *arguments, timeout=timeout)

    def make_base(self, name: str) -> str | None:
        """An image of this name; why there can be none otherwise."""
        root = self.folder / "debian"
        release = re.findall(r"-slim-(\w+)$", name)[0]
        made = run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, str(root), timeout=250)
        if made.returncode:
            return f"debootstrap: {made.stdout[-300:]}{made.stderr[-300:]}"
        container = self.call("from", "scratch").stdout.strip()
        for step in (("add", "--quiet", container, str(root), "/"), ("commit", "--quiet", container, name)):
            if (done := self.call(*step)).returncode:
                return f"buildah {step[0]}: {done.stderr[-300:]}"
        asked = "python -m venv v && v/bin/pip download --quiet --no-deps --dest d click"
        done = self.inside(container, "sh", "-c", asked)
        return f"containers reach no package index: {done.stderr[-300:]}" if done.returncode else None

    def inside(self, container: str, *command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return self.call("run", "--isolation", "chroot", *self.volumes, container, "--", *command, timeout=timeout)

    def build(self, command: str) -> subprocess.CompletedProcess[str]:
        """A ``docker build`` of the page, with the words for Docker replaced by those for buildah."""
        assert command.startswith("docker build ")
        options = ("--isolation", "chroot", "--pull-never", *self.volumes)
        return self.call("build", *options, *command.split()[2:], timeout=1500)


def run(*command: str, timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    for program in ("buildah", "debootstrap"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: apt-get install {program})")
    if not Path("/etc/debian_version").is_file() or run("id", "-u", timeout=10).stdout.strip() != "0":
        pytest.skip("images are built by root of a Debian here")
    folder = tmp_path_factory.mktemp("images")
    (base,) = set(re.findall(r"^FROM (\S+)", "".join(p.read_text() for p in dockerfiles()), re.MULTILINE))
    made = Builder(folder)
    if (reason := made.make_base(base)) is not None:
        pytest.skip(reason)
    yield made
    shutil.rmtree(folder, ignore_errors=True)  # gigabytes


def dockerfiles() -> list[Path]:
    return sorted((REPOSITORY / "deploy" / "docker").glob("Dockerfile*"))


def command_for(dockerfile: Path) -> str:
    (found,) = re.findall(rf"^docker build -f deploy/docker/{dockerfile.name} .*$", PAGE.read_text(), re.MULTILINE)
    return str(found)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "dockerfile",
    [pytest.param(p, marks=pytest.mark.images if p.suffix else pytest.mark.slow, id=p.name) for p in dockerfiles()],
)
def test_the_image_builds_and_works_as_its_user(builder: Builder, dockerfile: Path) -> None:
    command = command_for(dockerfile)
    built = builder.build(command)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    tag = command.split()[command.split().index("-t") + 1]
    started = builder.call("from", "--pull-never", tag)
    assert started.returncode == 0, started.stderr
    container = started.stdout.strip()
    assert builder.inside(container, "id", "-u").stdout.strip() == "1000"
    assert "Usage: cryodask" in builder.inside(container, "cryodask", "--help").stdout
    small = ("simulate", "-o", "data.zarr", "--models", "1", "--cluster", "sync", *SMALL)
    done = builder.inside(container, "cryodask", *small, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    assert builder.inside(container, "test", "-f", "data.zarr/zarr.json").returncode == 0
