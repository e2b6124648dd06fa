"""Pickers of other packages: found by entry points, named when they are broken, never harmful."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryodask.cli import main
from cryodask.errors import PluginError
from cryodask.pickers.registry import OWN, get_picker, listed_pickers

PLUGIN = '''
"""A picker of another package."""
from cryodask.model.particles import Particles
from cryodask.pickers.protocol import Picks


class Middle:
    name = "middle"
    summary = "the middle of the tomogram"
    needs_templates = False

    def pick(self, target, bench):
        return Picks(particles=Particles.create(["middle"], [[0, 0, 0]], tomogram=target.name, score=[1.0]))


class Half:
    name = "half"


class Wrong(Middle):
    name = "wrong"

    def pick(self, target, bench):
        return [1, 2, 3]
'''
ENTRIES = """
[cryodask.pickers]
middle = other_pickers:Middle
half = other_pickers:Half
missing = not_there:Nothing
wrong = other_pickers:Wrong
tm = other_pickers:Middle
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A distribution as pip leaves it: a module, and beside it the folder with its metadata."""
    (tmp_path / "other_pickers.py").write_text(PLUGIN)
    info = tmp_path / "other_pickers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-pickers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("other_pickers", None)


def test_own_pickers_are_there() -> None:
    found = {entry.name: entry for entry in listed_pickers()}
    assert set(OWN) <= set(found)
    assert [name for name in OWN if found[name].picker is None] == []
    assert all(found[name].picker.name == name for name in OWN)  # type: ignore[union-attr]


def test_the_metadata_of_the_package_and_the_table_agree() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["cryodask.pickers"] == OWN


def test_other_packages_pickers_are_listed(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del installed
    assert main(["pick", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0] + ("*" if "[" in line else ""): line for line in lines}
    assert "the middle of the tomogram  [other-pickers]" in rows["middle*"]
    assert "cannot be used: it lacks summary, needs_templates, pick" in rows["half*"]
    assert "cannot be used: ModuleNotFoundError: No module named 'not_there'" in rows["missing*"]
    assert "its name is that of one of cryodask's own pickers" in rows["tm*"]
    assert set(OWN) <= {line.split()[0] for line in lines}


def test_broken_ones_are_refused_by_name_and_others_work(installed: Path) -> None:
    del installed
    assert get_picker("middle").summary == "the middle of the tomogram"
    assert get_picker("tm").name == "tm"
    with pytest.raises(PluginError, match=r"'missing' of other-pickers cannot be used: ModuleNotFoundError"):
        get_picker("missing")
    with pytest.raises(PluginError, match=r"no picker 'midle'; did you mean middle\?"):
        get_picker("midle")
