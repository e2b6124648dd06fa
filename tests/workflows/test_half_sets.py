"""What is said of the Fourier shell correlation of two half sets."""

from __future__ import annotations

import numpy as np
import pytest

from cryodask.kernels.shell_correlation import resolution_angstrom
from cryodask.kernels.spectrum import RadialProfile
from cryodask.workflows.half_sets import HalfSetCorrelation


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.9, 0.8, 0.7], "agree up to Nyquist"),
        ([0.9, 0.243, 0.043], "agree to 40 angstrom"),
        ([0.01, -0.3, 0.2], "agree at no resolution"),
    ],
    ids=["everywhere", "in part", "noise alone"],
)
def test_the_sentence_follows_the_curve(values: list[float], said: str) -> None:
    curve = RadialProfile(np.array([0.01, 0.02, 0.03]), np.array(values))
    assert said in str(HalfSetCorrelation(curve, resolution_angstrom(curve)))
