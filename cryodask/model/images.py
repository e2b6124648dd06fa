"""Schemas of the image data: thin frozen wrappers that check an xarray Dataset once and then name its parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from cryodask.errors import DataError
from cryodask.model.alignment import TiltAlignment

Floats = npt.NDArray[np.float64]

OPTICS = (
    "voltage_kv",
    "defocus_um",
    "spherical_aberration_mm",
    "chromatic_aberration_mm",
    "energy_spread_ev",
    "illumination_aperture_urad",
    "objective_diameter_um",
    "focal_distance_mm",
)
"""Attributes that describe the image formation, named as the arguments of ``kernels.optics.ctf``."""

_LEAST_OPTICS = OPTICS[:3]

_SCALED = {"counts": "scaled", "noise_free": "scaled_noise_free"}


def image_to_use(dataset: xr.Dataset, image: str) -> str:
    """Variable that stands for ``image`` in further processing: its ring-scaled version where the series has one."""
    scaled = _SCALED.get(image, image)
    return scaled if scaled in dataset.variables else image


def _require(dataset: xr.Dataset, kind: str, dims: dict[str, tuple[str, ...]], attrs: tuple[str, ...]) -> None:
    """Raise DataError unless every variable of ``dims`` is there with these dimensions, and every attribute."""
    for name, expected in dims.items():
        if name not in dataset.variables:
            raise DataError(f"{kind}: no variable {name!r}; it has {', '.join(map(str, dataset.variables)) or 'none'}")
        found = dataset[name].dims
        if found != expected:
            raise DataError(f"{kind}: {name} has dimensions {found}, expected {expected}")
    for name in attrs:
        if name not in dataset.attrs:
            raise DataError(f"{kind}: attribute {name!r} is missing")


def _positive(dataset: xr.Dataset, kind: str, name: str) -> float:
    value = float(dataset.attrs[name])
    if not (np.isfinite(value) and value > 0):
        raise DataError(f"{kind}: {name} is {value}, must be a positive number")
    return value


@dataclass(frozen=True)
class TiltSeries:
    """Images of one sample at several tilts: variable ``counts`` (tilt, y, x), one angle and dose each.

    Attributes ``pixel_size_angstrom`` and ``voltage_kv``; coordinates ``tilt_deg``, ``shift_y_angstrom`` and
    ``shift_x_angstrom`` (what an image's content was moved by, to be undone), ``dose_e_per_a2``, ``defocus_um``; for
    series of a microscope also ``tilt_axis_deg`` (or ``matrix_xy``, (tilt, 2, 2)), ``x_tilt_deg``, ``excluded``,
    ``prior_dose_e_per_a2``, ``acquisition_order``, ``astigmatism_um`` and ``astigmatism_deg``, as ``TiltAlignment``
    explains them.
    """

    dataset: xr.Dataset

    @classmethod
    def parse(cls, dataset: xr.Dataset, image: str = "counts") -> TiltSeries:
        """Check ``dataset``; optional coordinates that are missing become zero shifts."""
        tilt = ("tilt",)
        _require(dataset, "tilt series", {image: ("tilt", "y", "x"), "tilt_deg": tilt}, ("pixel_size_angstrom",))
        _positive(dataset, "tilt series", "pixel_size_angstrom")
        angles = dataset["tilt_deg"].to_numpy().astype(np.float64)
        if not np.all(np.abs(angles) < 90):
            raise DataError(f"tilt series: tilt_deg must lie within -90 and 90 degrees, got {angles.tolist()}")
        zeros = ("tilt", np.zeros(dataset.sizes["tilt"]))
        missing = {name: zeros for name in ("shift_y_angstrom", "shift_x_angstrom") if name not in dataset.variables}
        return cls(dataset.assign_coords(missing))

    @property
    def pixel_size_angstrom(self) -> float:
        return float(self.dataset.attrs["pixel_size_angstrom"])

    @property
    def tilt_deg(self) -> Floats:
        return self.coordinate("tilt_deg")

    def coordinate(self, name: str) -> Floats:
        """(tilt,) float64 values of a coordinate."""
        return self.dataset[name].to_numpy().astype(np.float64)

    @property
    def alignment(self) -> TiltAlignment:
        """How the images lie to each other; optional coordinates that are missing stand for nothing to be done."""

        def known(name: str) -> Floats | None:
            return self.coordinate(name) if name in self.dataset.variables else None

        def or_zero(name: str) -> Floats | float:
            return 0.0 if (values := known(name)) is None else values

        return TiltAlignment.of(
            self.tilt_deg,
            x_tilt_deg=or_zero("x_tilt_deg"),
            tilt_axis_deg=known("tilt_axis_deg"),
            matrix_xy=known("matrix_xy"),
            shift_x_px=self.coordinate("shift_x_angstrom") / self.pixel_size_angstrom,
            shift_y_px=self.coordinate("shift_y_angstrom") / self.pixel_size_angstrom,
            excluded=or_zero("excluded") != 0,
            dose_e_per_a2=known("dose_e_per_a2"),
            prior_dose_e_per_a2=known("prior_dose_e_per_a2"),
            acquisition_order=known("acquisition_order"),
            defocus_um=known("defocus_um"),
            astigmatism_um=known("astigmatism_um"),
            astigmatism_deg=known("astigmatism_deg"),
        )

    @property
    def image_shape(self) -> tuple[int, int]:
        """(y, x) pixels."""
        return self.dataset.sizes["y"], self.dataset.sizes["x"]


@dataclass(frozen=True)
class Tomogram:
    """A reconstructed volume: variable ``image`` (z, y, x), and the tilts it was made of.

    Attributes ``voxel_size_angstrom``, ``tilt_deg`` (list), and where known ``defocus_um`` and the optics, which
    template matching needs.
    """

    dataset: xr.Dataset

    @classmethod
    def parse(cls, dataset: xr.Dataset) -> Tomogram:
        """Check ``dataset``."""
        _require(dataset, "tomogram", {"image": ("z", "y", "x")}, ("voxel_size_angstrom",))
        _positive(dataset, "tomogram", "voxel_size_angstrom")
        return cls(dataset)

    @property
    def voxel_size_angstrom(self) -> float:
        return float(self.dataset.attrs["voxel_size_angstrom"])

    @property
    def shape(self) -> tuple[int, int, int]:
        sizes = self.dataset.sizes
        return sizes["z"], sizes["y"], sizes["x"]

    @property
    def optics(self) -> dict[str, float]:
        """Arguments of ``kernels.optics.ctf``, or nothing if the least of them (voltage, defocus, Cs) are not known."""
        known = {name: float(self.dataset.attrs[name]) for name in OPTICS if name in self.dataset.attrs}
        return known if all(name in known for name in _LEAST_OPTICS) else {}

    @property
    def phase_flipped(self) -> bool:
        """Whether the phases that the microscope turned over were turned back."""
        return self.dataset.attrs.get("ctf_correction") == "phase-flip"

    @property
    def tilt_deg(self) -> tuple[float, ...] | None:
        """Tilts behind the tomogram, None if unknown."""
        tilts = self.dataset.attrs.get("tilt_deg")
        return None if tilts is None else tuple(float(tilt) for tilt in tilts)
