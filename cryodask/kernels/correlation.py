"""Mask-weighted Pearson correlation of a volume with many rotated templates, and the best rotation at every voxel.

For mask weights M with sum N and a template ``t = M (T - mu) / s`` from ``prepare_template`` the score is

    score(p) = (V star t)(p) / (N sigma_V(p)),   sigma_V(p)^2 = (V^2 star M)(p) / N - ((V star M)(p) / N)^2

in [-1, 1], where ``(V star t)(p) = sum_r V(p + r) t(r)`` and r is counted from the template's centre voxel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.fft

from cryodask.backend import Array, device_of, fast_path, namespace, to_host
from cryodask.errors import ConfigError, DataError
from cryodask.kernels.fourier import irfftn, rfftn

Shape = tuple[int, int, int]

MINIMUM_RELATIVE_DEVIATION = 0.1
"""Default floor of the local deviation relative to its median: below lie padding and empty regions, not specimen."""

# Local deviations up to this fraction of the volume's are rounding noise of constant regions, not contrast.
_CONSTANT_REGION = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchVolume:
    """What all rotations of one search share; made by ``search_volume``."""

    shape: Shape
    """(z, y, x) of the volume and of the score maps."""
    box: Shape
    """(z, y, x) of mask and templates, odd."""
    padded_shape: Shape
    transform: Array
    """``rfftn`` of the volume, normalised to mean 0 and deviation 1 and zero-padded."""
    weight: Array
    """1 / (N sigma_V) at every voxel, NaN where no score is defined."""
    moments: tuple[Array, Array] | None
    """Transforms of the padded volume and of its square in double precision; None unless the mask is to change."""
    valid: Array | None
    minimum_deviation: float | None
    mask_sum: float = math.nan
    """N, the sum of the mask."""


def search_volume(
    volume: Array,
    mask: Array,
    *,
    mean_and_deviation: tuple[float, float] | None = None,
    valid: Array | None = None,
    minimum_deviation: float | None = None,
    mask_changes: bool = False,
) -> SearchVolume:
    """Normalise, pad and transform a volume, and compute its local deviation under the mask, once for all rotations.

    Outside the volume its mean counts, so that scores reach the faces; they see a cut-off particle there.

    Parameters
    ----------
    volume
        (z, y, x) float32 or float64, filtered as the templates are.
    mask
        (z, y, x) odd box of weights.
    mean_and_deviation
        Of the whole tomogram when ``volume`` is one tile of it: then padding is the same in all tiles. Measured on
        ``volume`` by default.
    valid
        (z, y, x) boolean: voxels where particles are searched; elsewhere the score is NaN.
    minimum_deviation
        Local deviation, in units of the volume's, at or below which the score is NaN. By default
        ``MINIMUM_RELATIVE_DEVIATION`` times the median over this volume (without constant regions); tiles of one
        tomogram need a common value.
    mask_changes
        Keep what ``with_mask`` needs (two more transforms, in double precision).

    Raises
    ------
    DataError
        The volume is not finite or not three-dimensional.
    ConfigError
        The mask's box is even along an axis (it then has no centre voxel), or another shape does not fit.
    """
    xp = namespace(volume)
    _require_volume(volume)
    shape = _shape_of(volume)
    box = _require_box(mask)
    if valid is not None and tuple(valid.shape) != shape:
        raise ConfigError(f"valid has shape {tuple(valid.shape)}, but the volume {shape}")
    padded_shape = _padded(shape, box, _searched(valid, shape))
    values = xp.astype(volume, xp.float64)
    mean, deviation = mean_and_deviation or (float(xp.mean(values)), float(xp.std(values)))
    normalised = (values - mean) / (deviation if deviation > 0 else 1.0)
    moments = (_transform(normalised, padded_shape), _transform(normalised * normalised, padded_shape))
    plan = SearchVolume(
        shape=shape,
        box=box,
        padded_shape=padded_shape,
        transform=xp.astype(moments[0], xp.complex64 if volume.dtype == xp.float32 else xp.complex128),
        weight=xp.zeros(shape, dtype=volume.dtype, device=device_of(volume)),
        moments=moments,
        valid=valid,
        minimum_deviation=minimum_deviation,
    )
    plan = with_mask(plan, mask)
    return plan if mask_changes else replace(plan, moments=None)


def with_mask(plan: SearchVolume, mask: Array) -> SearchVolume:
    """The same search under another mask of the same box, for masks that rotate with the template.

    Costs two transforms of the padded volume. Needs a plan made with ``mask_changes=True``.
    """
    if plan.moments is None:
        raise ConfigError("this search volume keeps no moments; make it with search_volume(..., mask_changes=True)")
    if _require_box(mask) != plan.box:
        raise ConfigError(f"mask of shape {tuple(mask.shape)} given to a search with a box of {plan.box}")
    xp = namespace(mask)
    total, sigma = _local_moments(plan, mask)
    if plan.valid is not None:
        sigma = xp.where(plan.valid, sigma, xp.zeros_like(sigma))
    floor = plan.minimum_deviation
    if floor is None:
        floor = max(MINIMUM_RELATIVE_DEVIATION * _median_above(sigma, _CONSTANT_REGION), _CONSTANT_REGION)
    usable = sigma > floor
    inverse = 1 / (total * xp.where(usable, sigma, xp.ones_like(sigma)))
    weight = xp.where(usable, inverse, xp.full_like(inverse, math.nan))
    return replace(plan, weight=xp.astype(weight, plan.weight.dtype), mask_sum=total)


def local_deviation(volume: Array, mask: Array) -> Array:
    """Mask-weighted standard deviation of ``volume`` around every voxel; shape and dtype of ``volume``.

    ``mask`` is an odd box of weights. Outside the volume its mean counts. Computed by transforms in double precision.
    """
    xp = namespace(volume)
    _require_volume(volume)
    values = xp.astype(volume, xp.float64)
    scale = float(xp.std(values)) or 1.0
    normalised = (values - float(xp.mean(values))) / scale
    box = _require_box(mask)
    shape = _shape_of(volume)
    padded_shape = _padded(shape, box, [(0, n) for n in shape])
    volume_hat, square_hat = _transform(normalised, padded_shape), _transform(normalised * normalised, padded_shape)
    _, sigma = _deviation_under(mask, volume_hat, square_hat, padded_shape, _shape_of(volume))
    return xp.astype(scale * sigma, volume.dtype)


def correlate(plan: SearchVolume, template: Array) -> Array:
    """``V star t`` at every voxel of the (normalised) volume, not divided by ``N sigma_V``; (z, y, x)."""
    _require_template(plan, template)
    return _correlate(plan.transform, template, plan.padded_shape, plan.shape)


def best_scores(plan: SearchVolume, templates: Iterable[Array], rotation_ids: Iterable[int]) -> tuple[Array, Array]:
    """Highest score over the given rotations at every voxel, and the rotation that gave it.

    Any division of the rotations into calls, joined by ``merge_best`` in any order, gives the same bits: the score of a
    rotation does not depend on the others, and of equal scores the lowest id wins. The division by ``N sigma_V`` is for
    that reason part of every comparison, not one step at the end: it rounds, and can make unequal correlations equal.

    Parameters
    ----------
    plan
        From ``search_volume``.
    templates
        From ``prepare_template`` with the plan's mask: shape ``plan.box``, one for each id. May be a generator; each is
        used once.
    rotation_ids
        Their numbers in the list of rotations, from 0, in any order.

    Returns
    -------
    score, rotation_id
        (z, y, x) in the volume's dtype, NaN where invalid, and int32, -1 where invalid or without rotations.
    """
    xp = namespace(plan.weight)
    best = xp.full_like(plan.weight, -math.inf)
    best_id = xp.full(plan.shape, -1, dtype=xp.int32, device=device_of(plan.weight))
    pairs = zip(templates, rotation_ids, strict=True)
    if fast_path(plan.transform, plan.weight) == "numba":
        _best_fast(plan, pairs, best, best_id)
    else:
        for template, rotation_id in pairs:
            score = correlate(plan, template) * plan.weight
            this_id = xp.asarray(rotation_id, dtype=xp.int32, device=device_of(score))
            better = (score > best) | ((score == best) & (this_id < best_id))
            best = xp.where(better, score, best)
            best_id = xp.where(better, this_id, best_id)
    return xp.where(best_id < 0, xp.full_like(best, math.nan), best), best_id


def best_scores_under_masks(
    plan: SearchVolume, templates: Iterable[tuple[Array, Array]], rotation_ids: Iterable[int]
) -> tuple[Array, Array]:
    """As ``best_scores``, for masks that turn with the template: ``templates`` are pairs of template and its mask.

    Each rotation has its own local deviation and its own N. Needs a plan made with ``mask_changes=True``.
    """
    found = best_scores(plan, [], [])
    for (template, mask), rotation_id in zip(templates, rotation_ids, strict=True):
        found = merge_best(found, best_scores(with_mask(plan, mask), [template], [rotation_id]))
    return found


def merge_best(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    """Join two results of ``best_scores`` on the same voxels: higher score, of equal ones the lower id; NaN never wins.

    Associative and commutative.
    """
    (score_a, id_a), (score_b, id_b) = a, b
    xp = namespace(score_a)
    no_a, no_b = xp.isnan(score_a), xp.isnan(score_b)
    level = (score_a == score_b) | (no_a & no_b)
    take_b = (score_b > score_a) | (no_a & ~no_b) | (level & (id_b < id_a))
    return xp.where(take_b, score_b, score_a), xp.where(take_b, id_b, id_a)


def _best_fast(plan: SearchVolume, pairs: Iterable[tuple[Array, int]], best: Array, best_id: Array) -> None:
    from cryodask.kernels.fast.correlation import update_best

    work = np.empty((plan.shape[0], *plan.transform.shape[1:]), dtype=plan.transform.dtype)
    for template, rotation_id in pairs:
        _require_template(plan, template)
        backwards = np.ascontiguousarray(template[::-1, ::-1, ::-1])
        update_best(plan.transform, plan.padded_shape, backwards, plan.weight, rotation_id, best, best_id, work)


def _correlate(transform: Array, template: Array, padded_shape: Shape, shape: Shape) -> Array:
    """Correlation as the convolution with the reversed template, whose centre is at the origin."""
    xp = namespace(template)
    padded = xp.zeros(padded_shape, dtype=template.dtype, device=device_of(template))
    padded[tuple(slice(0, n) for n in template.shape)] = xp.flip(template)
    centred = xp.roll(padded, tuple(-(b // 2) for b in template.shape), axis=(0, 1, 2))
    everywhere = irfftn(transform * rfftn(centred), padded_shape)
    return everywhere[tuple(slice(0, n) for n in shape)]


def _correlate_fast(transform: Array, template: Array, padded_shape: Shape, shape: Shape) -> Array:
    from cryodask.kernels.fast.correlation import correlate_into

    everywhere = np.empty(shape, dtype=template.dtype)
    work = np.empty((shape[0], *transform.shape[1:]), dtype=transform.dtype)
    correlate_into(transform, padded_shape, np.ascontiguousarray(template[::-1, ::-1, ::-1]), everywhere, work)
    return everywhere


def _local_moments(plan: SearchVolume, mask: Array) -> tuple[float, Array]:
    assert plan.moments is not None
    return _deviation_under(mask, *plan.moments, plan.padded_shape, plan.shape)


def _deviation_under(
    mask: Array, volume_hat: Array, square_hat: Array, padded_shape: Shape, shape: Shape
) -> tuple[float, Array]:
    """Sum of the mask and, in double precision, the local deviation of the volume whose transforms are given."""
    xp = namespace(mask)
    weights = xp.astype(mask, xp.float64)
    total = float(xp.sum(weights))
    if not (math.isfinite(total) and total > 0):
        raise ConfigError(f"the mask's weights sum to {total}; a mask needs positive weights")
    correlate_with = _correlate_fast if fast_path(weights, volume_hat) == "numba" else _correlate
    mean = correlate_with(volume_hat, weights, padded_shape, shape) / total
    variance = correlate_with(square_hat, weights, padded_shape, shape) / total - mean * mean
    return total, xp.sqrt(xp.where(variance > 0, variance, xp.zeros_like(variance)))


def _median_above(values: Array, floor: float) -> float:
    """Median of the values above ``floor``; 0 if there are none. (The standard has no median.)"""
    xp = namespace(values)
    ordered = xp.sort(xp.reshape(values, (-1,)))
    total = int(ordered.shape[0])
    below = int(xp.sum(xp.astype(ordered <= floor, xp.int64)))
    return float(ordered[(below + total) // 2]) if below < total else 0.0


def _transform(values: Array, padded_shape: Shape) -> Array:
    xp = namespace(values)
    padded = xp.zeros(padded_shape, dtype=values.dtype, device=device_of(values))
    padded[tuple(slice(0, n) for n in values.shape)] = values
    return rfftn(padded)


def _padded(shape: Shape, box: Shape, searched: Sequence[tuple[int, int]]) -> Shape:
    """Sizes at which nothing wraps round into what is searched, (first, last + 1) along each axis.

    As much as the box reaches beyond the volume from there, on the side where it reaches farther: the radius of the box
    where the search goes to a face, nothing within a halo.
    """
    sizes = []
    for n, b, (first, end) in zip(shape, box, searched, strict=True):
        beyond = max(b // 2 - first, end + b // 2 - n, 0)
        sizes.append(scipy.fft.next_fast_len(max(n + beyond, b), real=True))
    return (sizes[0], sizes[1], sizes[2])


def _searched(valid: Array | None, shape: Shape) -> list[tuple[int, int]]:
    """First and one beyond the last voxel along each axis that is valid; everything if none is."""
    bounds = []
    for axis, n in enumerate(shape):
        if valid is None:
            bounds.append((0, n))
            continue
        others = tuple(other for other in range(3) if other != axis)
        rows = np.flatnonzero(to_host(namespace(valid).any(valid, axis=others)))
        bounds.append((int(rows[0]), int(rows[-1]) + 1) if rows.size else (0, n))
    return bounds


def _shape_of(x: Array) -> Shape:
    return (int(x.shape[0]), int(x.shape[1]), int(x.shape[2]))


def _require_volume(volume: Array) -> None:
    xp = namespace(volume)
    if volume.ndim != 3 or volume.dtype not in (xp.float32, xp.float64):
        raise DataError(
            f"a search needs a float32 or float64 volume (z, y, x), got {volume.dtype} of shape {tuple(volume.shape)}"
        )
    if not bool(xp.all(xp.isfinite(volume))):
        bad = int(xp.sum(xp.astype(~xp.isfinite(volume), xp.int64)))
        raise DataError(f"the volume has {bad} voxels that are NaN or infinite; replace them, e.g. by the mean")


def _require_box(mask: Array) -> Shape:
    if mask.ndim != 3 or any(n % 2 == 0 for n in mask.shape):
        raise ConfigError(
            f"mask and templates need an odd box (z, y, x), whose centre is a voxel, got {tuple(mask.shape)};"
            " template_box_size gives one"
        )
    return _shape_of(mask)


def _require_template(plan: SearchVolume, template: Any) -> None:  # noqa: ANN401
    if tuple(template.shape) != plan.box or template.dtype != plan.weight.dtype:
        raise ConfigError(
            f"template of shape {tuple(template.shape)}, {template.dtype} in a search with boxes of {plan.box},"
            f" {plan.weight.dtype}"
        )
