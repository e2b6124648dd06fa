"""How the images of a tilt series relate to the sample: one convention, which every file format is turned into.

A point (x, y, z) of the sample, in pixels from the centre of the volume, is seen by image t at

    u = x cos(tilt) + (y sin(x_tilt) + z cos(x_tilt)) sin(tilt)
    v = y cos(x_tilt) - z sin(x_tilt)
    (raw_x, raw_y) = matrix_xy (u, v) + (shift_x, shift_y)

in pixels from the centre (n - 1) / 2 of the image as it was taken. ``matrix_xy`` is a rotation by ``tilt_axis_deg``,
counter-clockwise from +y to the tilt axis with x to the right and y upwards (rows of an MRC image count upwards),
times whatever magnification and distortion there is. Tilt angles are those of IMOD's .tlt, AreTomo's TILT and RELION's
rlnTomoYTilt; Warp's have the other sign. Shifts are AreTomo's TX, TY: where the sample's centre appears in the image.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.errors import DataError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

FOCUS = ("defocus_um", "astigmatism_um", "astigmatism_deg")
"""What a series may know of the focus of each image."""

_ROTATION_TOLERANCE = 1e-3
"""What a matrix may differ from a rotation for formats that know nothing else; 1 pixel in 1000."""

_LARGEST_MAGNIFICATION = 2.0
"""No aligned series needs more; files with larger factors are not what they seem."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TiltAlignment:
    """One entry for each image of the stack, in the stack's order. Build it with ``of``, which checks everything."""

    tilt_deg: Floats
    """(n,) degrees."""
    x_tilt_deg: Floats
    """(n,) rotation of the sample about x before it is tilted, degrees."""
    matrix_xy: Floats
    """(n, 2, 2), from aligned (u, v) to raw (x, y)."""
    shift_x_px: Floats
    """(n,) pixels of the raw images."""
    shift_y_px: Floats
    excluded: Booleans
    """(n,) images that are to be left out."""
    dose_e_per_a2: Floats | None = None
    """(n,) of the image itself, where known."""
    prior_dose_e_per_a2: Floats | None = None
    """(n,) what the sample had received before the image, where known."""
    acquisition_order: Integers | None = None
    """(n,) 0 for the first image taken, where known."""
    defocus_um: Floats | None = None
    """(n,) underfocus at the tilt axis, the mean over directions, where known."""
    astigmatism_um: Floats | None = None
    """(n,) largest minus smallest defocus, where known."""
    astigmatism_deg: Floats | None = None
    """(n,) direction of the largest in the image as it was taken, from x towards y, where known."""

    @classmethod
    def of(
        cls,
        tilt_deg: npt.ArrayLike,
        *,
        source: str = "tilt series",
        x_tilt_deg: npt.ArrayLike = 0.0,
        tilt_axis_deg: npt.ArrayLike | None = None,
        matrix_xy: npt.ArrayLike | None = None,
        shift_x_px: npt.ArrayLike = 0.0,
        shift_y_px: npt.ArrayLike = 0.0,
        excluded: npt.ArrayLike = False,
        **known: npt.ArrayLike | None,
    ) -> TiltAlignment:
        """Check and complete; one number stands for all images. ``source`` is what messages call the origin.

        Raises DataError for anything but finite numbers, one for each image, tilts beyond 90 degrees and matrices that
        cannot be inverted.
        """
        tilts = np.atleast_1d(np.asarray(tilt_deg, dtype=np.float64))
        if tilts.ndim != 1 or tilts.size == 0:
            raise DataError(f"{source}: no tilt angles")
        n = len(tilts)
        if matrix_xy is None:
            matrix_xy = rotation_xy(_each(0.0 if tilt_axis_deg is None else tilt_axis_deg, n, "tilt axis", source))
        numbers = {
            "tilt_deg": tilts,
            "x_tilt_deg": _each(x_tilt_deg, n, "x tilt", source),
            "shift_x_px": _each(shift_x_px, n, "shift", source),
            "shift_y_px": _each(shift_y_px, n, "shift", source),
        }
        for name, values in known.items():
            if values is not None:
                numbers[name] = _each(values, n, name.replace("_", " "), source)
        order = numbers.pop("acquisition_order", None)
        _check_angles(numbers["tilt_deg"], numbers["x_tilt_deg"], source)
        return cls(
            matrix_xy=_checked_matrices(matrix_xy, n, source),
            excluded=np.broadcast_to(np.asarray(excluded, dtype=np.bool_), (n,)).copy(),
            acquisition_order=None if order is None else order.astype(np.int64),
            **numbers,
        )

    def __len__(self) -> int:
        return len(self.tilt_deg)

    @property
    def tilt_axis_deg(self) -> Floats:
        """(n,) angle from +y to the tilt axis, counter-clockwise, degrees in (-180, 180]."""
        return np.degrees(np.arctan2(-self.matrix_xy[:, 0, 1], self.matrix_xy[:, 1, 1]))

    @property
    def used(self) -> Integers:
        """Indices of the images that are not excluded."""
        return np.flatnonzero(~self.excluded)

    @property
    def is_rigid(self) -> bool:
        """Whether every matrix is a rotation, which is all that some formats can hold."""
        difference = self.matrix_xy - rotation_xy(self.tilt_axis_deg)
        return bool(np.abs(difference).max() <= _ROTATION_TOLERANCE)

    def subset(self, indices: npt.ArrayLike) -> TiltAlignment:
        """The entries ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        parts: dict[str, Any] = {
            field.name: None if (values := getattr(self, field.name)) is None else values[chosen]
            for field in fields(self)
        }
        return replace(self, **parts)

    def changed(self, **values: Any) -> TiltAlignment:  # noqa: ANN401  (arrays, of one kind for each field)
        """With other fields, unchecked."""
        return replace(self, **values)


def rotation_xy(angle_deg: npt.ArrayLike) -> Floats:
    """(..., 2, 2) counter-clockwise rotations of (x, y)."""
    angle = np.radians(np.asarray(angle_deg, dtype=np.float64))
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([c, -s], axis=-1), np.stack([s, c], axis=-1)], axis=-2)


def accumulated_dose(dose_e_per_a2: npt.ArrayLike, acquisition_order: npt.ArrayLike) -> Floats:
    """(n,) dose before each image, from each image's own dose and the order in which they were taken."""
    dose = np.asarray(dose_e_per_a2, dtype=np.float64)
    sequence = np.argsort(np.asarray(acquisition_order), kind="stable")
    before = np.empty_like(dose)
    before[sequence] = np.concatenate([[0.0], np.cumsum(dose[sequence])[:-1]])
    return before


