"""Draw one simulated model of the preset shrec2021: ``python docs/figures/shrec2021_model.py DATA.zarr OUT.png``."""

from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np

import cryodask as cd
from cryodask.kernels.optics import ctf_zeros
from cryodask.kernels.spectrum import power_profile

mpl.use("Agg")
import matplotlib.pyplot as plt

ZEROS_SHOWN = 6


def main(data: str, output: str) -> None:
    """Slices of tomogram and truth, two images, and the mean spectrum with the zeros of the CTF."""
    model = cd.open(data)["model_000"]
    tomogram, truth, series = model["tomogram/scale0"], model["truth"], model["tilt_series"]
    figure, axes = plt.subplots(2, 3, figsize=(12, 8.4), layout="constrained")
    volume = tomogram["image"]
    depth = volume.sizes["z"] // 2
    grey(axes[0, 0], volume[depth - 2 : depth + 3].mean("z"), "tomogram, 5 slices of 1 nm in the middle")
    axes[0, 1].imshow(truth["class_mask"][depth], cmap="tab20", interpolation="nearest")
    axes[0, 1].set_title("truth: classes, middle slice")
    middle = volume[:, volume.sizes["y"] // 2 - 2 : volume.sizes["y"] // 2 + 3].mean("y")
    grey(axes[0, 2], middle, "tomogram, x-z")
    tilts = series["tilt_deg"].to_numpy()
    for axis, wanted in ((axes[1, 0], 0.0), (axes[1, 1], 60.0)):
        index = int(np.argmin(np.abs(tilts - wanted)))
        image = series["counts"][index].to_numpy()
        grey(axis, image.reshape(512, 2, 512, 2).mean(axis=(1, 3)), f"counts at {tilts[index]:.0f}°, binned by 2")
    spectrum(axes[1, 2], series)
    for axis in axes.ravel()[:5]:
        axis.set_axis_off()
    figure.savefig(output, dpi=64)


def grey(axis: plt.Axes, image: np.ndarray, title: str) -> None:
    """An image between its 1st and 99th percentile."""
    low, high = np.percentile(image, [1, 99])
    axis.imshow(image, cmap="gray", vmin=low, vmax=high)
    axis.set_title(title)


def spectrum(axis: plt.Axes, series: object) -> None:
    """Mean power of the noise-free images within 20 degrees, and where the CTF of the series has its zeros."""
    attrs = series.attrs  # type: ignore[attr-defined]
    near = np.flatnonzero(np.abs(series["tilt_deg"].to_numpy()) <= 20)  # type: ignore[index]
    pixel = attrs["pixel_size_angstrom"]
    profiles = [power_profile(series["noise_free"][int(i)].to_numpy(), pixel) for i in near]  # type: ignore[index]
    k, power = profiles[0].k[2:], np.mean([profile.values for profile in profiles], axis=0)[2:]
    axis.semilogy(k, power)
    known = {name: attrs[name] for name in ("voltage_kv", "defocus_um", "spherical_aberration_mm")}
    for zero in ctf_zeros(**known, count=ZEROS_SHOWN):
        axis.axvline(zero, color="0.7", linewidth=0.8, zorder=0)
    axis.set(xlabel="frequency, 1/Å", title=f"power of noise-free images, zeros at {attrs['defocus_um']:.2f} µm")


if __name__ == "__main__":
    main(*sys.argv[1:])
