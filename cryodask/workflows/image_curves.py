"""The files that detector parameters name, read before anything is simulated."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cryodask.errors import ConfigError
from cryodask.io.curve_files import read_camera_curves, read_radial_profile
from cryodask.ops.projection import ImageCurves
from cryodask.params.schema import DetectorParameters
from cryodask.params.tokens import token


def load_curves(detector: DetectorParameters) -> ImageCurves:
    """Camera and ring profile from their files; ConfigError for a file that is not named or not used."""
    for option, name, file in (
        ("camera", detector.camera, detector.camera_file),
        ("ring_scaling", detector.ring_scaling, detector.ring_scaling_file),
    ):
        if name == "file" and file is None:
            raise ConfigError(f"detector.{option} is 'file': name the file in detector.{option}_file")
        if name != "file" and file is not None:
            raise ConfigError(
                f"detector.{option}_file is {file!r}, but detector.{option} is {name!r}: set detector.{option}=file"
            )
    return ImageCurves(
        camera=read_camera_curves(Path(detector.camera_file)) if detector.camera_file else None,
        ring_profile=read_radial_profile(Path(detector.ring_scaling_file)) if detector.ring_scaling_file else None,
    )


def curves_record(curves: ImageCurves) -> dict[str, Any]:
    """Hash of each curve that was read, for the token of what is made with it."""
    return {name: token(values) for name, values in asdict(curves).items() if values is not None}
