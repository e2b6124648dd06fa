"""``check --gpu``: every part of the portable kernels on another device, against the host's own way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, capabilities, to_host
from cryodask.kernels import fourier
from cryodask.kernels.backprojection import backproject
from cryodask.kernels.correlation import best_scores, search_volume
from cryodask.kernels.detector import expected_signal
from cryodask.kernels.multislice import exit_wave
from cryodask.kernels.optics import ctf
from cryodask.kernels.peaks import extract_peaks, robust_z
from cryodask.kernels.ramp import filter_tilts
from cryodask.kernels.resample import rotate_volume
from cryodask.kernels.resample import spline_coefficients as volume_coefficients
from cryodask.kernels.slab_rotation import rotate_slab, spline_coefficients
from cryodask.kernels.templates import prepare_template

Move = Callable[[npt.NDArray[Any]], Array]
"""Takes a host array to the device that is checked."""
Part = Callable[[Move, int], Sequence[Any]]
"""Computes something on the device from fixed random numbers of a given size; returns arrays."""

TOLERANCE = 2e-4
"""Largest difference over the largest value. Single precision and another order of sums reach some 1e-5."""
SMALL, LARGE = 24, 96
"""Voxels along a side: quick on any device, and enough to compare speeds."""


@dataclass(frozen=True, kw_only=True)
class DeviceResult:
    """One part on both devices."""

    name: str
    difference: float
    """Largest difference over the largest value; infinite for other shapes or a failure."""
    host_seconds: float
    device_seconds: float
    failure: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the device may be trusted with this."""
        return self.failure is None and self.difference <= TOLERANCE

    def __str__(self) -> str:
        if self.failure is not None:
            return f"{self.name}: FAILED: {self.failure}"
        verdict = "ok" if self.ok else "DIFFERS"
        return (
            f"{self.name}: {verdict}, differs by {self.difference:.1e}, "
            f"{1000 * self.host_seconds:.1f} ms on the host, {1000 * self.device_seconds:.1f} ms on the device"
        )


def check_device(move: Move, size: int = SMALL) -> Iterator[DeviceResult]:
    """Each part in turn, on the host and on the device that ``move`` takes arrays to; a failure stops none of them."""
    for name, part in PARTS.items():
        expected, host_seconds = _timed(part, np.asarray, size)
        try:
            found, device_seconds = _timed(part, move, size)
        except Exception as error:  # noqa: BLE001  (whatever the device's library raises is what is to be told)
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            yield DeviceResult(
                name=name, difference=np.inf, host_seconds=host_seconds, device_seconds=np.nan, failure=text
            )
            continue
        yield DeviceResult(
            name=name,
            difference=max(_difference(e, f) for e, f in zip(expected, found, strict=True)),
            host_seconds=host_seconds,
            device_seconds=device_seconds,
        )


def _timed(part: Part, move: Move, size: int) -> tuple[list[npt.NDArray[Any]], float]:
    """Results on the host, and the seconds of the second of two runs: the first one compiles."""
    part(move, size)
    started = time.perf_counter()
    results = [to_host(result) for result in part(move, size)]
    return results, time.perf_counter() - started


def _difference(expected: npt.NDArray[Any], found: npt.NDArray[Any]) -> float:
    if expected.shape != found.shape or not np.array_equal(np.isnan(expected), np.isnan(found)):
        return np.inf
    gap = np.nanmax(np.abs(expected - found), initial=0.0)
    scale = np.nanmax(np.abs(expected), initial=0.0)
    return float(gap / scale) if scale else float(gap)


def _noise(shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _transforms(move: Move, size: int) -> Sequence[Any]:
    x = move(_noise((size, size + 1, size)))
    return fourier.rfftn(x), fourier.irfftn(fourier.rfftn(x), (size, size + 1, size)), fourier.ifft2(fourier.fft2(x))


def _contrast_transfer(move: Move, size: int) -> Sequence[Any]:
    k = move(np.linspace(0, 0.1, size * size, dtype=np.float32))
    return [ctf(k, voltage_kv=300.0, defocus_um=3.0, spherical_aberration_mm=2.7)]


def _slab(move: Move, size: int) -> Sequence[Any]:
    return [rotate_slab(spline_coefficients(move(_noise((size, 4, size)))), 33.0, slice_voxels=5)]


def _exit_wave(move: Move, size: int) -> Sequence[Any]:
    strong = 50 * _noise((size, size, size)) + 1j * _noise((size, size, size), 1) ** 2
    potential = move(strong.astype(np.complex64))
    return [exit_wave(potential, voxel_size_angstrom=5.0, slice_thickness_angstrom=50.0, voltage_kv=300.0)]


def _camera(move: Move, size: int) -> Sequence[Any]:
    intensity = move(np.abs(_noise((size, size))) + np.float32(1))
    return [expected_signal(intensity, dose_e_per_a2=2.0, pixel_size_angstrom=5.0)]


def _reconstruction(move: Move, size: int) -> Sequence[Any]:
    angles = np.linspace(-60, 60, 13)
    filtered = filter_tilts(move(_noise((13, 4, size))), oversampling=2)
    return filtered, backproject(filtered, angles, shape=(size // 2, 4, size), oversampling=2)


def _rotation(move: Move, size: int) -> Sequence[Any]:
    angle = np.deg2rad(25.0)
    matrix = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    volume = move(_noise((size, size, size)))
    coefficients = volume_coefficients(volume)
    shape = (size, size, size)
    turned = rotate_volume(coefficients, matrix, output_shape=shape, prefilter=False)
    return turned, rotate_volume(volume, matrix, output_shape=shape, order=1)


def _search(move: Move, size: int) -> Sequence[Any]:
    box = 9
    axis = np.arange(box) - (box - 1) / 2
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    mask = move(np.exp(-squared / 8).astype(np.float32))
    plan = search_volume(move(_noise((size, size, size))), mask)
    templates = [prepare_template(move(_noise((box, box, box), seed)), mask) for seed in (1, 2, 3)]
    return best_scores(plan, templates, range(3))


def _peaks(move: Move, size: int) -> Sequence[Any]:
    score = move(_noise((size, size, size)))
    index, value = extract_peaks(score, exclusion_radius_voxels=4, max_peaks=20)
    return np.asarray(index, np.float64), value, np.array(robust_z(score))


def _special(move: Move, size: int) -> Sequence[Any]:
    x = move(_noise((size, size, size)))
    capability = capabilities(x)
    labels, count = capability.label(x > 1)
    drawn = capability.poisson(x * x, np.random.default_rng(5))
    return capability.erf(x), capability.maximum_filter(x, 3), drawn, labels, np.array([count])


PARTS: dict[str, Part] = {
    "Fourier transforms": _transforms,
    "contrast transfer": _contrast_transfer,
    "slab rotation": _slab,
    "multislice": _exit_wave,
    "camera": _camera,
    "ramp filter and back-projection": _reconstruction,
    "rotation of volumes": _rotation,
    "search": _search,
    "peaks": _peaks,
    "labels, maxima, error function, counts": _special,
}
