"""Fourier transforms of any array library, frequency grids, and moves of an image that are exact in Fourier space.

Transforms follow the usual convention: unscaled forward, scaled by one over the number of samples backward. Single
precision stays single precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from cryodask.backend import Array, as_device_array, device_of, fast_path, namespace
from cryodask.errors import ConfigError

Axes = Sequence[int] | None


def rfftn(x: Array, axes: Axes = None) -> Array:
    """Transform of a real array over ``axes`` (all by default); the last of them keeps n // 2 + 1 frequencies."""
    resolved = _resolve_axes(x, axes)
    if fast_path(x) == "numba":
        return scipy.fft.rfftn(x, axes=resolved, workers=1)
    return namespace(x).fft.rfftn(x, axes=resolved)


def irfftn(x: Array, shape: Sequence[int], axes: Axes = None) -> Array:
    """Inverse of ``rfftn``; ``shape`` holds the lengths of the result along ``axes``, one for each of them."""
    resolved = _resolve_axes(x, axes)
    lengths = tuple(int(n) for n in shape)
    if len(lengths) != len(resolved):
        raise ConfigError(f"irfftn needs one length for each of the {len(resolved)} axes, got shape={lengths}")
    if fast_path(x) == "numba":
        return scipy.fft.irfftn(x, s=lengths, axes=resolved, workers=1)
    return namespace(x).fft.irfftn(x, s=lengths, axes=resolved)


def fftn(x: Array, axes: Axes = None) -> Array:
    """Complex transform over ``axes`` (all by default) of a complex or real array."""
    resolved = _resolve_axes(x, axes)
    if fast_path(x) == "numba":
        return scipy.fft.fftn(x, axes=resolved, workers=1)
    return namespace(x).fft.fftn(_as_complex(x), axes=resolved)


def ifftn(x: Array, axes: Axes = None) -> Array:
    """Inverse of ``fftn``."""
    resolved = _resolve_axes(x, axes)
    if fast_path(x) == "numba":
        return scipy.fft.ifftn(x, axes=resolved, workers=1)
    return namespace(x).fft.ifftn(_as_complex(x), axes=resolved)


def fft2(x: Array) -> Array:
    """``fftn`` over the last two axes."""
    return fftn(x, axes=(-2, -1))


def ifft2(x: Array) -> Array:
    """``ifftn`` over the last two axes."""
    return ifftn(x, axes=(-2, -1))


def frequencies(
    shape: Sequence[int], spacing: float | Sequence[float], like: Array, *, real: bool = False
) -> tuple[Array, ...]:
    """Frequencies along each axis, in FFT order, shaped to broadcast against each other (one array per axis).

    ``shape`` holds the lengths in real space, ``spacing`` the distance of samples (one value, or one for each axis);
    the frequencies have the inverse unit. ``like`` gives library, device and precision (float32 for float32 and
    complex64, else float64). With ``real`` the last axis is as ``rfftn`` leaves it, with n // 2 + 1 non-negative
    frequencies.
    """
    return tuple(as_device_array(k.astype(real_dtype(like)), like) for k in _host_frequencies(shape, spacing, real))


def radius(shape: Sequence[int], spacing: float | Sequence[float], like: Array, *, real: bool = False) -> Array:
    """Length of the frequency vector at every point of the transform; arguments as for ``frequencies``.

    Squares are summed in double precision before rounding to the precision of ``like``.
    """
    squared: npt.NDArray[np.float64] = np.zeros(())
    for k in _host_frequencies(shape, spacing, real):
        squared = squared + k**2
    return as_device_array(np.sqrt(squared).astype(real_dtype(like)), like)


def real_dtype(x: Array) -> type[np.float32] | type[np.float64]:
    """numpy's real type with the precision of ``x``: float32 for float32 and complex64, else float64."""
    xp = namespace(x)
    return np.float32 if x.dtype in (xp.float32, xp.complex64) else np.float64


def complex_dtype(x: Array) -> type[np.complex64] | type[np.complex128]:
    """numpy's complex type with the precision of ``x``: complex64 for float32 and complex64, else complex128."""
    return np.complex64 if real_dtype(x) is np.float32 else np.complex128


