"""Electrostatic potential of atoms on a voxel grid, averaged exactly over each voxel.

Atoms are sums of Gaussians, and so is the solvent that they displace; blurring a Gaussian gives a Gaussian. Every map
here is therefore one sum of isotropic Gaussians, whose mean over a voxel is a product of three differences of error
functions. Nothing is sampled at points, so integrals do not depend on the voxel size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.backend import Array, as_device_array, capabilities, device_of, fast_path, namespace, to_host
from cryodask.errors import ConfigError, DataError
from cryodask.units import MOTT_BETHE_V_A2

ICE_POTENTIAL_V = 4.530129
"""Mean potential of amorphous ice, 0.93 g/cm^3, from the same scattering factors as the atoms."""

TAIL_SIGMAS = 3.92 * math.sqrt(2.0)
"""Half width of a Gaussian's window: 3 erfc(3.92) = 9e-8 of its integral may fall outside, over all three axes."""

MIN_CUTOFF_ANGSTROM = 4.5

# Portable path, one core, 40,000 atoms: cells of 8, 16, 32 voxels took 0.8, 1.5, 1.8 s at 2.5 angstrom and 1.4, 1.6,
# 3.6 s at 1.25; on a device, larger cells mean fewer launches. Blocks of 2^20 and 2^22 elements took the same time.
CELL_VOXELS = 16
BLOCK_ELEMENTS = 1 << 22

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Gaussians:
    """Isotropic Gaussians on the host: integrals (g,), standard deviations (g,) and centres (g, 3) as (x, y, z)."""

    integral: Float64
    sigma_angstrom: Float64
    centre_angstrom: Float64

    @property
    def cutoff_angstrom(self) -> Float64:
        return np.maximum(TAIL_SIGMAS * self.sigma_angstrom, MIN_CUTOFF_ANGSTROM)

    def take(self, rows: npt.NDArray[Any]) -> _Gaussians:
        return _Gaussians(
            integral=self.integral[rows],
            sigma_angstrom=self.sigma_angstrom[rows],
            centre_angstrom=self.centre_angstrom[rows],
        )


def electrostatic_potential(
    scattering_a: Array,
    scattering_b: Array,
    positions_angstrom: Array,
    *,
    shape: tuple[int, int, int],
    voxel_size_angstrom: float,
    solvent_volume_a3: Array | None = None,
    solvent_potential_v: float = ICE_POTENTIAL_V,
    blur_sigma_angstrom: float = 0.0,
    weight: Array | None = None,
) -> Array:
    """Mean potential of each voxel in V, relative to vacuum, or to solvent if the displaced volumes are given.

    Each atom adds ``C sum_j a_j (4 pi / b_j)^(3/2) exp(-4 pi^2 r^2 / b_j)`` with ``C = h^2 / (2 pi m0 e)`` (Mott-Bethe,
    International Tables for Crystallography C, 4.3.2) and, in solvent, takes away
    ``solvent_potential_v exp(-r^2 / r0^2)``, ``r0^3 = V_d / pi^(3/2)`` (Fraser, MacRae & Suzuki 1978, Journal of
    Applied Crystallography 11, 693-694). Negative values are kept: they are part of the average.

    Parameters
    ----------
    scattering_a, scattering_b
        Coefficients of the Gaussians of each atom's electron scattering factor, (n, 5) in angstrom and angstrom^2.
        Entries with ``a = 0`` are ignored.
    positions_angstrom
        Atom centres, (n, 3) as (x, y, z), float32 or float64; the centre of voxel [0, 0, 0] is the origin. Atoms
        outside the box add what reaches into it.
    shape, voxel_size_angstrom
        Size of the box as (z, y, x) voxels, and edge of a voxel.
    solvent_volume_a3, solvent_potential_v
        Volume displaced by each atom, (n,), in angstrom^3, None for atoms in vacuum; and the solvent's mean potential.
    blur_sigma_angstrom
        Standard deviation of an isotropic Gaussian blur, applied exactly: each ``b`` grows by ``8 pi^2 sigma^2``.
    weight
        Factor for each atom and its displaced solvent, for example its occupancy, (n,); None for 1.

    Returns
    -------
    (z, y, x) array of the library, device and dtype of ``positions_angstrom``.

    Raises
    ------
    ConfigError
        If the box, voxel size, blur or solvent potential makes no sense.
    DataError
        If arrays do not match in length or hold values that are not finite, negative volumes or widths not above 0;
        the message names the row.

    """
    _check_grid(shape, voxel_size_angstrom, blur_sigma_angstrom)
    if not math.isfinite(solvent_potential_v):
        raise ConfigError(f"solvent_potential_v must be a finite number, got {solvent_potential_v}")
    positions = _positions(positions_angstrom)
    weights = _weights(weight, positions.shape[0])
    atoms = _atom_gaussians(scattering_a, scattering_b, positions, weights, blur_sigma_angstrom)
    parts = [atoms]
    if solvent_volume_a3 is not None:
        scale = -solvent_potential_v * weights
        parts.append(_solvent_gaussians(solvent_volume_a3, positions, scale, blur_sigma_angstrom))
    return _sum_gaussians(_concatenate(parts), shape, voxel_size_angstrom, positions_angstrom)


