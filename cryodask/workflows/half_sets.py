"""Fourier shell correlation of the tomograms of two half sets of tilts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dask.delayed import delayed
from distributed import Client

from cryodask.kernels.shell_correlation import HALF_SET_THRESHOLD, resolution_angstrom, shell_correlation
from cryodask.kernels.spectrum import RadialProfile
from cryodask.model.progress import Progress
from cryodask.model.source import BlockSource
from cryodask.workflows.execution import execute

MOST_VOXELS = 256
"""Along each axis, in the middle of the tomogram: enough for a curve, and 0.6 GB for any size of tomogram."""


@dataclass(frozen=True, eq=False)
class HalfSetCorrelation:
    """The curve, and where it falls below 0.143."""

    curve: RadialProfile
    resolution_angstrom: float | None

    def as_json(self) -> dict[str, object]:
        """Numbers for the data set's record."""
        return {
            "k_per_angstrom": [float(k) for k in self.curve.k],
            "correlation": [float(value) for value in self.curve.values],
            "resolution_angstrom": self.resolution_angstrom,
        }

    def as_csv(self) -> str:
        """Two columns."""
        rows = [f"{k:.6g},{value:.6f}" for k, value in zip(self.curve.k, self.curve.values, strict=True)]
        return "\n".join(["k_per_angstrom,correlation", *rows]) + "\n"

    def __str__(self) -> str:
        if self.resolution_angstrom is None:
            return "half sets agree up to Nyquist (shell correlation above 0.143)"
        if self.curve.values[0] < HALF_SET_THRESHOLD:
            return "half sets agree at no resolution (shell correlation below 0.143 from the first shell on)"
        return f"half sets agree to {self.resolution_angstrom:.3g} angstrom (shell correlation 0.143)"


def correlate_half_sets(
    halves: Sequence[BlockSource], voxel_size_angstrom: float, *, client: Client | None, progress: Progress, name: str
) -> HalfSetCorrelation:
    """Correlation of two tomograms, on a worker."""
    task = delayed(_curve, pure=False)(halves[0], halves[1], voxel_size_angstrom)
    ((k, values),) = execute([task], client=client, progress=progress, stage=f"{name} half sets")
    curve = RadialProfile(k, values)
    return HalfSetCorrelation(curve, resolution_angstrom(curve))


def _curve(one: BlockSource, other: BlockSource, voxel_size_angstrom: float) -> tuple[np.ndarray, np.ndarray]:
    middle = tuple(slice((n - min(n, MOST_VOXELS)) // 2, (n + min(n, MOST_VOXELS)) // 2) for n in one.shape)
    a, b = (source.read(middle).astype(np.float32) for source in (one, other))
    curve = shell_correlation(a, b, voxel_size_angstrom)
    return curve.k, curve.values
