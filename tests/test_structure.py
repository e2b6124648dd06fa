"""What holds for the source as a whole: layers, sizes, documentation of modules, nothing of one person's machine."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "cryodask"
MODULES = sorted(PACKAGE.rglob("*.py"))
LARGEST_LINES = 450
LARGEST_MEDIAN_LINES = 150
LARGEST_FUNCTION_LINES = 110

TEXT_SUFFIXES = {".cfg", ".cff", ".j2", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}
FOLDERS = ("cryodask", "deploy", "docs", "examples", "tests")
OF_ONE_MACHINE = re.compile(r"(?<![\w.$}*])/(?:work|root|home|Users|tmp)/")
"""Absolute paths of somebody's folders. Cluster files under deploy/ may name a scratch folder of the node."""


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def texts() -> list[Path]:
    """Every text file that a release holds, this one aside."""
    top = [path for path in REPOSITORY.iterdir() if path.suffix in TEXT_SUFFIXES or path.name == "LICENSE"]
    below = [path for name in FOLDERS for path in (REPOSITORY / name).rglob("*") if path.suffix in TEXT_SUFFIXES]
    every = {*top, *below, REPOSITORY / ".ci" / "run"} - {Path(__file__).resolve()}
    return sorted(path for path in every if path.is_file())


def test_layers_point_downwards() -> None:
    """The contracts of setup.cfg: who may import whom."""
    pytest.importorskip("importlinter", reason='import-linter is not installed; pip install -e ".[dev]"')
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or shutil.which("lint-imports")
    assert command is not None, "import-linter is installed without its command lint-imports"
    done = subprocess.run(
        [command, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", done.stdout), done.stdout


def test_files_are_small() -> None:
    too_large = {
        str(path.relative_to(REPOSITORY)): lines_of(path) for path in MODULES if lines_of(path) > LARGEST_LINES
    }
    assert not too_large, "split what has more than one reason to exist"
    sizes = sorted(lines_of(path) for path in MODULES)
    assert sizes[len(sizes) // 2] <= LARGEST_MEDIAN_LINES


def test_functions_fit_a_screen_or_two() -> None:
    too_long = {
        f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LARGEST_FUNCTION_LINES
    }
    assert not too_long


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(REPOSITORY))
        for path in MODULES
        if (text := path.read_text(encoding="utf-8")).strip() and ast.get_docstring(ast.parse(text)) is None
    ]
    assert silent == []


def test_nothing_prints() -> None:
    """Progress and results go through click and Progress; a print in a worker would vanish or mix lines."""
    printing = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


def test_no_paths_of_one_machine() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if OF_ONE_MACHINE.search(line) and not (path.is_relative_to(REPOSITORY / "deploy") and "/tmp/" in line)
    ]
    assert found == []


def test_the_path_pattern_finds_paths() -> None:
    """A test that cannot fail tests nothing."""
    assert OF_ONE_MACHINE.search("open('/home/somebody/data')")
    assert OF_ONE_MACHINE.search("cd /root/x")
    assert not OF_ONE_MACHINE.search("$HOME/home/x, https://example.org/home/x, docs/work/x")


def test_metadata_live_in_pyproject_only() -> None:
    """With metadata in both places, extras get lost."""
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    assert not {"metadata", "options"} & set(setup.sections())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"test", "dev"} <= set(project["optional-dependencies"])
    assert project["license"] == "BSD-3-Clause"
