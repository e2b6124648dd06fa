"""Table 1 of the SHREC 2021 paper: what its authors measured of the twelve scored classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class PaperShape(NamedTuple):
    """One row, measured where the potential exceeds 0.5 V, at 1 nm sampling."""

    molecular_weight_kda: float
    volume_nm3: float
    area_nm2: float
    sphericity: float
    effective_radius_nm: float


TABLE_1: Mapping[str, PaperShape] = {
    "1S3X": PaperShape(42.75, 90.82, 109.8, 0.890, 2.481),
    "3QM1": PaperShape(62.62, 127.9, 137.6, 0.892, 2.789),
    "3GL1": PaperShape(84.61, 196.5, 191.2, 0.855, 3.083),
    "3H84": PaperShape(158.08, 347.0, 370.9, 0.644, 2.807),
    "2CG9": PaperShape(188.73, 401.2, 358.4, 0.734, 3.358),
    "3D2F": PaperShape(236.11, 516.0, 459.6, 0.677, 3.368),
    "1U6G": PaperShape(238.82, 499.3, 450.2, 0.676, 3.327),
    "3CF3": PaperShape(541.74, 1136.0, 745.2, 0.707, 4.573),
    "1BXN": PaperShape(559.96, 1021.0, 583.4, 0.840, 5.250),
    "1QVR": PaperShape(593.36, 1354.0, 1063.0, 0.557, 3.821),
    "4CR2": PaperShape(1309.28, 2675.0, 1846.0, 0.505, 4.347),
    "5MRC": PaperShape(3325.59, 6372.0, 3161.0, 0.526, 6.047),
}
"""By class, lightest first."""