def _each(values: npt.ArrayLike, n: int, what: str, source: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim and array.shape != (n,):
        raise DataError(f"{source}: {n} tilt angles but {array.size} values of the {what}; there must be one each")
    if not np.all(np.isfinite(array)):
        raise DataError(f"{source}: the {what} is not a finite number for every image")
    return np.broadcast_to(array, (n,)).copy()


def _check_angles(tilt_deg: Floats, x_tilt_deg: Floats, source: str) -> None:
    for what, angles, limit in (("tilt angle", tilt_deg, 90.0), ("x tilt", x_tilt_deg, 45.0)):
        wrong = np.flatnonzero(~(np.abs(angles) <= limit))
        if wrong.size:
            index = int(wrong[0])
            raise DataError(f"{source}: {what} of image {index} is {angles[index]:g}, must be within {limit:g} degrees")


def _checked_matrices(matrix_xy: npt.ArrayLike, n: int, source: str) -> Floats:
    matrices = np.asarray(matrix_xy, dtype=np.float64)
    if matrices.shape != (n, 2, 2):
        raise DataError(f"{source}: {n} tilt angles but {len(np.atleast_1d(matrices))} transforms")
    for index, matrix in enumerate(matrices):
        if not np.all(np.isfinite(matrix)):
            raise DataError(f"{source}: the transform of image {index} is not made of finite numbers")
        factors = np.linalg.svd(matrix, compute_uv=False)
        if not (factors[1] >= 1 / _LARGEST_MAGNIFICATION and factors[0] <= _LARGEST_MAGNIFICATION):
            raise DataError(
                f"{source}: the transform of image {index} scales by {factors[1]:.3g} to {factors[0]:.3g}: "
                "it is singular or no alignment of images; a rotation with little else was expected"
            )
        if np.linalg.det(matrix) < 0:
            raise DataError(f"{source}: the transform of image {index} mirrors it, which no alignment does")
    return matrices
