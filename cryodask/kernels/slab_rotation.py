"""Tilt the sample about y and average it into slices across the beam, in one step.

With x, z relative to the sample's centre, a point at (x, z) of a sample tilted by theta lies at

    u = x cos(theta) + z sin(theta)    on the detector,
    h = z cos(theta) - x sin(theta)    along the beam,

and slice 0, of smallest h, is met first. The sample is a cubic B-spline (Unser 1999, IEEE Signal Process. Mag. 16:22)
that is zero outside its voxels. Because the axis is y, every y-plane is treated alike and alone: any range of y may be
computed by itself and gives the same bits as the whole.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, as_device_array, capabilities, device_of, fast_path, namespace
from cryodask.errors import ConfigError
from cryodask.kernels.fourier import real_dtype

# Zero voxels added on each side before the spline is fitted: the spline of a step decays by 0.268 a voxel, to 1e-7.
PADDING_VOXELS = 12


def slab_height_voxels(nz: int, nx: int, tilt_deg: float, slice_voxels: int) -> int:
    """Height along the beam that holds all of a finite sample of nz by nx voxels: nz cos + nx |sin|.

    Rounded up to a whole number of slices.
    """
    cos_tilt, sin_tilt = _checked_tilt(tilt_deg, slice_voxels)
    return _whole_slices(nz * cos_tilt + nx * abs(sin_tilt), slice_voxels)


def field_height_voxels(nz: int, field_voxels: int, tilt_deg: float, slice_voxels: int) -> int:
    """Height along the beam that holds a slab without lateral end, seen through a field: nz / cos + field |tan|.

    Rounded up to a whole number of slices. To be used with a sample that is wider than the field.
    """
    cos_tilt, sin_tilt = _checked_tilt(tilt_deg, slice_voxels)
    return _whole_slices((nz + field_voxels * abs(sin_tilt)) / cos_tilt, slice_voxels)


def spline_coefficients(volume: Array) -> Array:
    """Cubic B-spline coefficients along z and x of a real volume (z, y, x), padded for ``rotate_slab``.

    Returns an array (x + 24, z + 24, y) of the same dtype: outside its voxels the volume counts as zero. This is the
    order that ``rotate_slab`` works in: whole rows along y, which the tilt leaves alone.
    """
    xp = namespace(volume)
    if volume.ndim != 3 or not xp.isdtype(volume.dtype, "real floating"):
        raise ConfigError(f"expected a real volume (z, y, x), got {volume.dtype} of shape {tuple(volume.shape)}")
    nz, ny, nx = volume.shape
    padded = xp.zeros(
        (nx + 2 * PADDING_VOXELS, nz + 2 * PADDING_VOXELS, ny), dtype=volume.dtype, device=device_of(volume)
    )
    padded[PADDING_VOXELS : PADDING_VOXELS + nx, PADDING_VOXELS : PADDING_VOXELS + nz, :] = xp.permute_dims(
        volume, (2, 0, 1)
    )
    if fast_path(padded) == "numba":
        from cryodask.kernels.fast import slab_rotation as fast

        fast.fit_spline(padded)
        return padded
    spline = capabilities(volume)
    return spline.spline_filter1d(spline.spline_filter1d(padded, 0), 1)


def rotate_slab(
    coefficients: Array,
    tilt_deg: float,
    *,
    slice_voxels: int,
    height_voxels: int | None = None,
    width_voxels: int | None = None,
) -> Array:
    """Slices (slice, y, x') of the tilted sample, each the mean over ``slice_voxels`` voxels along the beam.

    ``coefficients`` (x, z, y) come from ``spline_coefficients``: float32 or float64, as the result. The height is
    ``slab_height_voxels`` and the width that of the sample unless given; both are centred on the sample's centre.

    Raises
    ------
    ConfigError
        The tilt is 90 degrees or more, a size is not positive, or the height is not a whole number of slices.
    """
    cos_tilt, sin_tilt = _checked_tilt(tilt_deg, slice_voxels)
    nz, nx = (int(coefficients.shape[axis]) - 2 * PADDING_VOXELS for axis in (1, 0))
    if coefficients.ndim != 3 or nz < 1 or nx < 1:
        raise ConfigError(
            f"{tuple(coefficients.shape)} is not the shape of padded coefficients: use spline_coefficients"
        )
    height = slab_height_voxels(nz, nx, tilt_deg, slice_voxels) if height_voxels is None else height_voxels
    width = nx if width_voxels is None else width_voxels
    if width < 1 or height < 1 or height % slice_voxels:
        raise ConfigError(
            f"height {height} and width {width} must be positive, the height a multiple of slice_voxels={slice_voxels}"
        )
    slices = height // slice_voxels
    centre_x, centre_z = PADDING_VOXELS + (nx - 1) / 2, PADDING_VOXELS + (nz - 1) / 2
    if fast_path(coefficients) == "numba":
        from cryodask.kernels.fast import slab_rotation as fast

        source = np.ascontiguousarray(coefficients)
        rows = np.empty((slices, width, source.shape[2]), dtype=source.dtype)
        fast.rotate(source, cos_tilt, sin_tilt, slice_voxels, centre_x, centre_z, rows)
        return np.ascontiguousarray(rows.transpose(0, 2, 1))
    h = np.arange(height) - (height - 1) / 2
    u = np.arange(width) - (width - 1) / 2
    xp = namespace(coefficients)
    planes = []
    for s in range(slices):
        beam = h[s * slice_voxels : (s + 1) * slice_voxels, None]
        x = u * cos_tilt - beam * sin_tilt + centre_x
        z = u * sin_tilt + beam * cos_tilt + centre_z
        planes.append(_mean_of_points(coefficients, x, z))
    return xp.stack(planes, axis=0)


def _mean_of_points(coefficients: Array, x: npt.NDArray[np.float64], z: npt.NDArray[np.float64]) -> Array:
    """Spline (y, column) at points (voxel along the beam, column), averaged over the first."""
    xp = namespace(coefficients)
    nx, nz, ny = coefficients.shape
    flat = xp.reshape(coefficients, (nx * nz, ny))
    voxels, columns = x.shape
    total = xp.zeros((columns, ny), dtype=coefficients.dtype, device=device_of(coefficients))
    floor_x, floor_z = np.floor(x), np.floor(z)
    weights_x, weights_z = _cubic_weights(x - floor_x), _cubic_weights(z - floor_z)
    for b in range(4):
        for a in range(4):
            at_x, at_z = floor_x.astype(np.int64) + a - 1, floor_z.astype(np.int64) + b - 1
            inside = (at_x >= 0) & (at_x < nx) & (at_z >= 0) & (at_z < nz)
            index = np.where(inside, at_x * nz + at_z, 0).ravel()
            weight = np.where(inside, weights_x[a] * weights_z[b], 0.0) / voxels
            taps = xp.reshape(xp.take(flat, as_device_array(index, flat), axis=0), (voxels, columns, ny))
            total += xp.sum(taps * as_device_array(weight.astype(real_dtype(flat))[:, :, None], flat), axis=0)
    return xp.permute_dims(total, (1, 0))


def _cubic_weights(fraction: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    rest = 1 - fraction
    return [
        rest**3 / 6,
        (4 - 6 * fraction**2 + 3 * fraction**3) / 6,
        (4 - 6 * rest**2 + 3 * rest**3) / 6,
        fraction**3 / 6,
    ]


def _checked_tilt(tilt_deg: float, slice_voxels: int) -> tuple[float, float]:
    """Cosine and sine of the tilt."""
    if not (math.isfinite(tilt_deg) and abs(tilt_deg) < 90):
        raise ConfigError(f"the tilt must lie between -90 and 90 degrees, got {tilt_deg!r}")
    if slice_voxels < 1:
        raise ConfigError(f"a slice is at least one voxel thick, got slice_voxels={slice_voxels}")
    return math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))


def _whole_slices(height: float, slice_voxels: int) -> int:
    # the margin keeps a height that is whole but for rounding from growing by a slice
    return math.ceil(height / slice_voxels - 1e-9) * slice_voxels
