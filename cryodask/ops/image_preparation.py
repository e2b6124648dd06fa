"""One image of a tilt series made ready for back-projection: clean contrast, upright, binned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError, DataError
from cryodask.kernels.dose_weighting import dose_weight
from cryodask.kernels.fourier import fourier_crop
from cryodask.kernels.hot_pixels import remove_hot_pixels
from cryodask.kernels.image_alignment import align_image, frame, whole_and_rest
from cryodask.kernels.phase_flip import flip_phases
from cryodask.kernels.sheared_backprojection import x_tilt_matrix
from cryodask.kernels.spectrum import cosine_taper
from cryodask.model.alignment import TiltAlignment, accumulated_dose
from cryodask.model.source import BlockSink, BlockSource
from cryodask.params.schema import ReconstructionParameters

Image = npt.NDArray[np.float32]
Normalization: TypeAlias = Literal["contrast", "standard", "subtract"]

IMAGE_BYTES_PER_PIXEL = 40
"""Most that ``prepare_image`` holds at once: spline coefficients in double precision beside some images."""


@dataclass(frozen=True)
class ImageTask:
    """What is particular to one image."""

    index: int
    """In the stack."""
    matrix_xy: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    """From aligned to raw, row by row."""
    shift_y_px: float = 0.0
    shift_x_px: float = 0.0
    exposure_e_per_a2: float = 0.0
    """Up to the end of the image."""
    tilt_deg: float = 0.0
    defocus_um: float | None = None
    """None leaves the phases as they are."""
    astigmatism_um: float = 0.0
    astigmatism_deg: float = 0.0
    """In the aligned image."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is the same for all images."""

    output_shape: tuple[int, int]
    """(y, x) of the prepared images, binned."""
    binning: int
    taper_fraction: float
    pixel_size_angstrom: float
    normalization: Normalization = "contrast"
    invert: bool = False
    hot_pixel_sigma: float | None = None
    dose_weighting: bool = False
    voltage_kv: float = 300.0
    spherical_aberration_mm: float = 2.7
    amplitude_contrast: float = 0.07
    defocus_handedness: Literal[1, -1] = 1


def image_tasks(
    alignment: TiltAlignment, parameters: ReconstructionParameters, defocus_um: float | None = None
) -> list[ImageTask]:
    """One for each image that is used, in the order of the stack.

    ``defocus_um`` stands for all images where the alignment does not know each one's. ConfigError where doses or defoci
    are needed and not known.
    """
    exposure = np.zeros(len(alignment))
    if parameters.dose_weighting:
        exposure = _exposure(alignment)
    focus = _Focus.of(alignment, defocus_um) if parameters.ctf_correction == "phase-flip" else None
    tasks = []
    for index in alignment.used:
        sheared = x_tilt_matrix(float(alignment.tilt_deg[index]), float(alignment.x_tilt_deg[index]))
        (a, b), (c, d) = (alignment.matrix_xy[index] @ sheared).tolist()
        tasks.append(
            ImageTask(
                index=int(index),
                matrix_xy=(a, b, c, d),
                shift_y_px=float(alignment.shift_y_px[index]),
                shift_x_px=float(alignment.shift_x_px[index]),
                exposure_e_per_a2=float(exposure[index]),
                tilt_deg=float(alignment.tilt_deg[index]),
                **({} if focus is None else focus.at(int(index))),
            )
        )
    return tasks


@dataclass(frozen=True)
class _Focus:
    """Defocus and astigmatism (n,) of aligned images."""

    defocus_um: npt.NDArray[np.float64]
    astigmatism_um: npt.NDArray[np.float64]
    astigmatism_deg: npt.NDArray[np.float64]

    @classmethod
    def of(cls, alignment: TiltAlignment, defocus_um: float | None) -> _Focus:
        """ConfigError where nothing tells the defocus."""
        zeros = np.zeros(len(alignment))
        defocus = alignment.defocus_um
        if defocus is None:
            if defocus_um is None:
                raise ConfigError(
                    "flipping phases needs the defocus of the images: give --defocus FILE (IMOD's .defocus), a RELION "
                    "project or Warp's XML that has it, or leave the correction out"
                )
            defocus = zeros + defocus_um
        if alignment.astigmatism_um is None or alignment.astigmatism_deg is None:
            return cls(defocus, zeros, zeros)
        return cls(defocus, alignment.astigmatism_um, alignment.astigmatism_deg - alignment.tilt_axis_deg)

    def at(self, index: int) -> dict[str, float]:
        """Of one image."""
        return {
            "defocus_um": float(self.defocus_um[index]),
            "astigmatism_um": float(self.astigmatism_um[index]),
            "astigmatism_deg": float(self.astigmatism_deg[index]),
        }


def _exposure(alignment: TiltAlignment) -> npt.NDArray[np.float64]:
    dose = 0.0 if alignment.dose_e_per_a2 is None else alignment.dose_e_per_a2
    if alignment.prior_dose_e_per_a2 is not None:
        return np.asarray(alignment.prior_dose_e_per_a2 + dose)
    if alignment.dose_e_per_a2 is not None and alignment.acquisition_order is not None:
        return np.asarray(accumulated_dose(dose, alignment.acquisition_order) + dose)
    raise ConfigError(
        "dose weighting needs the dose before each image: give --mdoc FILE with ExposureDose, or switch it off"
    )


