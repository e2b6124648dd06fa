"""How a tilt series is taken: its tilts and their order, and what is drawn for the series and for each image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError
from cryodask.params.schema import AcquisitionParameters, SimulationParameters

Seed = tuple[int, tuple[int, ...]]
"""Entropy and spawn key of a SeedSequence."""

SETTINGS, COUNTS, DAMAGE, JITTER, ASTIGMATISM = 1, 2, 3, 6, 7
"""First element of each random stream's spawn key (then model, then index). A stream of its own for each thing that
can be switched on, so that doing so moves no other draw."""


@dataclass(frozen=True, kw_only=True)
class TiltSettings:
    """What distinguishes one tilt from the others of its series."""

    tilt_deg: float
    dose_e_per_a2: float
    defocus_um: float
    shift_y_angstrom: float
    shift_x_angstrom: float
    seed: Seed
    """Of this tilt's counts."""
    damage_snr: float | None = None
    """Signal-to-noise ratio of the beam damage's noise; None adds none."""
    damage_seed: Seed = (0, ())
    """Of that noise."""
    astigmatism_um: float = 0.0
    """Largest minus smallest defocus."""
    astigmatism_deg: float = 0.0
    """Direction of the largest defocus, from x towards y."""
    acquisition_order: int = 0
    """0 for the image taken first."""
    prior_dose_e_per_a2: float = 0.0
    """What the specimen had before this image."""


def tilts_and_order(acquisition: AcquisitionParameters) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Tilts in degrees, ascending, and when each was taken (0 first). ConfigError for a tilt that is listed twice."""
    if acquisition.tilt_deg is not None:
        listed = np.array(acquisition.tilt_deg, dtype=np.float64)
        ascending = np.argsort(listed, kind="stable")
        twice = listed[ascending][1:][np.diff(listed[ascending]) == 0]
        if twice.size:
            raise ConfigError(f"acquisition.tilt_deg lists {twice[0]:g} degrees twice: every image needs its own tilt")
        return listed[ascending], ascending
    angles = np.linspace(acquisition.tilt_min_deg, acquisition.tilt_max_deg, acquisition.tilt_count)
    taken = np.argsort(_order_taken(angles, acquisition.tilt_order))
    return angles, taken


def _order_taken(angles: npt.NDArray[np.float64], order: str) -> list[int]:
    """Indices of ``angles`` one after the other as they are taken."""
    middle = int(np.argmin(np.abs(angles)))
    up, down = list(range(middle, len(angles))), list(range(middle - 1, -1, -1))
    if order == "bidirectional":
        return up + down
    if order == "dose-symmetric":
        by_turns = [index for pair in zip(up[1:], down, strict=False) for index in pair]
        rest = up[1 + len(down) :] + down[len(up) - 1 :]
        return [middle, *by_turns, *rest]
    return list(range(len(angles)))


def draw_tilts(parameters: SimulationParameters, seed: int, model: int) -> list[TiltSettings]:
    """Settings of every tilt of a model: what is drawn once for the series first, then image by image."""

    def stream(stage: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stage, model)))

    acquisition, microscope = parameters.acquisition, parameters.microscope
    angles, taken = tilts_and_order(acquisition)
    count = len(angles)
    generator = stream(SETTINGS)
    defocus_um = float(generator.uniform(*microscope.defocus_um))
    dose = float(generator.uniform(*acquisition.total_dose_e_per_a2)) / count
    sigma = float(generator.uniform(*acquisition.shift_sigma_angstrom))
    shifts = generator.normal(0.0, 1.0, (count, 2)) * sigma
    jitter = stream(JITTER).normal(0.0, 1.0, count) * microscope.defocus_jitter_um
    direction = stream(ASTIGMATISM)
    astigmatism_um = float(direction.uniform(*microscope.astigmatism_um))
    astigmatism_deg = float(direction.uniform(0.0, 180.0)) if astigmatism_um else 0.0
    damage = parameters.detector.beam_damage_snr
    damage_snr = None if damage is None else float(stream(DAMAGE).uniform(*damage))
    return [
        TiltSettings(
            tilt_deg=float(angles[index]),
            dose_e_per_a2=dose,
            defocus_um=defocus_um + float(jitter[index]),
            shift_y_angstrom=float(shifts[index, 0]),
            shift_x_angstrom=float(shifts[index, 1]),
            seed=(seed, (COUNTS, model, index)),
            damage_snr=damage_snr,
            damage_seed=(seed, (DAMAGE, model, index)),
            astigmatism_um=astigmatism_um,
            astigmatism_deg=astigmatism_deg,
            acquisition_order=int(taken[index]),
            prior_dose_e_per_a2=dose * int(taken[index]),
        )
        for index in range(count)
    ]
