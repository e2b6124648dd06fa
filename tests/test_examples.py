"""The examples run as they stand, each on its own, and leave behind what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cryodask as cd

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))
LONGEST = 60


def run(example: str, folder: Path) -> str:
    """Standard output of one example with ``folder`` as its argument; warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(REPOSITORY / "examples" / example), str(folder)],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_simulate_and_look(tmp_path: Path) -> None:
    printed = run("01_simulate.py", tmp_path / "out")
    assert printed.count("model_000") == 6, "one line a particle"
    assert (tmp_path / "out" / "simulated.png").stat().st_size > 50_000
    assert (tmp_path / "out" / "data.zarr" / "zarr.json").is_file()


def test_match_a_template(tmp_path: Path) -> None:
    """The three particles of the class are found within a voxel (10 angstrom), and nothing else."""
    printed = run("02_match_a_template.py", tmp_path / "out")
    found = np.array(re.findall(r"\[(-?\d+), (-?\d+), (-?\d+)\]", printed), dtype=float)
    truth = cd.open(tmp_path / "out" / "data.zarr")["model_000/truth/particles"].to_dataset().to_dataframe()
    planted = truth[truth["class_id"] == "syn-0540-d4"][["z_angstrom", "y_angstrom", "x_angstrom"]].to_numpy()
    assert len(found) == len(planted) == 3
    distance = np.linalg.norm(found[:, None] - planted[None], axis=2)
    assert distance.min(axis=1).max() < 10
    assert sorted(distance.argmin(axis=1)) == [0, 1, 2]
    assert (tmp_path / "out" / "matched.png").is_file()


def test_evaluate_picks(tmp_path: Path) -> None:
    """Six particles, five found, one of them as the wrong class, and one pick on nothing: countable by hand."""
    printed = run("03_evaluate_picks.py", tmp_path / "out")
    assert "strict: TP 5, FP 1, FN 1, F1 0.833" in printed
    # Hollow particles: a pick 14 angstrom off the centre may lie outside the mask that this mode asks.
    assert "shrec21: TP" in printed


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_short_and_numbered(example: Path) -> None:
    text = example.read_text(encoding="utf-8")
    assert re.fullmatch(r"\d\d_[a-z_]+\.py", example.name)
    assert len(text.splitlines()) < LONGEST
    assert 'if __name__ == "__main__":' in text, "worker processes import the script that started them"


def test_every_example_has_its_own_test() -> None:
    """A new example needs a test here."""
    own = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES if f'"{path.name}"' not in own] == []