def displaced_fraction(
    positions_angstrom: Array,
    solvent_volume_a3: Array,
    *,
    shape: tuple[int, int, int],
    voxel_size_angstrom: float,
    blur_sigma_angstrom: float = 0.0,
    weight: Array | None = None,
) -> Array:
    """Fraction of each voxel from which atoms displace solvent: voxel means of ``sum exp(-r^2 / r0^2)``.

    About 1 inside a protein and 0 outside; its integral is the sum of the displaced volumes. It is not clipped at 1.
    Arguments, result and errors are those of ``electrostatic_potential``; the result has no unit.
    """
    _check_grid(shape, voxel_size_angstrom, blur_sigma_angstrom)
    positions = _positions(positions_angstrom)
    weights = _weights(weight, positions.shape[0])
    gaussians = _solvent_gaussians(solvent_volume_a3, positions, weights, blur_sigma_angstrom)
    return _sum_gaussians(gaussians, shape, voxel_size_angstrom, positions_angstrom)


def _atom_gaussians(
    scattering_a: Array, scattering_b: Array, positions: Float64, weights: Float64, blur_sigma_angstrom: float
) -> _Gaussians:
    """The Gaussians of the atoms' potentials: integral C a, variance b / (8 pi^2) plus the blur's."""
    a = _host_table("scattering_a", scattering_a, (positions.shape[0], None))
    b = _host_table("scattering_b", scattering_b, a.shape)
    variance = b / (8.0 * math.pi**2) + blur_sigma_angstrom**2
    wrong = np.argwhere((a != 0.0) & (variance <= 0.0))
    if wrong.size:
        row, column = wrong[0]
        raise DataError(
            f"scattering_b[{row}, {column}] is {b[row, column]}: the width of a Gaussian must be positive; correct the"
            " coefficients or set their a to 0"
        )
    rows, columns = np.nonzero(a)
    return _Gaussians(
        integral=MOTT_BETHE_V_A2 * a[rows, columns] * weights[rows],
        sigma_angstrom=np.sqrt(variance[rows, columns]),
        centre_angstrom=positions[rows],
    )


def _solvent_gaussians(
    solvent_volume_a3: Array, positions: Float64, scale: Float64, blur_sigma_angstrom: float
) -> _Gaussians:
    """The Gaussians of displaced solvent: integral V_d times ``scale``, variance r0^2 / 2 plus the blur's."""
    volume = _host_table("solvent_volume_a3", solvent_volume_a3, (positions.shape[0],))
    _refuse_row("solvent_volume_a3", volume, volume < 0.0, "displaced volumes must not be negative")
    rows = np.flatnonzero(volume)
    radius_squared = (volume[rows] / math.pi**1.5) ** (2.0 / 3.0)
    return _Gaussians(
        integral=volume[rows] * scale[rows],
        sigma_angstrom=np.sqrt(radius_squared / 2.0 + blur_sigma_angstrom**2),
        centre_angstrom=positions[rows],
    )


