"""Picks in the files of other programs, beside cryodask's own STAR file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError
from cryodask.io.atomic import replacing
from cryodask.io.pick_star import Frame
from cryodask.kernels.rotations import matrix_from_zxz_deg, relion_zyz_deg_from_matrix
from cryodask.model.particles import Particles

PICKER = "cryodask"

Writer = Callable[[Path, Particles, Frame], list[Path]]


def write_formats(folder: Path, particles: Particles, frame: Frame, formats: Sequence[str]) -> list[Path]:
    """Write ``particles`` into ``folder`` in each of ``formats``, keys of ``FORMATS``; the files written."""
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ConfigError(f"no format {', '.join(unknown)} of picks; there are {', '.join(FORMATS)}")
    return [path for name in formats for path in FORMATS[name](folder, particles, frame)]


def _write_csv(folder: Path, particles: Particles, frame: Frame) -> list[Path]:
    """picks.csv: class, tomogram, x, y, z (voxels from 0), score, rot, tilt, psi (RELION's, degrees)."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["class", "tomogram", "x", "y", "z", "score", "rot", "tilt", "psi"])
    voxels, angles = particles.voxels(frame.shape, frame.voxel_size_angstrom), _relion_deg(particles)
    for name, tomogram, (z, y, x), score, turn in zip(
        particles.class_id, particles.tomogram, voxels, particles.score, angles, strict=True
    ):
        writer.writerow([name, tomogram, *(f"{value:.10g}" for value in (x, y, z, score, *turn))])
    return [_replace(folder / "picks.csv", table.getvalue())]


def _write_copick(folder: Path, particles: Particles, frame: Frame) -> list[Path]:
    """copick's folders: ExperimentRuns/TOMOGRAM/Picks/cryodask_0_CLASS.json, in angstrom from the first voxel."""
    written = []
    voxels = particles.voxels(frame.shape, frame.voxel_size_angstrom)
    matrices = _matrices(particles)
    for tomogram in sorted(set(map(str, particles.tomogram))):
        for name in sorted(set(map(str, particles.class_id[particles.tomogram == tomogram]))):
            rows = np.flatnonzero((particles.tomogram == tomogram) & (particles.class_id == name))
            points = []
            for row in rows:
                z, y, x = (voxels[row] * frame.voxel_size_angstrom).tolist()
                turned = np.eye(4)
                turned[:3, :3] = matrices[row]
                points.append(
                    {
                        "location": {"x": x, "y": y, "z": z},
                        "transformation_": turned.tolist(),
                        "instance_id": 0,
                        "score": float(particles.score[row]),
                    }
                )
            held = {
                "pickable_object_name": name,
                "user_id": PICKER,
                "session_id": "0",
                "run_name": tomogram,
                "voxel_spacing": frame.voxel_size_angstrom,
                "unit": "angstrom",
                "points": points,
                "trust_orientation": bool(np.isfinite(particles.zxz_deg[rows]).all()),
            }
            path = folder / "ExperimentRuns" / tomogram / "Picks" / f"{PICKER}_0_{name.replace('_', '-')}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(_replace(path, json.dumps(held, indent=1, allow_nan=False) + "\n"))
    return written


def _write_relion4(folder: Path, particles: Particles, frame: Frame) -> list[Path]:
    """picks_relion4.star: an optics table with the tomograms' voxel size, and particles in voxels from 0."""
    optics = "\n".join(
        [
            "data_optics",
            "",
            "loop_",
            "_rlnOpticsGroup #1",
            "_rlnOpticsGroupName #2",
            "_rlnTomoTiltSeriesPixelSize #3",
            f"1 opticsGroup1 {frame.voxel_size_angstrom:.10g}",
            "",
            "",
        ]
    )
    columns = _star_columns(particles, frame, "rlnTomoName", [str(name) for name in particles.tomogram])
    columns["rlnOpticsGroup"] = ["1"] * len(particles)
    return [_replace(folder / "picks_relion4.star", optics + _star_table("particles", columns))]


def _write_warp(folder: Path, particles: Particles, frame: Frame) -> list[Path]:
    """picks_warp.star: one table for WarpTools, rlnMicrographName TOMOGRAM.tomostar, voxels from 0."""
    names = [f"{name}.tomostar" for name in particles.tomogram]
    columns = _star_columns(particles, frame, "rlnMicrographName", names)
    columns["rlnPixelSize"] = [f"{frame.voxel_size_angstrom:.10g}"] * len(particles)
    return [_replace(folder / "picks_warp.star", _star_table("", columns))]


FORMATS: dict[str, Writer] = {
    "csv": _write_csv,
    "copick": _write_copick,
    "relion4": _write_relion4,
    "warp": _write_warp,
}


def _star_columns(particles: Particles, frame: Frame, key: str, names: list[str]) -> dict[str, list[str]]:
    voxels, angles = particles.voxels(frame.shape, frame.voxel_size_angstrom), _relion_deg(particles)
    classes = sorted(set(map(str, particles.class_id)))
    columns = {key: names}
    columns |= {f"rlnCoordinate{axis}": _numbers(voxels[:, at]) for axis, at in (("X", 2), ("Y", 1), ("Z", 0))}
    columns |= {f"rlnAngle{name}": _numbers(angles[:, at]) for at, name in enumerate(("Rot", "Tilt", "Psi"))}
    columns["rlnClassNumber"] = [str(classes.index(str(name)) + 1) for name in particles.class_id]
    columns["rlnAutopickFigureOfMerit"] = _numbers(particles.score)
    return columns


def _star_table(name: str, columns: dict[str, list[str]]) -> str:
    head = [f"data_{name}", "", "loop_", *(f"_{key} #{number}" for number, key in enumerate(columns, start=1))]
    rows = [" ".join(row) for row in zip(*columns.values(), strict=True)]
    return "\n".join([*head, *rows, ""])


def _numbers(values: npt.NDArray[np.float64]) -> list[str]:
    return [f"{value:.10g}" for value in values]


def _matrices(particles: Particles) -> npt.NDArray[np.float64]:
    """(n, 3, 3); the identity where nothing is known."""
    return np.asarray(matrix_from_zxz_deg(np.nan_to_num(particles.zxz_deg)), dtype=np.float64)


def _relion_deg(particles: Particles) -> npt.NDArray[np.float64]:
    return np.asarray(relion_zyz_deg_from_matrix(_matrices(particles)), dtype=np.float64)


def _replace(path: Path, text: str) -> Path:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path
