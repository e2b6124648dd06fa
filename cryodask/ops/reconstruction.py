"""Weighted back-projection: the tomogram is made slab by slab from prepared images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed, delayed

from cryodask.backend import Array, as_device_array, to_host, worker_array
from cryodask.errors import DataError
from cryodask.kernels.backprojection import backproject
from cryodask.kernels.line_filters import exact_response, sirt_like_response
from cryodask.kernels.ramp import RampWindow, angular_shares, filter_tilts
from cryodask.kernels.sheared_backprojection import backproject_sheared, halo_rows
from cryodask.model.alignment import TiltAlignment
from cryodask.model.source import BlockSink, BlockSource
from cryodask.ops.image_preparation import ImageTask, Preparation, prepare_into
from cryodask.params.schema import ReconstructionParameters

Floats = npt.NDArray[np.float32]

OVERSAMPLING = 2
"""Samples per pixel of the filtered lines: linear interpolation between them errs four times less than without."""


NO_X_TILT_ROWS = 0.05
"""Rows that an x tilt may displace the outermost slices by before they are treated as displaced: refined tilts of a
hundredth of a degree, which most series have, then cost nothing."""


@dataclass(frozen=True)
class ReconstructionGeometry:
    """Shapes and sizes of a reconstruction, computed once from the images and the parameters."""

    tilt_deg: tuple[float, ...]
    """Of the images that are used."""
    shape: tuple[int, int, int]
    voxel_size_angstrom: float
    x_tilt_deg: tuple[float, ...] | None = None
    """None where no slice is displaced by it: what it does within an image is undone when that is prepared."""

    @classmethod
    def plan(
        cls,
        image_shape: tuple[int, int],
        pixel_size_angstrom: float,
        alignment: TiltAlignment,
        sample_thickness_angstrom: float | None,
        parameters: ReconstructionParameters,
    ) -> ReconstructionGeometry:
        """Geometry for images of this shape; DataError where too little is left of them or the depth is unknown.

        Pixels that do not fill a voxel are cut off at the edges. Where the tilt axis lies more along x than along y,
        the tomogram is as wide as the images are high.
        """
        binning = parameters.binning
        used = alignment.subset(alignment.used)
        if len(used) < 2 or np.ptp(used.tilt_deg) == 0:
            raise DataError(f"{len(used)} images of the tilt series are left: at least two different tilts are needed")
        ny, nx = image_shape if _is_upright(used) else image_shape[::-1]
        if min(ny, nx) < binning:
            raise DataError(f"images of {image_shape[0]} x {image_shape[1]} pixels cannot be binned by {binning}")
        voxel = pixel_size_angstrom * binning
        depth = parameters.thickness_voxels
        if depth is None:
            if sample_thickness_angstrom is None:
                raise DataError("the tilt series does not say how thick its sample is: give --thickness VOXELS")
            depth = max(1, round(sample_thickness_angstrom / voxel))
        displacement = np.abs(np.tan(np.radians(used.x_tilt_deg))).max() * (depth - 1) / 2
        x_tilts = tuple(used.x_tilt_deg.tolist()) if displacement > NO_X_TILT_ROWS else None
        return cls(tuple(used.tilt_deg.tolist()), (depth, ny // binning, nx // binning), voxel, x_tilts)

    def half(self, which: int) -> tuple[int, ...]:
        """Numbers of every second tilt by angle: the even (0) or the odd (1) half set."""
        by_angle = np.argsort(np.array(self.tilt_deg), kind="stable")
        return tuple(sorted(int(index) for index in by_angle[which::2]))


def _is_upright(alignment: TiltAlignment) -> bool:
    axis = np.radians(np.median(alignment.tilt_axis_deg))
    return bool(abs(np.cos(axis)) >= abs(np.sin(axis)))


def preparation(
    geometry: ReconstructionGeometry,
    parameters: ReconstructionParameters,
    normalization: str,
    optics: Mapping[str, float] | None = None,
) -> Preparation:
    """How images become lines for this geometry; ``optics`` are what is known of the microscope."""
    known = {name: value for name, value in (optics or {}).items() if name in ("voltage_kv", "spherical_aberration_mm")}
    return Preparation(
        output_shape=geometry.shape[1:],
        binning=parameters.binning,
        taper_fraction=parameters.taper_fraction,
        pixel_size_angstrom=geometry.voxel_size_angstrom / parameters.binning,
        normalization=normalization,  # type: ignore[arg-type]  # one of three, as resolve_normalization returns it
        invert=parameters.invert,
        hot_pixel_sigma=parameters.hot_pixel_sigma,
        dose_weighting=parameters.dose_weighting,
        amplitude_contrast=parameters.amplitude_contrast,
        defocus_handedness=parameters.defocus_handedness,
        **known,
    )


def preparation_tasks(
    images: BlockSource, tasks: Sequence[ImageTask], how: Preparation, sink: BlockSink
) -> list[Delayed]:
    """One delayed call for each image, which leaves it in ``sink`` at its number among ``tasks``."""
    return [delayed(prepare_into, pure=False)(images, task, how, place, sink) for place, task in enumerate(tasks)]


def reconstruct_slab(
    aligned: BlockSource,
    rows: tuple[int, int],
    geometry: ReconstructionGeometry,
    parameters: ReconstructionParameters,
    tilts: Sequence[int] | None = None,
    like: Array | None = None,
) -> Floats:
    """Rows ``rows[0]`` to ``rows[1]`` along y of the tomogram, from those rows (and a halo) of prepared images.

    ``tilts`` are the numbers of the images to use, by default all; each then has its share of the angular range. The
    lines move to the device of ``like`` as they are read, by default that of this worker; the slab comes back to the
    host. Slices that an x tilt displaces are made on the host.
    """
    like = worker_array() if like is None else like
    nz, ny, nx = geometry.shape
    chosen = np.arange(len(geometry.tilt_deg)) if tilts is None else np.asarray(tilts)
    angles = np.array(geometry.tilt_deg)[chosen]
    shape = (nz, rows[1] - rows[0], nx)
    halo = 0 if geometry.x_tilt_deg is None else halo_rows(geometry.x_tilt_deg, nz)
    low, high = max(0, rows[0] - halo), min(ny, rows[1] + halo)
    lines = aligned.read((slice(None), slice(low, high), slice(None)))
    used = lines if tilts is None else lines[chosen]
    if geometry.x_tilt_deg is None:
        on_device = _filtered(as_device_array(used, like), angles, nz, parameters)
        slab: Floats = to_host(backproject(on_device, angles, shape=shape, oversampling=OVERSAMPLING))
        return slab
    filtered = _filtered(used, angles, nz, parameters)
    missing = (low - (rows[0] - halo), (rows[1] + halo) - high)
    sheared: Floats = backproject_sheared(
        np.pad(filtered, ((0, 0), missing, (0, 0))),
        angles,
        np.array(geometry.x_tilt_deg)[chosen],
        shape=shape,
        halo=halo,
        weights=angular_shares(angles),
        oversampling=OVERSAMPLING,
    )
    return sheared


def _filtered(lines: Array, tilt_deg: npt.NDArray[np.float64], nz: int, parameters: ReconstructionParameters) -> Array:
    """Lines (tilt, y, x) through the filter that the parameters name."""
    window: RampWindow = "ram-lak"
    response = None
    if parameters.window == "sirt-like":
        response = sirt_like_response(lines.shape[2], parameters.sirt_iterations, float(angular_shares(tilt_deg).sum()))
    elif parameters.window == "exact":
        response = exact_response(lines.shape[2], tilt_deg, nz)
    else:
        window = parameters.window
    return filter_tilts(lines, window=window, oversampling=OVERSAMPLING, response=response)


def slab_tasks(
    aligned: BlockSource,
    geometry: ReconstructionGeometry,
    parameters: ReconstructionParameters,
    blocks: Sequence[int] | None = None,
    tilts: Sequence[int] | None = None,
) -> list[Delayed]:
    """One delayed slab (z, rows, x) for each of ``blocks`` (all by default)."""
    rows = slabs(geometry, parameters)
    chosen = range(len(rows)) if blocks is None else blocks
    return [
        delayed(reconstruct_slab, pure=False)(aligned, rows[block], geometry, parameters, tilts) for block in chosen
    ]


class SlabSink(Protocol):
    """Picklable. Takes slabs in any order, from any worker."""

    def write(self, block: int, row: int, slab: Floats) -> None:
        """Store slab number ``block``, (z, rows, x), whose first row is ``row``."""
        ...


def make_slab(
    aligned: BlockSource,
    block: int,
    geometry: ReconstructionGeometry,
    parameters: ReconstructionParameters,
    tilts: Sequence[int] | None,
    sink: SlabSink,
) -> None:
    """Reconstruct slab number ``block`` and leave it in ``sink``: one task, so that no slab travels."""
    rows = slabs(geometry, parameters)[block]
    sink.write(block, rows[0], reconstruct_slab(aligned, rows, geometry, parameters, tilts))


def slabs(geometry: ReconstructionGeometry, parameters: ReconstructionParameters) -> list[tuple[int, int]]:
    """Ranges of rows, one a task."""
    ny = geometry.shape[1]
    return [(start, min(start + parameters.slab_voxels, ny)) for start in range(0, ny, parameters.slab_voxels)]


def reconstruct_slab_bytes(geometry: ReconstructionGeometry, parameters: ReconstructionParameters) -> int:
    """Peak bytes of one slab task, whatever the tomogram's extent along y: its lines through the filter, its slab."""
    nz, ny, nx = geometry.shape
    n_tilts = len(geometry.tilt_deg)
    halo = 0 if geometry.x_tilt_deg is None else halo_rows(geometry.x_tilt_deg, nz)
    rows = min(parameters.slab_voxels, ny) + 2 * halo
    # The lines, padded and transformed tilt by tilt; the filtered ones, and a copy that is packed for the kernel.
    lines = 4 * n_tilts * rows * nx * (1 + 2 * OVERSAMPLING * 2) + 4 * rows * nx * 16
    return lines + 3 * 4 * nz * min(parameters.slab_voxels, ny) * nx
