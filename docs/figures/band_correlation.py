"""How like the grand model a tomogram is, by bands: ``python band_correlation.py DATA.zarr TOMOGRAMS.zarr``.

DATA.zarr holds the grand model, TOMOGRAMS.zarr its noise-free tomogram at the same voxels. Printed is the correlation
of Fourier coefficients within the wedge of +-60 degrees, positive for dark proteins.
"""

from __future__ import annotations

import sys

import numpy as np

from cryodask.io.store import Store

BANDS_ANGSTROM = ((60, 30), (30, 25), (24, 18), (17, 14.5), (13.8, 12.5), (12, 11))


def main(data: str, tomograms: str, model: str = "model_000") -> None:
    """Print one line for each band."""
    grand = Store(data).open(f"{model}/grand_model")
    voxel = grand.attrs["voxel_size_angstrom"]
    truth = grand["electrostatic_v"].to_numpy()
    image = Store(tomograms).open(f"{model}/tomogram_noise_free/scale0")["image"].to_numpy().astype(np.float64)
    one, other = (np.fft.rfftn(volume - volume.mean()) for volume in (truth, image))
    axes = [np.fft.fftfreq(n, voxel) for n in truth.shape[:2]] + [np.fft.rfftfreq(truth.shape[2], voxel)]
    kz, ky, kx = np.meshgrid(*axes, indexing="ij")
    k = np.sqrt(kz**2 + ky**2 + kx**2)
    measured = np.abs(kz) <= np.abs(kx) * np.tan(np.radians(60))
    for coarse, fine in BANDS_ANGSTROM:
        band = measured & (k >= 1 / coarse) & (k < 1 / fine)
        a, b = one[band], other[band]
        likeness = -(a * b.conj()).real.sum() / np.sqrt((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum())
        sys.stdout.write(f"1/{coarse:g} to 1/{fine:g}: {likeness:.3f}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