def resolve_normalization(images: BlockSource, index: int, parameters: ReconstructionParameters) -> Normalization:
    """The parameters' own, or for ``auto`` what image ``index`` suggests.

    Counts, and whatever has its mean well above 0, become contrast about the mean. Images about 0, as other programs
    leave them, have no such mean; they are brought to the same standard deviation.
    """
    if parameters.normalization != "auto":
        return parameters.normalization
    image = _read(images, index)
    mean, deviation = float(image.mean(dtype=np.float64)), float(image.std(dtype=np.float64))
    return "contrast" if mean > 0 and (float(image.min()) >= 0 or mean > deviation) else "standard"


def prepare_image(images: BlockSource, task: ImageTask, how: Preparation) -> Image:
    """One image: hot pixels out, normalised, edges tapered, dose-weighted, upright, binned, phases turned back.

    Returns (y, x) float32.
    """
    image = _read(images, task.index)
    if how.hot_pixel_sigma is not None:
        image = remove_hot_pixels(image, how.hot_pixel_sigma)
    image = _normalized(image, how, task.index)
    for axis, n in enumerate(image.shape):
        taper = cosine_taper(n, how.taper_fraction, image)
        image *= taper[:, None] if axis == 0 else taper[None, :]
    if how.dose_weighting:
        image = dose_weight(
            image,
            pixel_size_angstrom=how.pixel_size_angstrom,
            exposure_e_per_a2=task.exposure_e_per_a2,
            voltage_kv=how.voltage_kv,
        )
    return _in_phase(_aligned(image, task, how), task, how)


def prepare_into(images: BlockSource, task: ImageTask, how: Preparation, place: int, sink: BlockSink) -> None:
    """``prepare_image``, left at ``place`` in ``sink``."""
    sink.write((place, 0, 0), prepare_image(images, task, how)[None])


def prepare_bytes(image_shape: tuple[int, int]) -> int:
    """Peak bytes of preparing one image."""
    return IMAGE_BYTES_PER_PIXEL * image_shape[0] * image_shape[1]


def _read(images: BlockSource, index: int) -> Image:
    block = images.read((slice(index, index + 1), slice(None), slice(None)))
    return np.array(block[0], dtype=np.float32)


def _normalized(image: Image, how: Preparation, index: int) -> Image:
    mean = float(image.mean(dtype=np.float64))
    scale = 1.0
    if how.normalization == "contrast":
        if not np.isfinite(mean) or mean <= 0:
            raise DataError(
                f"tilt {index}: the image's mean is {mean}; counts must be finite and positive on average, "
                "for images about 0 give --normalize standard"
            )
        scale = 1 / mean
    elif how.normalization == "standard":
        deviation = float(image.std(dtype=np.float64))
        if not (np.isfinite(deviation) and deviation > 0):
            raise DataError(f"tilt {index}: all pixels of the image are {mean}; give --exclude {index} to leave it out")
        scale = 1 / deviation
    if not np.isfinite(mean):
        raise DataError(f"tilt {index}: the image's mean is {mean}; pixels must be finite")
    factor = np.float32(-scale if how.invert else scale)
    normalized: Image = image - np.float32(mean)
    normalized *= factor
    return normalized


def _aligned(image: Image, task: ImageTask, how: Preparation) -> Image:
    """Moved, rotated and binned."""
    matrix = np.array(task.matrix_xy).reshape(2, 2)
    upright = np.array_equal(matrix, np.eye(2))
    # A rotated image is resampled on pixels at least twice as fine as the result's, as splines lose fine detail.
    first = how.binning if upright else max(1, how.binning // 2) if how.binning % 2 == 0 else 1
    image, moved = _middle(image, (image.shape[0] // first * first, image.shape[1] // first * first))
    shift_y, shift_x = ((task.shift_y_px + moved[0]) / first, (task.shift_x_px + moved[1]) / first)
    if upright:
        # Binning moves the image by the fraction of a pixel on the way; small images are framed faster too.
        ny, nx = (n // first for n in image.shape)
        starts, rests = whole_and_rest((ny, nx), (shift_y, shift_x), how.output_shape)
        binned: Image = frame(
            fourier_crop(image, first, -rests[0] * first, -rests[1] * first), starts, how.output_shape
        )
        return binned.astype(np.float32, copy=False)
    rest = how.binning // first
    rotated = align_image(
        fourier_crop(image, first),
        matrix_xy=matrix,
        shift_y_px=shift_y,
        shift_x_px=shift_x,
        output_shape=(how.output_shape[0] * rest, how.output_shape[1] * rest),
    )
    rebinned: Image = fourier_crop(rotated, rest)
    return rebinned.astype(np.float32, copy=False)


def _in_phase(image: Image, task: ImageTask, how: Preparation) -> Image:
    """With the phases turned back, if the task tells the defocus; by strips along y, as the image is upright."""
    if task.defocus_um is None:
        return image
    flipped: Image = flip_phases(
        image,
        pixel_size_angstrom=how.pixel_size_angstrom * how.binning,
        tilt_deg=task.tilt_deg,
        defocus_um=task.defocus_um,
        voltage_kv=how.voltage_kv,
        spherical_aberration_mm=how.spherical_aberration_mm,
        amplitude_contrast=how.amplitude_contrast,
        astigmatism_um=task.astigmatism_um,
        astigmatism_deg=task.astigmatism_deg,
        handedness=how.defocus_handedness,
    )
    return flipped


def _middle(image: Image, shape: tuple[int, int]) -> tuple[Image, tuple[float, float]]:
    """``shape`` pixels in the middle, and by how much (y, x) positions from the centre grow."""
    starts = [(n - m) // 2 for n, m in zip(image.shape, shape, strict=True)]
    moved = [(n - m) / 2 - start for n, m, start in zip(image.shape, shape, starts, strict=True)]
    part = image[starts[0] : starts[0] + shape[0], starts[1] : starts[1] + shape[1]]
    return part, (moved[0], moved[1])
