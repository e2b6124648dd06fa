"""Tables 2, 3, 4, 6 and 7 of the SHREC 2021 paper: what its eight submissions scored on the test tomogram.

Values are as printed, two misprints included (``MISPRINTS``). Source: I. Gubins et al., "SHREC 2021: Classification in
Cryo-electron Tomograms", Eurographics Workshop on 3D Object Retrieval (2021). Table 1 is in ``shrec21_table1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cryodask.model.shrec21_table1 import TABLE_1

CLASSES = (*TABLE_1, "fiducial")
"""Columns of Tables 2 and 4: the proteins, lightest first, and the gold."""

PARTICLES: Mapping[str, int] = dict(
    zip(CLASSES, (122, 120, 123, 144, 125, 140, 143, 139, 135, 127, 115, 121, 11), strict=True)
)
"""Table 2: particles of the test tomogram."""

RECALL_BASE = 1571
"""Truth particles that the recall of Table 3 counts: the 1565 of Table 2, and six vesicles."""


class PaperLocalization(NamedTuple):
    """A row of Table 3 as printed; AD in voxels of 1 nm."""

    RR: int
    TP: int
    FP: int
    FN: int
    MH: int
    AD: float
    recall: float
    precision: float
    miss_rate: float
    F1: float


class PaperSubmission(NamedTuple):
    """What the paper prints of one method."""

    localization: PaperLocalization
    class_f1: tuple[float, ...]
    """Row of Table 4, by ``CLASSES``."""
    group_f1: tuple[float, float, float]
    """Row of Table 6: small, medium and large proteins."""


MISPRINTS: Mapping[tuple[str, str], float] = {("YOPO", "recall"): 0.779, ("TM-F", "FN"): 602}
"""What the counts of a row give where Table 3 prints something else (0.720 and 601)."""

SUBMISSIONS: Mapping[str, PaperSubmission] = {
    "URFinder": PaperSubmission(
        PaperLocalization(1969, 1298, 377, 267, 149, 1.84, 0.826, 0.659, 0.174, 0.733),
        (0.000, 0.423, 0.453, 0.600, 0.542, 0.672, 0.673, 0.867, 0.967, 0.860, 0.926, 0.954, 0.429),
        (0.404, 0.808, 0.94),
    ),
    "DeepFinder": PaperSubmission(
        PaperLocalization(1567, 1362, 64, 203, 20, 2.22, 0.867, 0.869, 0.133, 0.868),
        (0.402, 0.481, 0.517, 0.701, 0.716, 0.766, 0.737, 0.964, 0.989, 0.953, 0.974, 0.996, 1.000),
        (0.563, 0.882, 0.985),
    ),
    "U-CLSTM": PaperSubmission(
        PaperLocalization(1460, 1253, 49, 312, 44, 2.13, 0.798, 0.858, 0.202, 0.827),
        (0.277, 0.415, 0.389, 0.561, 0.511, 0.651, 0.566, 0.946, 0.989, 0.903, 0.991, 1.000, 1.000),
        (0.431, 0.811, 0.996),
    ),
    "MC-DS-Net": PaperSubmission(
        PaperLocalization(1760, 1415, 239, 150, 56, 1.59, 0.901, 0.804, 0.099, 0.850),
        (0.316, 0.487, 0.603, 0.783, 0.782, 0.791, 0.797, 0.956, 0.985, 0.934, 0.979, 1.000, 1.000),
        (0.594, 0.893, 0.989),
    ),
    "YOPO": PaperSubmission(
        PaperLocalization(1627, 1224, 232, 341, 14, 1.66, 0.720, 0.752, 0.221, 0.765),
        (0.203, 0.148, 0.471, 0.601, 0.626, 0.627, 0.613, 0.884, 0.938, 0.920, 0.983, 0.966, 0.952),
        (0.41, 0.796, 0.974),
    ),
    "CFN": PaperSubmission(
        PaperLocalization(1765, 1364, 239, 201, 20, 1.52, 0.868, 0.773, 0.132, 0.818),
        (0.250, 0.511, 0.613, 0.768, 0.714, 0.761, 0.731, 0.971, 0.996, 0.969, 0.996, 1.000, 1.000),
        (0.571, 0.886, 0.998),
    ),
    "TM-F": PaperSubmission(
        PaperLocalization(1772, 963, 295, 601, 17, 2.65, 0.613, 0.543, 0.387, 0.576),
        (0.040, 0.189, 0.200, 0.282, 0.308, 0.439, 0.129, 0.592, 0.962, 0.513, 0.827, 0.857, 0.900),
        (0.204, 0.527, 0.842),
    ),
    "TM": PaperSubmission(
        PaperLocalization(4195, 1073, 583, 492, 716, 2.62, 0.683, 0.256, 0.317, 0.372),
        (0.054, 0.197, 0.266, 0.302, 0.345, 0.452, 0.133, 0.615, 0.966, 0.545, 0.950, 0.857, 0.900),
        (0.233, 0.542, 0.903),
    ),
}
"""Tables 3, 4 and 6, in the order of Table 3."""

TIMES: Mapping[str, tuple[str, str]] = {
    "URFinder": ("300 h", "2 h 6 min"),
    "DeepFinder": ("50 h", "20 min"),
    "U-CLSTM": ("120 h", "15 min"),
    "MC-DS-Net": ("22 h", "5 min"),
    "YOPO": ("8 h", "40 min"),
    "CFN": ("96 h", ""),
    "TM-F": ("", "4 h 26 min"),
    "TM": ("", "4 h 26 min"),
}
"""Table 7: training and inference as the authors state them; empty where the paper does. TM and TM-F share a row."""
