"""``reconstruct --filter NAME``: each filter by name, and what a wrong name is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryodask.io.store import Store
from tests.cli.conftest import SYNC, Call, Example


@pytest.mark.parametrize(
    ("arguments", "least"),
    [
        (("exact",), 0.9),
        (("hann",), 0.6),
        (("sirt-like", "--sirt-iterations", "100"), 0.9),
        (("sirt-like", "--sirt-iterations", "20"), 0.3),
    ],
)
def test_filters_by_name(
    call: Call, example: Example, tmp_path: Path, arguments: tuple[str, ...], least: float
) -> None:
    other = tmp_path / "other.zarr"
    done = call("reconstruct", example.data, "--filter", *arguments, "-o", other, *SYNC)
    assert done.exit_code == 0, done.err
    group = "model_000/tomogram/scale0"
    plain, filtered = (Store(path).open(group)["image"].values for path in (example.data, other))
    likeness = np.corrcoef(plain.ravel(), filtered.ravel())[0, 1]
    assert likeness > least
    assert not np.array_equal(plain, filtered)


def test_an_unknown_filter_is_told_the_others(call: Call, example: Example, tmp_path: Path) -> None:
    done = call("reconstruct", example.data, "--filter", "sirt", "-o", tmp_path / "x.zarr", *SYNC)
    assert done.exit_code == 2
    assert "sirt-like" in done.err
    assert not (tmp_path / "x.zarr").exists()