def _concatenate(parts: list[_Gaussians]) -> _Gaussians:
    return _Gaussians(
        integral=np.concatenate([part.integral for part in parts]),
        sigma_angstrom=np.concatenate([part.sigma_angstrom for part in parts]),
        centre_angstrom=np.concatenate([part.centre_angstrom for part in parts]),
    )


def _sum_gaussians(
    gaussians: _Gaussians, shape: tuple[int, int, int], voxel_size_angstrom: float, like: Array
) -> Array:
    """Voxel means of the sum of all Gaussians, in the library, device and dtype of ``like``."""
    gaussians = gaussians.take(_reaching_rows(gaussians, shape, voxel_size_angstrom))
    if fast_path(like) == "numba":
        from cryodask.kernels.fast.potential import sum_gaussians

        total = sum_gaussians(
            gaussians.integral,
            gaussians.sigma_angstrom,
            gaussians.cutoff_angstrom,
            gaussians.centre_angstrom,
            (int(shape[0]), int(shape[1]), int(shape[2])),
            float(voxel_size_angstrom),
        )
        return total.astype(like.dtype, copy=False)
    return _sum_gaussians_portable(gaussians, shape, voxel_size_angstrom, like)


def _sum_gaussians_portable(
    gaussians: _Gaussians, shape: tuple[int, int, int], voxel_size_angstrom: float, like: Array
) -> Array:
    """Without scatter: the Gaussians of a cell are summed over a window around it by one matrix product."""
    xp, device = namespace(like), device_of(like)
    total = xp.zeros(shape, dtype=_widest_float(like), device=device)
    for rows in _cells(gaussians, voxel_size_angstrom):
        cell = gaussians.take(rows)
        window = _window(cell, shape, voxel_size_angstrom)
        _, ny, nx = (stop - start for start, stop in window)
        z, y, x = (slice(start, stop) for start, stop in window)
        block = max(1, BLOCK_ELEMENTS // (ny * nx))
        for start in range(0, rows.size, block):
            part = cell.take(np.arange(start, min(start + block, rows.size)))
            density = _column(part.integral / voxel_size_angstrom**3, like)
            in_z, in_y, in_x = (
                _axis_fractions(part, axis, window[axis], voxel_size_angstrom, like) for axis in range(3)
            )
            in_plane = xp.reshape(in_y[:, :, None] * in_x[:, None, :], (-1, ny * nx))
            added = xp.matmul(xp.matrix_transpose(density * in_z), in_plane)
            total[z, y, x] = total[z, y, x] + xp.reshape(added, (-1, ny, nx))
    return xp.astype(total, like.dtype)


def _axis_fractions(
    part: _Gaussians, axis: int, window: tuple[int, int], voxel_size_angstrom: float, like: Array
) -> Array:
    """Fraction of each Gaussian within each voxel of the window along one axis (0 for z), (gaussians, voxels)."""
    xp = namespace(like)
    # Lengths count from the window's first edge, where they are small enough for float32 devices too.
    start = (window[0] - 0.5) * voxel_size_angstrom
    centre = _column(part.centre_angstrom[:, 2 - axis] - start, like)
    scale = _column(1.0 / (math.sqrt(2.0) * part.sigma_angstrom), like)
    edges = xp.arange(window[1] - window[0] + 1, dtype=_widest_float(like), device=device_of(like))
    edges = edges * voxel_size_angstrom
    cumulative = capabilities(like).erf((edges[None, :] - centre) * scale)
    return 0.5 * (cumulative[:, 1:] - cumulative[:, :-1])


def _column(values: Float64, like: Array) -> Array:
    """Host values as a column (n, 1) on the device of ``like``, in the widest type that it has."""
    wide = _widest_float(like) == namespace(like).float64
    return as_device_array(values[:, None].astype(np.float64 if wide else np.float32), like)


def _widest_float(like: Array) -> Any:  # noqa: ANN401  (a dtype of whichever library)
    """float64, or float32 on a device without it."""
    xp = namespace(like)
    types = xp.__array_namespace_info__().dtypes(device=device_of(like), kind="real floating")
    return types.get("float64", xp.float32)


def _reach(gaussians: _Gaussians, voxel_size_angstrom: float) -> tuple[Float64, Float64]:
    """First and last voxel within each Gaussian's cut-off, (g, 3) as (z, y, x), also where outside the box."""
    centre, cutoff = gaussians.centre_angstrom[:, ::-1], gaussians.cutoff_angstrom[:, None]
    first = np.floor((centre - cutoff) / voxel_size_angstrom + 0.5)
    last = np.floor((centre + cutoff) / voxel_size_angstrom + 0.5)
    return first, last


def _reaching_rows(
    gaussians: _Gaussians, shape: tuple[int, int, int], voxel_size_angstrom: float
) -> npt.NDArray[np.intp]:
    """Rows of the Gaussians whose windows overlap the box."""
    first, last = _reach(gaussians, voxel_size_angstrom)
    return np.flatnonzero(np.all((last >= 0) & (first < np.asarray(shape)), axis=1))


def _cells(gaussians: _Gaussians, voxel_size_angstrom: float) -> Iterator[npt.NDArray[np.intp]]:
    """Rows of the Gaussians in each occupied cube of ``CELL_VOXELS`` voxels, so that windows stay small."""
    if gaussians.integral.size == 0:
        return
    cell = np.floor(gaussians.centre_angstrom / (CELL_VOXELS * voxel_size_angstrom)).astype(np.int64)
    order = np.lexsort(cell.T)
    changes = np.any(np.diff(cell[order], axis=0) != 0, axis=1)
    yield from np.split(order, np.flatnonzero(changes) + 1)


def _window(cell: _Gaussians, shape: tuple[int, int, int], voxel_size_angstrom: float) -> list[tuple[int, int]]:
    """First and last-plus-one voxel per axis (z, y, x) that the Gaussians of a cell reach, within the box."""
    first, last = _reach(cell, voxel_size_angstrom)
    low = np.maximum(np.min(first, axis=0), 0)
    high = np.minimum(np.max(last, axis=0) + 1, shape)
    return [(int(start), int(stop)) for start, stop in zip(low, high, strict=True)]


def _check_grid(shape: tuple[int, int, int], voxel_size_angstrom: float, blur_sigma_angstrom: float) -> None:
    sizes = tuple(shape)
    if len(sizes) != 3 or min(sizes) < 1:
        raise ConfigError(f"shape must be three positive numbers of voxels (z, y, x), got {shape}")
    if not (math.isfinite(voxel_size_angstrom) and voxel_size_angstrom > 0.0):
        raise ConfigError(f"voxel_size_angstrom must be finite and positive, got {voxel_size_angstrom}")
    if not (math.isfinite(blur_sigma_angstrom) and blur_sigma_angstrom >= 0.0):
        raise ConfigError(f"blur_sigma_angstrom must be finite and not negative, got {blur_sigma_angstrom}")


def _host_table(name: str, values: Array, shape: tuple[int | None, ...]) -> Float64:
    """``values`` on the host in float64, checked to be finite and of a shape (None: any size)."""
    table = np.asarray(to_host(values), dtype=np.float64)
    matches = [wanted in (None, size) for wanted, size in zip(shape, table.shape, strict=False)]
    if table.ndim != len(shape) or not all(matches):
        wanted_text = ", ".join("n" if size is None else str(size) for size in shape)
        raise DataError(f"{name} must have the shape ({wanted_text}), got {table.shape}")
    _refuse_row(name, table, ~np.isfinite(table), "all values must be finite")
    return table


def _refuse_row(name: str, table: Float64, wrong: npt.NDArray[np.bool_], reason: str) -> None:
    if np.any(wrong):
        row = int(np.argwhere(wrong)[0, 0])
        raise DataError(f"{name}, row {row}, is {table[row].tolist()}: {reason}; correct or leave out that atom")


def _positions(positions_angstrom: Array) -> Float64:
    if not namespace(positions_angstrom).isdtype(positions_angstrom.dtype, "real floating"):
        raise DataError(f"positions_angstrom must be float32 or float64, not {positions_angstrom.dtype}: cast them")
    return _host_table("positions_angstrom", positions_angstrom, (None, 3))


def _weights(weight: Array | None, count: int) -> Float64:
    return np.ones(count) if weight is None else _host_table("weight", weight, (count,))
