"""``import``: model_N folders in the SHREC 2021 layout, the organisers' or exported ones, to a data set."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError, DataError
from cryodask.io import shrec_model as files
from cryodask.io.mrc import read_stack, read_volume
from cryodask.io.ome import ome_multiscales
from cryodask.io.shrec import (
    LOCATIONS_FILE,
    OCCUPANCY_FILE,
    RELEASE_CONTENT_VOXELS,
    RELEASE_DEPTH_VOXELS,
    read_truth_folder,
)
from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.io.store_spec import SCHEMA_VERSION
from cryodask.model.evaluation import Truth
from cryodask.model.particles import Particles
from cryodask.model.progress import Progress
from cryodask.model.source import ArraySource
from cryodask.params.tokens import token
from cryodask.workflows import layout
from cryodask.workflows.truth_table import with_bounding_boxes

_ROWS = 32
_MODEL = re.compile(r"model_(\d+)")


@dataclass(frozen=True, kw_only=True)
class ShrecImport:
    """What the folders do not say."""

    voxel_size_angstrom: float = 10.0
    """Of the volumes; the release's headers are meaningless."""
    pixel_size_angstrom: float = 5.0
    """Of the images that are not binned."""
    depth_voxels: int | None = None
    """Slices to keep in the middle; None keeps the content of the release's 512-deep frame, and all of others."""


def shrec_folders(path: Path) -> list[Path]:
    """The model folders that ``path`` is or holds, by number; empty if there are none."""
    if not path.is_dir():
        return []
    if _is_model(path):
        return [path]
    found = [folder for folder in path.iterdir() if _MODEL.fullmatch(folder.name) and _is_model(folder)]
    return sorted(found, key=lambda folder: int(folder.name.removeprefix("model_")))


def _is_model(folder: Path) -> bool:
    names = (files.RECONSTRUCTION, OCCUPANCY_FILE, LOCATIONS_FILE, files.PROJECTIONS, files.RECORD_FILE)
    return any((folder / name).is_file() for name in names)


def import_shrec(
    folders: list[Path], store: Store, how: ShrecImport, *, progress: Progress, overwrite: bool = False
) -> tuple[list[str], list[str]]:
    """Add each folder to ``store`` as a model. Returns the models' names, and what a user should know."""
    names = _names(folders)
    store.create()
    notices: list[str] = []
    with progress.stage("import", total=len(folders)) as stage:
        for folder, name in zip(folders, names, strict=True):
            _Model(folder, name, how, notices).write(store, overwrite)
            stage.advance()
    return names, notices


def _names(folders: list[Path]) -> list[str]:
    """By the folders' own numbers, else in their order."""
    numbers = [_MODEL.fullmatch(folder.name) for folder in folders]
    named = [layout.model_name(int(match.group(1))) for match in numbers if match is not None]
    if len(named) == len(folders) == len(set(named)):
        return named
    return [layout.model_name(index) for index in range(len(folders))]