def fourier_crop(images: Array, factor: int, shift_y: float = 0.0, shift_x: float = 0.0) -> Array:
    """Bin real images (..., y, x) by an integer, keeping only the frequencies that the coarse grid can hold.

    Output pixel i shows input coordinate ``factor * i + (factor - 1) / 2``, so that the centre (N - 1) / 2 of the image
    stays its centre; the mean is kept. The term at the coarse grid's Nyquist frequency is that of the band-limited
    image with half weight on each of its two ends. The content moves by ``+shift`` input pixels on the way,
    periodically, as by ``fourier_shift`` and at no cost.

    Raises
    ------
    ConfigError
        ``factor`` is below 1 or does not divide both image sizes.
    """
    _require_real_images(images)
    sizes = tuple(int(n) for n in images.shape[-2:])
    if factor < 1 or any(n % factor for n in sizes):
        raise ConfigError(
            f"cannot bin images of {sizes[0]} x {sizes[1]} pixels by {factor}: the factor must be at least 1 and divide"
            " both sizes; crop or pad the images first, or choose another binning"
        )
    if factor == 1 and shift_y == 0 and shift_x == 0:
        return images
    ramps = [
        np.exp(2j * math.pi * np.fft.rfftfreq(size)[: size // factor // 2 + 1] * ((factor - 1) / 2 - shift)) / factor
        for size, shift in zip(sizes, (shift_y, shift_x), strict=True)
    ]
    ny, nx = (size // factor for size in sizes)
    # Rows first, and only the frequencies along x that stay go through the transforms along y.
    spectrum = rfftn(images, axes=(-1,))[..., : nx // 2 + 1]
    spectrum = _filter_columns(spectrum, ramps[0], ny) * as_device_array(ramps[1].astype(complex_dtype(images)), images)
    return irfftn(_real_nyquist(spectrum, -1, nx), (nx,), axes=(-1,))


def fourier_shift(images: Array, shift_y: npt.ArrayLike, shift_x: npt.ArrayLike) -> Array:
    """Move the content of real images (..., y, x) by ``+shift`` pixels, periodically.

    Shifts are scalars or host arrays with the shape of the leading axes (one shift per image). Fractions are exact for
    band-limited images: a feature at x appears at x + shift_x.
    """
    _require_real_images(images)
    for axis, shift in ((-2, shift_y), (-1, shift_x)):
        pixels = np.asarray(shift, dtype=np.float64)
        if not np.all(np.isfinite(pixels)) or (pixels.ndim and pixels.shape != tuple(images.shape[:-2])):
            raise ConfigError(
                f"shifts must be finite, one number or one per image {tuple(images.shape[:-2])}, got {shift!r}"
            )
        if np.any(pixels):
            size = int(images.shape[axis])
            ramp = np.exp(-2j * math.pi * pixels[..., None] * np.fft.rfftfreq(size))
            images = _filter_axis(images, ramp, axis, size)
    return images


def _filter_axis(images: Array, transfer: npt.NDArray[np.complex128], axis: int, size: int) -> Array:
    """Transform along ``axis`` (-1 or -2), keep the lowest frequencies, multiply by ``transfer``, go back to ``size``.

    ``transfer`` is (frequencies,) or (images, frequencies). One axis at a time, real to real, so that the Nyquist term
    of an even size is simply the real one.
    """
    spectrum = rfftn(images, axes=(axis,))
    kept = transfer.shape[-1]
    spectrum = spectrum[..., :kept] if axis == -1 else spectrum[..., :kept, :]
    table = transfer[..., None, :] if axis == -1 else transfer[..., :, None]
    spectrum = spectrum * as_device_array(table.astype(complex_dtype(images)), images)
    return irfftn(_real_nyquist(spectrum, axis, size), (size,), axes=(axis,))


def _real_nyquist(spectrum: Array, axis: int, size: int) -> Array:
    """With the Nyquist term, which only an even ``size`` has, made real in place: half weight on each of its ends."""
    if size % 2 == 0:
        last = (..., slice(-1, None)) if axis == -1 else (..., slice(-1, None), slice(None))
        spectrum[last] = (spectrum[last] + namespace(spectrum).conj(spectrum[last])) / 2
    return spectrum


def _filter_columns(columns: Array, transfer: npt.NDArray[np.complex128], size: int) -> Array:
    """``_filter_axis`` along -2 for complex columns: what it would do to their real and imaginary parts.

    ``transfer`` holds the frequencies from 0 up; a real filter has the complex conjugate at the negative ones.
    """
    xp = namespace(columns)
    positive = as_device_array(transfer.astype(complex_dtype(columns))[:, None], columns)
    negative = xp.conj(xp.flip(positive, axis=0))
    spectrum = fftn(columns, axes=(-2,))
    half, whole = transfer.shape[0], spectrum.shape[-2]
    kept = xp.empty((*spectrum.shape[:-2], size, spectrum.shape[-1]), dtype=spectrum.dtype, device=device_of(spectrum))
    kept[..., :half, :] = spectrum[..., :half, :] * positive
    below = (size - 1) // 2  # how many negative frequencies there are beside the Nyquist term
    kept[..., half:, :] = spectrum[..., whole - below :, :] * negative[half - 1 - below : half - 1, :]
    if size % 2 == 0:
        opposite = spectrum[..., whole - half + 1, :] * negative[0, :]
        kept[..., half - 1, :] = (kept[..., half - 1, :] + opposite) / 2
    return ifftn(kept, axes=(-2,))


def _host_frequencies(
    shape: Sequence[int], spacing: float | Sequence[float], real: bool
) -> list[npt.NDArray[np.float64]]:
    lengths = [int(n) for n in shape]
    steps = [float(s) for s in np.broadcast_to(np.asarray(spacing, dtype=np.float64), (len(lengths),))]
    if any(n < 1 for n in lengths) or not all(math.isfinite(s) and s > 0 for s in steps):
        raise ConfigError(f"frequencies need positive sizes and spacings, got shape={lengths}, spacing={steps}")
    axes: list[npt.NDArray[np.float64]] = []
    for axis, (n, step) in enumerate(zip(lengths, steps, strict=True)):
        halved = real and axis == len(lengths) - 1
        k = np.asarray(np.fft.rfftfreq(n, step) if halved else np.fft.fftfreq(n, step), dtype=np.float64)
        axes.append(k.reshape((1,) * axis + (-1,) + (1,) * (len(lengths) - 1 - axis)))
    return axes


def _resolve_axes(x: Array, axes: Axes) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axes is None else tuple(int(axis) for axis in axes)


def _as_complex(x: Array) -> Array:
    xp: Any = namespace(x)
    if xp.isdtype(x.dtype, "complex floating"):
        return x
    return xp.astype(x, xp.complex64 if x.dtype == xp.float32 else xp.complex128)


def _require_real_images(images: Array) -> None:
    if images.ndim < 2 or not namespace(images).isdtype(images.dtype, "real floating"):
        raise ConfigError(f"expected real images (..., y, x), got {images.dtype} of shape {tuple(images.shape)}")
