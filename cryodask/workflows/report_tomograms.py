"""What a report shows of single tomograms: slices, picks beside the truth, a tilt image and its spectrum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError
from cryodask.io.store import Store
from cryodask.kernels.optics import ctf_zeros
from cryodask.kernels.scoring import nearest_voxels
from cryodask.kernels.scoring_strict import best_first, match_greedily
from cryodask.kernels.spectrum import RadialProfile, cosine_taper, power_profile
from cryodask.model.evaluation import Truth
from cryodask.model.images import TiltSeries
from cryodask.model.particles import Particles
from cryodask.ops.evaluation import picks_by_tomogram
from cryodask.ops.evaluation_modes import MODES, STRICT_TOLERANCE_ANGSTROM, Scene
from cryodask.units import ANGSTROM_PER_NM
from cryodask.workflows import layout
from cryodask.workflows import report_figures as figures
from cryodask.workflows.evaluate import truth_of_model
from cryodask.workflows.reconstruct import NOISE_FREE
from cryodask.workflows.report_markup import Picture
from cryodask.workflows.report_slices import TomogramImage, slice_viewer

Image: TypeAlias = npt.NDArray[np.floating[Any]]
Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

SHOWN_DEPTH_ANGSTROM = 100.0
"""Particles and picks whose centre is at most this far from a slice are drawn on it."""

_MAX_ZEROS = 20  # further zeros of the transfer function lie too close to tell apart in a small plot
_TAPERED = 0.1  # part of an image that fades out at each edge before its spectrum is taken
_WHOLE = slice(None)


@dataclass(frozen=True, kw_only=True)
class TomogramSection:
    """The pictures of one tomogram."""

    name: str
    pictures: tuple[Picture, ...]


def tomogram_sections(data: Store, picks: Particles, limit: int) -> tuple[list[TomogramSection], int]:
    """Sections of the first ``limit`` tomograms of ``data``, and how many it has; what a tomogram lacks is left out."""
    complete = [entry.path for entry in data.groups() if entry.complete]
    names = sorted({name for part in ("tomogram/scale0", "tilt_series") for name in _models(complete, part)})
    known = _models(complete, "truth")
    by_name = dict(zip(known, picks_by_tomogram(picks, known)[0], strict=True)) if known else {}
    sections = []
    for name in names[:limit]:
        judged = StrictJudgement.of(truth_of_model(data, name), by_name[name]) if name in by_name else None
        pictures = (*_volume_pictures(data, name, judged), *_tilt_pictures(data, name))
        sections.append(TomogramSection(name=name, pictures=pictures))
    return sections, len(names)


def _models(paths: list[str], part: str) -> list[str]:
    return [path.removesuffix(f"/{part}") for path in paths if path.endswith(f"/{part}")]


# -- which particle is found ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class StrictJudgement:
    """Evaluated particles and picks of one tomogram as mode ``strict`` judges them; positions (n, 3) in nm."""

    truth_nm: Floats
    radius_nm: Floats
    found: Bools
    pick_nm: Floats
    pick_radius_nm: Floats
    taken: npt.NDArray[np.int64]
    """Row of the particle that each pick found, -1 for none."""
    against: Bools

    @classmethod
    def of(cls, truth: Truth, picks: Particles) -> StrictJudgement:
        scene = Scene.of(truth, picks)
        excluded = truth.label_of(MODES["strict"][1])
        keep, label = ~np.isin(scene.label, excluded), truth.label_of(picks.class_id)
        of_interest = ~np.isin(label, excluded[excluded > 0])
        picks, label = picks.take(of_interest), label[of_interest]
        voxel = picks.voxels(truth.shape, truth.voxel_size_angstrom)
        radius = scene.radius_voxel[keep]
        tolerance = np.maximum(STRICT_TOLERANCE_ANGSTROM / truth.voxel_size_angstrom, radius / 2)
        taken, _ = match_greedily(scene.voxel[keep], tolerance, voxel, best_first(picks.score))
        found = np.zeros(len(radius), dtype=bool)
        found[taken[taken >= 0]] = True
        nm = truth.voxel_size_angstrom / ANGSTROM_PER_NM
        # A wrong pick gets the size of the class it claims; of an unknown class, that of a typical particle.
        sizes = {own: float(np.median(scene.radius_voxel[scene.label == own])) for own in set(scene.label.tolist())}
        typical = float(np.median(scene.radius_voxel)) if len(scene.radius_voxel) else 0.0
        return cls(
            truth_nm=truth.particles.position_angstrom[keep] / ANGSTROM_PER_NM,
            radius_nm=radius * nm,
            found=found,
            pick_nm=picks.position_angstrom / ANGSTROM_PER_NM,
            pick_radius_nm=np.array([sizes.get(own, typical) for own in label.tolist()], dtype=np.float64) * nm,
            taken=taken,
            against=(taken < 0) & ~_on_excluded(scene, voxel, excluded),
        )

    @property
    def depth_nm(self) -> tuple[float, float] | None:
        """Lowest and highest z that a true particle reaches to; None without any."""
        if not len(self.truth_nm):
            return None
        z = self.truth_nm[:, 0]
        return float((z - self.radius_nm).min()), float((z + self.radius_nm).max())

    def near(self, z_nm: float) -> dict[str, figures.Marks]:
        """What to draw on the slice at ``z_nm``."""
        depth = SHOWN_DEPTH_ANGSTROM / ANGSTROM_PER_NM
        truth_near = np.abs(self.truth_nm[:, 0] - z_nm) <= depth
        pick_near = np.abs(self.pick_nm[:, 0] - z_nm) <= depth
        found, missed, wrong = truth_near & self.found, truth_near & ~self.found, pick_near & self.against
        finders = np.array([row >= 0 and bool(truth_near[row]) for row in self.taken], dtype=bool)
        nothing = np.empty((0, 2))
        return {
            "found": _marks(self.truth_nm[found], self.radius_nm[found], self.pick_nm[finders]),
            "missed": _marks(self.truth_nm[missed], self.radius_nm[missed], nothing),
            "false positive": _marks(self.pick_nm[wrong], self.pick_radius_nm[wrong], self.pick_nm[wrong]),
        }


def _marks(centre_nm: Floats, radius_nm: Floats, pick_nm: Floats) -> figures.Marks:
    return figures.Marks(centre_nm=centre_nm[:, -2:], radius_nm=radius_nm, pick_nm=pick_nm[:, -2:])


def _on_excluded(scene: Scene, voxel: Floats, excluded: npt.NDArray[np.int64]) -> Bools:
    """Picks on a particle that is not evaluated, which count neither for nor against."""
    if scene.looked_up is None:
        return np.zeros(len(voxel), dtype=bool)
    inside, moved = nearest_voxels(voxel, scene.truth.shape)
    label_of_id = np.concatenate([[0], scene.label])
    return np.asarray(~moved & np.isin(label_of_id[scene.particle_at(inside)], excluded))


# -- the volume ----------------------------------------------------------------------------------------------------


def _volume_pictures(data: Store, name: str, judged: StrictJudgement | None) -> Iterator[Picture]:
    group = layout.tomogram_group(name)
    if not data.is_complete(group):
        return
    image, voxel = data.source(group, "image"), float(data.info(group)["voxel_size_angstrom"])
    nz, ny, nx = image.shape
    z, y, x = nz // 2, ny // 2, nx // 2
    xy, xz, yz = (
        np.squeeze(image.read(region), axis)
        for axis, region in enumerate(
            ((slice(z, z + 1), _WHOLE, _WHOLE), (_WHOLE, slice(y, y + 1), _WHOLE), (_WHOLE, _WHOLE, slice(x, x + 1)))
        )
    )
    size = f"{nx} × {ny} × {nz} voxels (x, y, z) of {voxel / ANGSTROM_PER_NM:g} nm"
    low, high = figures.CONTRAST_PERCENTILES
    yield Picture(
        markup=figures.orthogonal_slices(xy, xz, yz.T, voxel, f"Central xy, xz and yz slices of {name}, {size}"),
        caption=f"Central slices of the tomogram, {size}. Grey values from percentile {low:g} to {high:g}.",
    )
    if judged is not None:
        depth = f"{SHOWN_DEPTH_ANGSTROM / ANGSTROM_PER_NM:g} nm"
        marks = judged.near((z - (nz - 1) / 2) * voxel / ANGSTROM_PER_NM)
        counts = ", ".join(f"{len(own.radius_nm)} {kind}" for kind, own in marks.items())
        yield Picture(
            markup=figures.marked_slice(xy, voxel, marks, f"Central xy slice of {name} with circles: {counts}"),
            caption=f"The same xy slice with the particles and picks within {depth} of it, judged as in mode strict: "
            "true particles that were found (+ is the pick), true particles that were missed, and false positives (×). "
            "A circle has the radius of its class.",
        )
    yield slice_viewer(name, TomogramImage(source=image, voxel_size_angstrom=voxel), judged)
    noise_free = layout.tomogram_group(name, NOISE_FREE)
    if data.is_complete(noise_free):
        source = data.source(noise_free, "image")
        z = source.shape[0] // 2
        clean = source.read((slice(z, z + 1), _WHOLE, _WHOLE))[0]
        clean_voxel = float(data.info(noise_free)["voxel_size_angstrom"])
        yield Picture(
            markup=figures.single_image(clean, clean_voxel, f"Central xy slice of {name}, reconstructed without noise"),
            caption="The central xy slice of the tomogram reconstructed from noise-free images.",
        )


# -- the tilt series -----------------------------------------------------------------------------------------------


def _tilt_pictures(data: Store, name: str) -> Iterator[Picture]:
    group = layout.tilt_series_group(name)
    if not data.is_complete(group):
        return
    dataset = data.open(group)
    kinds = {kind: text for kind, text in (("counts", "recorded"), ("noise_free", "noise-free")) if kind in dataset}
    if not kinds:
        return
    series = TiltSeries.parse(dataset, next(iter(kinds)))
    index, pixel = int(np.argmin(np.abs(series.tilt_deg))), series.pixel_size_angstrom
    angle = f"{series.tilt_deg[index]:.1f}°"
    images = {
        text: data.source(group, kind).read((slice(index, index + 1), _WHOLE, _WHOLE))[0]
        for kind, text in kinds.items()
    }
    optics = {key: value for key in _OPTICS if (value := _optical_value(series, key, index)) is not None}
    zeros = expected_zeros(optics, 0.5 / pixel)
    words = ", ".join(f"{zero * ANGSTROM_PER_NM:.2f}" for zero in zeros) or "unknown"
    conditions = ", ".join(_OPTICS[key].format(value) for key, value in optics.items())
    yield Picture(
        markup=figures.power_spectrum(
            {text: power_per_pixel(image, pixel) for text, image in images.items()},
            zeros,
            f"Power spectrum of the image of {name} at {angle}; expected CTF zeros (1/nm): {words}",
        ),
        caption=f"Rotationally averaged power spectrum of the image at {angle}, up to the Nyquist frequency."
        + (f" Dashed lines: zeros of the contrast transfer function for {conditions}." if zeros else ""),
    )
    for text, image in images.items():
        yield Picture(
            markup=figures.single_image(image, pixel, f"Image of {name} at a tilt of {angle}, {text}"),
            caption=f"{text.capitalize()} image at a tilt of {angle}, {pixel / ANGSTROM_PER_NM:g} nm per pixel.",
        )


_OPTICS: Mapping[str, str] = {
    "voltage_kv": "{:g} kV",
    "defocus_um": "{:g} µm defocus",
    "spherical_aberration_mm": "{:g} mm spherical aberration",
}


def _optical_value(series: TiltSeries, name: str, index: int) -> float | None:
    """Value for one image: of its own where the series has them image by image, else of the whole series."""
    if name in series.dataset.coords:
        return float(series.coordinate(name)[index])
    value = series.dataset.attrs.get(name)
    return None if value is None else float(value)


def expected_zeros(optics: Mapping[str, float], nyquist_per_angstrom: float) -> list[float]:
    """Zeros of the CTF up to the Nyquist frequency, at most the first 20; none where the optics are not known."""
    if set(optics) != set(_OPTICS):
        return []
    try:
        zeros = ctf_zeros(count=_MAX_ZEROS, **optics)
    except ConfigError:
        return []
    return [zero for zero in zeros if zero <= nyquist_per_angstrom]


def power_per_pixel(image: Image, pixel_size_angstrom: float) -> RadialProfile:
    """Ring means of |F|^2 per pixel of an image (y, x) without its mean: white noise of variance v gives v everywhere.

    The edges fade out, because an image that does not continue at the opposite edge would add a cross to its spectrum.
    """
    ny, nx = image.shape
    window = cosine_taper(ny, _TAPERED, image)[:, None] * cosine_taper(nx, _TAPERED, image)[None, :]
    profile = power_profile((image - image.mean()) * window, pixel_size_angstrom)
    return RadialProfile(profile.k, profile.values / float(np.sum(window.astype(np.float64) ** 2)))
