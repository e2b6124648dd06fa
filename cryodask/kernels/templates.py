"""From a rotated density to a template: mask, missing wedge, and the normalisation for Pearson correlation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, as_device_array, namespace
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.fourier import irfftn, real_dtype, rfftn
from cryodask.kernels.resample import rotate_volume

# The Gaussian edge exp(-(d / sigma)^2) is cut where it has fallen to exp(-2), i.e. sqrt(2) sigma beyond the radius.
_EDGE_CUT = math.sqrt(2)
# A frequency on the wedge's face counts as inside in spite of rounding.
_FACE_TOLERANCE = 1e-12


def mask_reach_voxels(radius_voxels: float, edge_sigma_voxels: float) -> float:
    """Distance from the centre beyond which ``soft_sphere_mask`` is zero."""
    return radius_voxels + _EDGE_CUT * edge_sigma_voxels


def template_box_size(radius_voxels: float, edge_sigma_voxels: float) -> int:
    """Smallest odd box that holds the whole mask; odd, so that the particle's centre is a voxel."""
    return 2 * math.floor(mask_reach_voxels(radius_voxels, edge_sigma_voxels)) + 1


def soft_sphere_mask(shape: tuple[int, int, int], radius_voxels: float, edge_sigma_voxels: float, like: Array) -> Array:
    """Sphere about the centre (N - 1) / 2: 1 up to the radius, then exp(-(d / sigma)^2), 0 where that is below exp(-2).

    The edge is the one of PyTom's and the EM package's masks; sigma 0 gives a hard sphere. ``like`` gives library,
    device and precision.

    Raises
    ------
    ConfigError
        ``radius_voxels`` is not positive or ``edge_sigma_voxels`` is negative.
    """
    if not (math.isfinite(radius_voxels) and radius_voxels > 0) or not 0 <= edge_sigma_voxels < math.inf:
        raise ConfigError(
            f"a mask needs a positive radius and an edge of at least 0 voxels, got radius_voxels={radius_voxels!r},"
            f" edge_sigma_voxels={edge_sigma_voxels!r}"
        )
    z, y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    distance = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    beyond = np.maximum(distance - radius_voxels, 0)
    if edge_sigma_voxels == 0:
        mask = np.where(beyond > 0, 0.0, 1.0)
    else:
        mask = np.where(beyond > _EDGE_CUT * edge_sigma_voxels, 0.0, np.exp(-((beyond / edge_sigma_voxels) ** 2)))
    return as_device_array(mask.astype(real_dtype(like)), like)


def wedge_mask(shape: tuple[int, int, int], tilt_deg: Sequence[float], like: Array, *, real: bool = True) -> Array:
    """Frequencies that a tilt series about the y axis measures: 1 inside, 0 in the missing wedge.

    A projection at tilt t, with detector coordinate u = x cos t + z sin t, is the central slice k (cos t, sin t) of the
    (kx, kz) plane at every ky (Fourier slice theorem). The tilts count as a continuous range that reaches half a step
    beyond its first and last tilt. The y axis itself, with DC, is inside. The mask has the symmetry of the transform of
    a real volume at any shape: where an even size folds the frequencies +-1/2 onto one sample, either makes it inside.

    Parameters
    ----------
    shape
        (z, y, x) of the real volume.
    tilt_deg
        At least two different tilts in degrees, in any order.
    like
        Gives library, device and precision of the result.
    real
        Layout of ``rfftn``, (z, y, x // 2 + 1), or of ``fftn``, (z, y, x).

    Raises
    ------
    ConfigError
        Fewer than two different tilts, or one that is not finite.
    """
    low, high = _covered_range(tilt_deg)
    kz = np.asarray(np.fft.fftfreq(shape[0])[:, None, None], dtype=np.float64)
    kx = np.asarray(np.fft.rfftfreq(shape[2]) if real else np.fft.fftfreq(shape[2]), dtype=np.float64)
    inside = _between(kx, kz, low, high)
    folded = (np.abs(kz) == 0.5) | (np.abs(kx) == 0.5)
    inside |= folded & _between(kx, -kz, low, high)
    full = np.broadcast_to(inside, (shape[0], shape[1], kx.size))
    return as_device_array(full.astype(real_dtype(like)), like)