class _Model:
    """One folder on its way into the store."""

    def __init__(self, folder: Path, name: str, how: ShrecImport, notices: list[str]) -> None:
        self.folder, self.name, self.how, self.notices = folder, name, how, notices
        self.record = files.read_record(folder)

    def write(self, store: Store, overwrite: bool) -> None:
        """Whatever the folder has: truth, tilt series, tomogram."""
        found = False
        if (self.folder / OCCUPANCY_FILE).is_file() or (self.folder / LOCATIONS_FILE).is_file():
            self._write_truth(store, overwrite)
            found = True
        if (self.folder / files.PROJECTIONS).is_file():
            self._write_tilt_series(store, overwrite)
            found = True
        if (self.folder / files.RECONSTRUCTION).is_file():
            self._write_tomogram(store, overwrite)
            found = True
        if not found:
            raise DataError(
                f"{self.folder} holds neither {OCCUPANCY_FILE} with {LOCATIONS_FILE}, nor {files.PROJECTIONS}, nor "
                f"{files.RECONSTRUCTION}: there is nothing to import"
            )

    # -- truth -----------------------------------------------------------------------------------------------------

    @cached_property
    def _truth(self) -> Truth:
        return read_truth_folder(self.folder, self._voxel_size("truth"))

    def _write_truth(self, store: Store, overwrite: bool) -> None:
        truth = self._truth
        occupancy = self._cropped(np.asarray(truth.read_occupancy()), OCCUPANCY_FILE)
        particles = self._particles(truth)
        attrs = self._truth_attrs(truth)
        class_mask = self._class_mask(occupancy, particles, attrs["classes"])
        group = layout.truth_group(self.name)
        masks: dict[str, npt.NDArray[Any]] = {"class_mask": class_mask, "occupancy_mask": occupancy.astype(np.int32)}
        if (self.folder / files.FILLED_OCCUPANCY).is_file():
            filled = read_volume(self.folder / files.FILLED_OCCUPANCY, dtype=None)[0]
            masks["occupancy_mask_filled"] = self._cropped(filled, files.FILLED_OCCUPANCY).astype(np.int32)
        if any(mask.shape != occupancy.shape for mask in masks.values()):
            raise DataError(f"{self.folder}: its masks differ in shape, they are not of one model")
        made_of = self._token(
            OCCUPANCY_FILE, LOCATIONS_FILE, files.CLASS_MASK, files.FILLED_OCCUPANCY, files.RECORD_FILE
        )
        self._write_volumes(
            store,
            group,
            layout.TRUTH_KIND,
            made_of,
            masks,
            attrs,
            overwrite,
        )
        store.write_table(
            layout.truth_particles_group(self.name),
            with_bounding_boxes(particles, ArraySource(occupancy.astype(np.int32))),
            kind="particles",
            token=made_of,
            parameters=self._parameters(),
            overwrite=overwrite,
        )

    def _particles(self, truth: Truth) -> Particles:
        """The list's; exact where the record beside it has the same particles."""
        if self.record is None or self.record.particles is None:
            return Particles.create(
                [str(name) for name in truth.particles.class_id],
                truth.particles.position_angstrom,
                tomogram=self.name,
                zxz_deg=truth.particles.zxz_deg,
            )
        path = self.folder / files.RECORD_FILE
        exact = files.particles_of({**self.record.particles, "tomogram": self._own_name()}, path)
        same = len(exact) == len(truth.particles) and np.allclose(
            exact.position_angstrom, truth.particles.position_angstrom, atol=0.51 * truth.voxel_size_angstrom
        )
        names = [files.shrec_name(str(name)) for name in exact.class_id]
        if not same or names != [str(name) for name in truth.particles.class_id]:
            raise DataError(
                f"{path} and {LOCATIONS_FILE} list different particles: remove {files.RECORD_FILE} to go by the list"
            )
        return exact

    def _own_name(self) -> list[str]:
        count = len(self.record.particles.get("class_id", [])) if self.record and self.record.particles else 0
        return [self.name] * count

    def _truth_attrs(self, truth: Truth) -> dict[str, Any]:
        if self.record is not None and self.record.truth:
            return dict(self.record.truth)
        nothing: dict[str, None] = dict.fromkeys(truth.class_ids)
        return {
            "voxel_size_angstrom": truth.voxel_size_angstrom,
            "classes": list(truth.class_ids),
            "radius_angstrom": nothing,
            "mask_radius_angstrom": nothing,
            "molecular_weight_kda": nothing | dict(truth.molecular_weight_kda),
        }

    def _class_mask(
        self, occupancy: npt.NDArray[Any], particles: Particles, classes: list[str]
    ) -> npt.NDArray[np.uint8]:
        """Labels in the order of ``classes``: from the file if there is one, else from the particles' ids."""
        path = self.folder / files.CLASS_MASK
        if not path.is_file():
            label = {name: index for index, name in enumerate(classes, start=1)}
            of_id = np.zeros(len(particles) + 1, np.uint8)
            of_id[1:] = [label[str(name)] for name in particles.class_id]
            listed: npt.NDArray[np.uint8] = of_id[occupancy]
            return listed
        mask = self._cropped(read_volume(path, dtype=None)[0], files.CLASS_MASK)
        if mask.shape != occupancy.shape:
            raise DataError(f"{path} has shape {mask.shape}, {OCCUPANCY_FILE} {occupancy.shape}: not of one model")
        own = self.record is not None and bool(self.record.truth)
        labels = files.shrec_labels(classes) if own else {name: k for k, name in enumerate(classes, start=1)}
        of_label = np.zeros(256, np.uint8)
        for index, class_id in enumerate(classes, start=1):
            of_label[labels[class_id]] = index
        whole = mask.astype(np.uint8)
        unknown = np.setdiff1d(np.unique(whole), [0, *labels.values()])
        if not np.array_equal(whole, mask) or unknown.size:
            raise DataError(f"{path}: labels {unknown.tolist() or 'that are no whole numbers'} belong to no class")
        labelled: npt.NDArray[np.uint8] = of_label[whole]
        return labelled

    # -- images ----------------------------------------------------------------------------------------------------

    def _write_tilt_series(self, store: Store, overwrite: bool) -> None:
        record = self.record
        pixel = self.how.pixel_size_angstrom
        alignment = self.folder / files.ALIGNMENT_FILE
        if record is not None and record.coordinates:
            attrs = dict(record.tilt_series)
            columns = {name: np.array(values, dtype=np.float64) for name, values in record.coordinates.items()}
            images = dict(record.images)
        else:
            tilts, shifts_y, shifts_x = files.read_alignment(alignment)
            attrs = {"pixel_size_angstrom": pixel}
            columns = {"tilt_deg": tilts, "shift_y_angstrom": shifts_y * pixel, "shift_x_angstrom": shifts_x * pixel}
            images = {"counts": files.PROJECTIONS}
            if (self.folder / files.NOISE_FREE).is_file():
                images["noise_free"] = files.NOISE_FREE
        stacks = {}
        for name, file in images.items():
            if "/" in file or "\\" in file:
                raise DataError(f"{self.folder / files.RECORD_FILE}: {file!r} is no name of a file in the folder")
            stacks[name] = read_stack(self.folder / file)[0]
        shapes = {name: stack.shape for name, stack in stacks.items()}
        shapes = {name: shape for name, shape in shapes.items() if shape == stacks[next(iter(stacks))].shape}
        for name in stacks.keys() - shapes.keys():
            self.notices.append(f"{self.folder / images[name]} was left out: not the size of {files.PROJECTIONS}")
        count, ny, nx = next(iter(shapes.values()))
        if any(len(values) != count for values in columns.values()):
            raise DataError(f"{self.folder / files.PROJECTIONS} has {count} images, its list of tilts another number")
        group = layout.tilt_series_group(self.name)
        made_of = self._token(files.ALIGNMENT_FILE, files.RECORD_FILE, *(images[name] for name in shapes))
        spec = GroupSpec(
            kind=layout.TILT_SERIES_KIND,
            token=made_of,
            parameters=self._parameters(),
            variables=tuple(
                Variable(
                    name=name,
                    dims=("tilt", "y", "x"),
                    shape=shapes[name],
                    dtype="float32",
                    chunks=(1, ny, nx),
                    attrs={"units": "electrons per pixel"},
                )
                for name in shapes
            ),
            coordinates={name: (("tilt",), values, {}) for name, values in columns.items()},
            attrs=attrs,
            blocks=count,
        )
        for index in store.prepare(group, spec, overwrite=overwrite):
            for name in shapes:
                store.write(group, name, (index, 0, 0), stacks[name][index : index + 1])
            store.mark_done(group, index)
        store.finish(group)

    def _write_tomogram(self, store: Store, overwrite: bool) -> None:
        record = self.record
        volume = self._cropped(read_volume(self.folder / files.RECONSTRUCTION)[0], files.RECONSTRUCTION)
        voxel = self._voxel_size("tomogram")
        attrs: dict[str, Any] = {"voxel_size_angstrom": voxel}
        if record is not None and record.tomogram:
            attrs = dict(record.tomogram)
        elif (self.folder / files.ALIGNMENT_FILE).is_file():
            attrs["tilt_deg"] = files.read_alignment(self.folder / files.ALIGNMENT_FILE)[0].tolist()
        group = layout.tomogram_group(self.name)
        made_of = self._token(files.RECONSTRUCTION, files.ALIGNMENT_FILE, files.RECORD_FILE)
        self._write_volumes(store, group, layout.TOMOGRAM_KIND, made_of, {"image": volume}, attrs, overwrite)
        store.annotate(f"{self.name}/tomogram", ome_multiscales(self.name, [voxel]))

    # -- shared ----------------------------------------------------------------------------------------------------

    def _voxel_size(self, part: str) -> float:
        known: Mapping[str, Any] = getattr(self.record, part, {}) if self.record is not None else {}
        value = known.get("voxel_size_angstrom", self.how.voxel_size_angstrom)
        if not isinstance(value, int | float) or not value > 0:
            raise DataError(f"{self.folder / files.RECORD_FILE}: voxel size {value!r} is not positive")
        return float(value)

    def _cropped(self, volume: npt.NDArray[Any], file: str) -> npt.NDArray[Any]:
        """The middle of a frame that is deeper than its content."""
        depth = volume.shape[0]
        kept = self.how.depth_voxels or self._content_depth(file, depth)
        if not 0 < kept <= depth or (depth - kept) % 2:
            raise ConfigError(
                f"{self.folder / file} is {depth} slices deep: {kept} of them cannot be its middle; choose another "
                "--depth, smaller by an even number"
            )
        start = (depth - kept) // 2
        return volume[start : start + kept]

    def _content_depth(self, file: str, depth: int) -> int:
        if self.record is not None and file in self.record.depth_voxels:
            return int(self.record.depth_voxels[file])
        if depth != RELEASE_DEPTH_VOXELS or not (self.folder / OCCUPANCY_FILE).is_file():
            return depth
        margin = (RELEASE_DEPTH_VOXELS - RELEASE_CONTENT_VOXELS) // 2
        occupancy = self._truth.read_occupancy()
        if occupancy is None or occupancy.shape[0] != depth or occupancy[:margin].any() or occupancy[-margin:].any():
            return depth
        return RELEASE_CONTENT_VOXELS

    def _write_volumes(
        self,
        store: Store,
        group: str,
        kind: str,
        made_of: str,
        volumes: Mapping[str, npt.NDArray[Any]],
        attrs: Mapping[str, Any],
        overwrite: bool,
    ) -> None:
        nz, ny, nx = next(iter(volumes.values())).shape
        rows = [(first, min(first + _ROWS, ny)) for first in range(0, ny, _ROWS)]
        spec = GroupSpec(
            kind=kind,
            token=made_of,
            parameters=self._parameters(),
            variables=tuple(
                Variable(
                    name=name,
                    dims=("z", "y", "x"),
                    shape=(nz, ny, nx),
                    dtype=str(volume.dtype),
                    chunks=(nz, min(_ROWS, ny), nx),
                )
                for name, volume in volumes.items()
            ),
            attrs=attrs,
            blocks=len(rows),
        )
        for block in store.prepare(group, spec, overwrite=overwrite):
            first, last = rows[block]
            for name, volume in volumes.items():
                store.write(group, name, (0, first, 0), np.ascontiguousarray(volume[:, first:last]))
            store.mark_done(group, block)
        store.finish(group)

    def _parameters(self) -> dict[str, Any]:
        return {
            "imported_from": str(self.folder),
            "voxel_size_angstrom": self.how.voxel_size_angstrom,
            "pixel_size_angstrom": self.how.pixel_size_angstrom,
            "depth_voxels": self.how.depth_voxels,
        }

    def _token(self, *names: str) -> str:
        content = {name: _sha256(self.folder / name) for name in names if (self.folder / name).is_file()}
        settings = {key: value for key, value in self._parameters().items() if key != "imported_from"}
        return token({"files": content, **settings, "schema_version": SCHEMA_VERSION})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
