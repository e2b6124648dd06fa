"""Optics of a tomogram of which only the defocus is known: those of a usual 300 kV microscope."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict

from cryodask.errors import ConfigError
from cryodask.model.images import OPTICS
from cryodask.params.schema import MicroscopeParameters

LARGEST_DEFOCUS_UM = 20.0


def optics_at(defocus_um: float, known: Mapping[str, float]) -> dict[str, float]:
    """Arguments of ``kernels.optics.ctf`` at this underfocus, the rest as ``known`` or else the usual microscope's.

    ConfigError for a defocus that no tilt series has, most often one in another unit.
    """
    if not (math.isfinite(defocus_um) and abs(defocus_um) <= LARGEST_DEFOCUS_UM):
        raise ConfigError(
            f"--defocus-um {defocus_um:g}: expected micrometres, {-LARGEST_DEFOCUS_UM:g} to {LARGEST_DEFOCUS_UM:g}, "
            "underfocus positive"
        )
    usual = {name: value for name, value in asdict(MicroscopeParameters()).items() if name in OPTICS}
    return {**usual, **known, "defocus_um": float(defocus_um)}
