"""Electron wave behind a sample, by the multislice method (Kirkland, Advanced Computing in Electron Microscopy).

A slice of thickness d multiplies the wave by t = exp(i sigma V d), with V = V_el + i V_ab its mean potential, and the
wave then travels the slice's thickness in free space, also behind the last slice:

    psi <- F^-1[ exp(-i pi lambda k^2 d) F[ t psi ] ].

Images are periodic: a wave that leaves on one side enters on the other.
"""

from __future__ import annotations

import math

import numpy as np

from cryodask.backend import Array, as_device_array, device_of, fast_path, namespace
from cryodask.errors import ConfigError, DataError
from cryodask.kernels import fourier
from cryodask.kernels.fast import multislice as fast
from cryodask.kernels.optics import interaction_constant, wavelength_angstrom


def exit_wave(
    potential: Array, *, voxel_size_angstrom: float, slice_thickness_angstrom: float, voltage_kv: float
) -> Array:
    """Wave (y, x) at the far face of a sample, for a plane wave of amplitude 1 that enters at z = 0.

    ``potential`` is (z, y, x) in V, complex (electrostatic + i absorption) or real (no absorption). Voxels are averaged
    along z into slices; a last slice that the sample does not fill counts as empty beyond it, and the wave is
    propagated through the whole of it. The result is complex64 for float32 and complex64, else complex128.

    Raises
    ------
    ConfigError
        The slice thickness is not a whole number of voxels, or a size is not positive.
    """
    xp = namespace(potential)
    _require_positive(voxel_size_angstrom=voxel_size_angstrom, slice_thickness_angstrom=slice_thickness_angstrom)
    voxels = round(slice_thickness_angstrom / voxel_size_angstrom)
    if voxels < 1 or not math.isclose(voxels * voxel_size_angstrom, slice_thickness_angstrom, rel_tol=1e-6):
        raise ConfigError(
            f"a slice of {slice_thickness_angstrom} angstrom is not a whole number of voxels of {voxel_size_angstrom}"
            " angstrom: choose a multiple of the voxel size"
        )
    if potential.ndim != 3:
        raise DataError(f"a potential has the axes (z, y, x), got the shape {tuple(potential.shape)}")
    slices = _average_slices(potential, voxels)
    is_complex = xp.isdtype(potential.dtype, "complex floating")
    return propagate_slices(
        xp.real(slices) if is_complex else slices,
        xp.imag(slices) if is_complex else None,
        pixel_size_angstrom=voxel_size_angstrom,
        slice_thickness_angstrom=slice_thickness_angstrom,
        voltage_kv=voltage_kv,
    )


def propagate_slices(
    electrostatic: Array,
    absorption: Array | None,
    *,
    pixel_size_angstrom: float,
    slice_thickness_angstrom: float,
    voltage_kv: float,
) -> Array:
    """Wave (y, x) behind a stack of slices, for a plane wave of amplitude 1 that meets slice 0 first.

    ``electrostatic`` and ``absorption`` are (slice, y, x), real, the slices' mean potentials in V; without absorption
    pass ``None``. The result is complex64 for float32 slices and complex128 for float64.

    Raises
    ------
    DataError
        The slices are not real stacks of one shape.
    ConfigError
        A size or the voltage is not positive.
    """
    xp = namespace(electrostatic)
    _require_positive(pixel_size_angstrom=pixel_size_angstrom, slice_thickness_angstrom=slice_thickness_angstrom)
    if electrostatic.ndim != 3 or not xp.isdtype(electrostatic.dtype, "real floating"):
        raise DataError(
            f"slices are real arrays (slice, y, x), got {electrostatic.dtype} of shape {tuple(electrostatic.shape)}"
        )
    if absorption is not None and tuple(absorption.shape) != tuple(electrostatic.shape):
        raise DataError(
            f"absorption {tuple(absorption.shape)} and electrostatic potential {tuple(electrostatic.shape)} must have"
            " the same shape"
        )
    count, ny, nx = electrostatic.shape
    phase_per_volt = interaction_constant(voltage_kv) * slice_thickness_angstrom
    free_space = propagator((ny, nx), pixel_size_angstrom, slice_thickness_angstrom, voltage_kv, electrostatic)
    if fast_path(electrostatic) == "numba":
        return fast.propagate(electrostatic, absorption, phase_per_volt, free_space)
    dtype = xp.complex64 if electrostatic.dtype == xp.float32 else xp.complex128
    wave = xp.ones((ny, nx), dtype=dtype, device=device_of(electrostatic))
    for index in range(count):
        absorbed = None if absorption is None else absorption[index, ...]
        wave *= _transmission(electrostatic[index, ...], absorbed, phase_per_volt)
        spectrum = fourier.fft2(wave)
        spectrum *= free_space
        wave = fourier.ifft2(spectrum)
    return wave


def propagator(
    shape: tuple[int, int], pixel_size_angstrom: float, distance_angstrom: float, voltage_kv: float, like: Array
) -> Array:
    """Transfer function exp(-i pi lambda k^2 d) of free space (y, x), in FFT order.

    The phase is computed in double precision and rounded at the end: complex64 if ``like`` is of single precision.
    """
    rate = -1j * math.pi * wavelength_angstrom(voltage_kv) * distance_angstrom
    y, x = (np.exp(rate * np.fft.fftfreq(n, pixel_size_angstrom) ** 2) for n in shape)
    return as_device_array((y[:, None] * x).astype(fourier.complex_dtype(like)), like)


def _average_slices(potential: Array, voxels: int) -> Array:
    """Mean over ``voxels`` along z, (slice, y, x); the last mean counts missing voxels as zero."""
    xp = namespace(potential)
    nz, ny, nx = potential.shape
    whole = nz // voxels
    slices = xp.mean(xp.reshape(potential[: whole * voxels, ...], (whole, voxels, ny, nx)), axis=1)
    if nz % voxels == 0:
        return slices
    rest = xp.sum(potential[whole * voxels :, ...], axis=0, keepdims=True) / voxels
    return xp.concat([slices, rest], axis=0)


def _transmission(electrostatic: Array, absorption: Array | None, phase_per_volt: float) -> Array:
    """exp(i sigma d (V_el + i V_ab)) of one slice."""
    xp = namespace(electrostatic)
    phase = electrostatic * phase_per_volt
    dtype = xp.complex64 if phase.dtype == xp.float32 else xp.complex128
    transmission = xp.exp(1j * xp.astype(phase, dtype))
    return transmission if absorption is None else transmission * xp.exp(absorption * -phase_per_volt)


def _require_positive(**lengths: float) -> None:
    for name, value in lengths.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name} must be positive, got {value!r}")
