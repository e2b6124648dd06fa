"""``export --format mrc|ome-zarr|copick``: tomograms of a data set as files of other programs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from cryodask.io.atomic import replacing
from cryodask.io.mrc_writer import filled_volume
from cryodask.io.ome_zarr04 import write_ome_zarr04
from cryodask.io.store import Store
from cryodask.io.store_source import StoredArray
from cryodask.kernels.rotations import matrix_from_zxz_deg
from cryodask.model.particles import Particles
from cryodask.model.progress import Progress
from cryodask.workflows import layout
from cryodask.workflows.picks_folder import make_folder
from cryodask.workflows.tomogram_targets import mrc_in_the_way

TOMOGRAM_TYPE = "wbp"
"""How copick calls a weighted back-projection."""

COPICK_USER, COPICK_SESSION = "cryodask", "0"

_ROWS = 64


def export_tomograms(
    store: Store, output: Path, kind: str, *, progress: Progress, overwrite: bool = False
) -> list[Path]:
    """Write every tomogram of ``store`` in the layout ``kind``; returns the paths of the volumes.

    ``mrc``: NAME.mrc each. ``ome-zarr``: NAME.zarr each, version 0.4. ``copick``: a project folder with configuration,
    tomograms as OME-Zarr 0.4 and, where the data set has the truth, its particles as picks.
    """
    names = layout.models_with(store, "tomogram/scale0")
    make_folder(output)
    found, classes = [], set()
    with progress.stage("export", total=len(names)) as stage:
        for name in names:
            if kind == "mrc":
                found.append(_write_mrc(store, name, output / f"{name}.mrc", overwrite))
            elif kind == "ome-zarr":
                found.append(_write_ome(store, name, output / f"{name}.zarr", overwrite))
            else:
                voxel = _voxel_size(store, name)
                run = output / "ExperimentRuns" / name
                place = run / f"VoxelSpacing{voxel:.3f}" / f"{TOMOGRAM_TYPE}.zarr"
                make_folder(place.parent)
                found.append(_write_ome(store, name, place, overwrite))
                classes |= _write_picks(store, name, run / "Picks", voxel)
            stage.advance()
    if kind == "copick":
        _write_configuration(output, sorted(classes))
    return found


def _voxel_size(store: Store, name: str) -> float:
    return float(layout.required(store, layout.tomogram_group(name), "voxel_size_angstrom"))


def _write_mrc(store: Store, name: str, path: Path, overwrite: bool) -> Path:
    source = store.source(layout.tomogram_group(name), "image")
    mrc_in_the_way(path, overwrite)
    nz, ny, nx = source.shape
    with filled_volume(path, (nz, ny, nx), source.dtype, _voxel_size(store, name)) as volume:
        for first in range(0, ny, _ROWS):
            rows = slice(first, min(first + _ROWS, ny))
            volume[:, rows] = source.read((slice(None), rows, slice(None)))
    return path


def _write_ome(store: Store, name: str, path: Path, overwrite: bool) -> Path:
    write_ome_zarr04(path, name, _levels(store, name), _voxel_size(store, name), overwrite=overwrite)
    return path


def _levels(store: Store, name: str) -> list[StoredArray]:
    """Every level of the pyramid that the data set has."""
    levels: list[StoredArray] = []
    while store.is_complete(layout.tomogram_group(name, level=len(levels))):
        levels.append(store.source(layout.tomogram_group(name, level=len(levels)), "image"))
    return levels


def _write_picks(store: Store, name: str, folder: Path, voxel_size_angstrom: float) -> set[str]:
    """The truth's particles, a file for each class; positions in angstrom from the centre of voxel 0."""
    group = layout.truth_particles_group(name)
    if not store.is_complete(group):
        return set()
    particles = Particles.from_dataset(store.read_table(group))
    shape = store.source(layout.tomogram_group(name), "image").shape
    corner = particles.position_angstrom + (np.array(shape) - 1) / 2 * voxel_size_angstrom
    make_folder(folder)
    classes = sorted({str(class_id) for class_id in particles.class_id})
    for class_id in classes:
        points = [_point(particles, int(index), corner) for index in np.flatnonzero(particles.class_id == class_id)]
        record = {
            "pickable_object_name": class_id,
            "user_id": COPICK_USER,
            "session_id": COPICK_SESSION,
            "run_name": name,
            "voxel_spacing": voxel_size_angstrom,
            "unit": "angstrom",
            "points": points,
            "trust_orientation": bool(np.isfinite(particles.zxz_deg).all()),
        }
        with replacing(folder / f"{COPICK_USER}_{COPICK_SESSION}_{class_id}.json") as partial:
            partial.write_text(json.dumps(record), encoding="utf-8")
    return set(classes)


def _point(particles: Particles, index: int, corner: np.ndarray) -> dict[str, object]:
    z, y, x = corner[index]
    transformation = np.eye(4)
    if np.isfinite(particles.zxz_deg[index]).all():
        transformation[:3, :3] = matrix_from_zxz_deg(particles.zxz_deg[index])
    score = float(particles.score[index])
    return {
        "location": {"x": float(x), "y": float(y), "z": float(z)},
        "transformation_": transformation.tolist(),
        "instance_id": int(index) + 1,
        "score": 1.0 if math.isnan(score) else score,
    }


def _write_configuration(output: Path, classes: list[str]) -> None:
    """A copick configuration that works from within the folder."""
    configuration = {
        "config_type": "filesystem",
        "name": output.name,
        "description": "Exported by cryodask",
        "version": "1.0",
        "pickable_objects": [
            {"name": name, "is_particle": True, "label": label} for label, name in enumerate(classes, start=1)
        ],
        "overlay_root": "local://./",
        "overlay_fs_args": {"auto_mkdir": True},
    }
    with replacing(output / "copick_config.json") as partial:
        partial.write_text(json.dumps(configuration, indent=2) + "\n", encoding="utf-8")
