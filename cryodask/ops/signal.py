"""Signal-to-noise ratio of a simulated tomogram, as additive sums over its slabs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryodask.model.source import BlockSource


@dataclass(frozen=True)
class SignalSums:
    """Sums over the voxels of the class mask: of the tomogram, of its noise, and of their squares."""

    count: int = 0
    noisy: float = 0.0
    noisy_squared: float = 0.0
    noise: float = 0.0
    noise_squared: float = 0.0

    def merge(self, other: SignalSums) -> SignalSums:
        """Sums over both sets of voxels. Summed in a fixed order, the result is the same for any worker count."""
        return SignalSums(
            self.count + other.count,
            self.noisy + other.noisy,
            self.noisy_squared + other.noisy_squared,
            self.noise + other.noise,
            self.noise_squared + other.noise_squared,
        )

    def snr(self) -> float | None:
        """(var(signal + noise) - var(noise)) / var(noise), section 2.1 of the SHREC 2021 paper; None without noise."""
        if self.count < 2:
            return None
        noisy = self.noisy_squared / self.count - (self.noisy / self.count) ** 2
        noise = self.noise_squared / self.count - (self.noise / self.count) ** 2
        return (noisy - noise) / noise if noise > 0 else None


def signal_sums(
    noisy: BlockSource, noise_free: BlockSource, class_mask: BlockSource, rows: tuple[int, int], *, labels: int = 255
) -> SignalSums:
    """Sums over rows ``rows[0]`` to ``rows[1]`` along y; the three volumes (z, y, x) share one grid.

    Voxels of the classes 1 to ``labels`` count: the proteins, which come before the fiducials.
    """
    region = (slice(None), slice(*rows), slice(None))
    mask = class_mask.read(region)
    inside = (mask > 0) & (mask <= labels)
    seen = noisy.read(region)[inside].astype(np.float64)
    noise = seen - noise_free.read(region)[inside]
    return SignalSums(
        int(inside.sum()), float(seen.sum()), float((seen**2).sum()), float(noise.sum()), float((noise**2).sum())
    )