def _covered_range(tilt_deg: Sequence[float]) -> tuple[float, float]:
    """First and last angle in radians, half a step beyond the outermost tilts."""
    tilts = np.unique(np.asarray(tilt_deg, dtype=np.float64))
    if tilts.size < 2 or not np.all(np.isfinite(tilts)):
        raise ConfigError(f"a wedge needs at least two different, finite tilts, got tilt_deg={tilt_deg!r}")
    low = tilts[0] - (tilts[1] - tilts[0]) / 2
    high = tilts[-1] + (tilts[-1] - tilts[-2]) / 2
    return math.radians(low), math.radians(high)


def _between(
    kx: npt.NDArray[np.float64], kz: npt.NDArray[np.float64], low: float, high: float
) -> npt.NDArray[np.bool_]:
    """Whether the line through (kx, kz) and the origin lies between the directions ``low`` and ``high``.

    Both cross products change sign with the point, so that k and -k always agree.
    """
    if high - low >= math.pi:
        return np.ones(np.broadcast_shapes(kx.shape, kz.shape), dtype=bool)
    after_low = math.cos(low) * kz - math.sin(low) * kx
    before_high = math.sin(high) * kx - math.cos(high) * kz
    return np.asarray(after_low * before_high >= -_FACE_TOLERANCE, dtype=bool)


def prepare_template(rotated: Array, mask: Array, filter_rfft: Array | None = None) -> Array:
    """Filter, centre, scale and mask a rotated density: ``t = M (T - mu) / s`` with M-weighted mean and deviation.

    The score of a volume V at p is then ``(V star t)(p) / (N sigma_V(p))``, N the sum of the mask: the mask-weighted
    Pearson correlation (see ``cryodask.kernels.correlation``).

    Parameters
    ----------
    rotated
        (z, y, x) real. It may be larger than the mask, which leaves the filter room to spread; both share the centre.
    mask
        (z, y, x) weights in [0, 1]; its shape is the shape of the result. Sizes must differ from those of ``rotated``
        by even numbers.
    filter_rfft
        Transfer function in the layout of ``rfftn(rotated)`` (wedge, CTF, band-pass ...), or None.

    Raises
    ------
    DataError
        The density is constant within the mask, or not finite.
    ConfigError
        The shapes do not fit.
    """
    xp = namespace(rotated)
    filtered = rotated
    if filter_rfft is not None:
        expected = (*rotated.shape[:-1], rotated.shape[-1] // 2 + 1)
        if tuple(filter_rfft.shape) != tuple(expected):
            raise ConfigError(f"filter of shape {tuple(filter_rfft.shape)} does not fit the rfftn layout {expected}")
        filtered = irfftn(rfftn(rotated) * filter_rfft, tuple(rotated.shape))
    filtered = _centre_crop(filtered, tuple(mask.shape))
    weight = float(xp.sum(mask))
    deviations = filtered - xp.sum(mask * filtered) / weight
    weighted = mask * deviations
    deviation = math.sqrt(float(xp.sum(weighted * deviations)) / weight) if weight > 0 else 0.0
    if not (math.isfinite(deviation) and deviation > 0):
        raise DataError(
            "the template is constant or not finite within its mask, so that no correlation is defined; check the"
            f" density and the mask (sum of weights {weight:.4g}, standard deviation {deviation:.4g})"
        )
    return weighted / deviation


def prepared_templates(
    coefficients: Array,
    matrices: Iterable[npt.ArrayLike],
    mask: Array,
    filter_rfft: Array | None = None,
    *,
    box_shape: tuple[int, int, int],
    zoom: float = 1.0,
    order: int = 3,
) -> Iterator[Array]:
    """``prepare_template`` for every rotation in turn, from the density's ``spline_coefficients`` (itself at order 1).

    ``box_shape`` is the box in which the density is rotated and filtered; ``zoom`` and ``order`` as for
    ``rotate_volume``.
    """
    for matrix in matrices:
        rotated = rotate_volume(coefficients, matrix, output_shape=box_shape, zoom=zoom, order=order, prefilter=False)
        yield prepare_template(rotated, mask, filter_rfft)


def _centre_crop(volume: Array, shape: tuple[int, ...]) -> Array:
    surplus = [n - m for n, m in zip(volume.shape, shape, strict=True)]
    if any(n < 0 or n % 2 for n in surplus):
        raise ConfigError(
            f"a template of shape {tuple(volume.shape)} cannot be cropped to a mask of shape {shape} about the same"
            " centre; sizes must be equal or smaller by an even number"
        )
    return volume[tuple(slice(n // 2, n // 2 + m) for n, m in zip(surplus, shape, strict=True))]
