"""Signal-to-noise ratio of a simulated tomogram, as additive sums over its slabs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.model.source import BlockSource


@dataclass(frozen=True)
class SignalSums:
    """Sums over the voxels of the class mask: of the tomogram, of its noise, and of their squares."""

    count: int = 0
    noisy: float = 0.0
    noisy_squared: float = 0.0
    noise: float = 0.0
    noise_squared: float = 0.0
    product: float = 0.0
    """Of the tomogram and its noise."""

    def merge(self, other: SignalSums) -> SignalSums:
        """Sums over both sets of voxels. Summed in a fixed order, the result is the same for any worker count."""
        return SignalSums(
            self.count + other.count,
            self.noisy + other.noisy,
            self.noisy_squared + other.noisy_squared,
            self.noise + other.noise,
            self.noise_squared + other.noise_squared,
            self.product + other.product,
        )

    def snr(self) -> float | None:
        """(var(signal + noise) - var(noise)) / var(noise), section 2.1 of the SHREC 2021 paper; None without noise."""
        noisy, noise, _ = self._variances()
        return (noisy - noise) / noise if noise > 0 else None

    def noise_gain(self, target_snr: float) -> float | None:
        """Factor g > 0 of the noise at which ``snr`` becomes ``target_snr``; None without signal or without noise.

        With signal s and noise n: (var(s + g n) - g^2 var(n)) / (g^2 var(n)) = (var(s) + 2 g cov(s, n)) / (g^2 var(n)).
        """
        noisy, noise, both = self._variances()
        covariance = both - noise
        signal = noisy - noise - 2 * covariance
        if not (noise > 0 and signal > 0 and target_snr > 0):
            return None
        return (covariance + math.sqrt(covariance**2 + target_snr * noise * signal)) / (target_snr * noise)

    def _variances(self) -> tuple[float, float, float]:
        """Of the tomogram, of its noise, and their covariance; 0 where too little was counted."""
        if self.count < 2:
            return 0.0, 0.0, 0.0
        noisy, noise = self.noisy / self.count, self.noise / self.count
        return (
            self.noisy_squared / self.count - noisy**2,
            self.noise_squared / self.count - noise**2,
            self.product / self.count - noisy * noise,
        )


def signal_sums(
    noisy: BlockSource, noise_free: BlockSource, class_mask: BlockSource, rows: tuple[int, int], *, labels: int = 255
) -> SignalSums:
    """Sums over rows ``rows[0]`` to ``rows[1]`` along y; the three volumes (z, y, x) share one grid.

    Voxels of the classes 1 to ``labels`` count: the proteins, which come before the fiducials.
    """
    region = (slice(None), slice(*rows), slice(None))
    return slab_sums(noisy.read(region), noise_free.read(region), class_mask.read(region), labels=labels)


def slab_sums(
    noisy: npt.NDArray[Any], noise_free: npt.NDArray[Any], class_mask: npt.NDArray[Any], *, labels: int = 255
) -> SignalSums:
    """Sums over a slab (z, rows, x) of both tomograms where the class mask has one of the labels 1 to ``labels``."""
    inside = (class_mask > 0) & (class_mask <= labels)
    seen = noisy[inside].astype(np.float64)
    noise = seen - noise_free[inside]
    return SignalSums(
        int(inside.sum()),
        float(seen.sum()),
        float((seen**2).sum()),
        float(noise.sum()),
        float((noise**2).sum()),
        float((seen * noise).sum()),
    )
