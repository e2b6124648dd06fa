"""``export --format shrec``: a data set as model_N folders that programs made for SHREC 2021 read."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryodask.errors import ConfigError, DataError
from cryodask.io import shrec_model as files
from cryodask.io.mrc_writer import filled_volume
from cryodask.io.shrec import CLASS_TABLE_FILES, LOCATIONS_FILE, OCCUPANCY_FILE, RELEASE_DEPTH_VOXELS
from cryodask.io.store import Store
from cryodask.io.store_source import StoredArray
from cryodask.io.store_spec import RECORD
from cryodask.kernels.fourier import fourier_crop
from cryodask.model.images import image_to_use
from cryodask.model.particles import Particles
from cryodask.model.progress import Progress
from cryodask.ops.sample import TRUTH_BINNING, block_mean
from cryodask.workflows import layout
from cryodask.workflows.picks_folder import make_folder

WITHHELD = "withheld_truth"
"""Folder of the truth that is kept from participants."""

_BINNING = TRUTH_BINNING


@dataclass(frozen=True, kw_only=True)
class ShrecExport:
    """How to write."""

    depth_voxels: int = RELEASE_DEPTH_VOXELS
    """Depth of the frame that volumes are centred in."""
    withhold_truth: tuple[int, ...] = ()
    """Numbers of the models whose truth goes into a folder of its own."""


def export_shrec(
    store: Store, output: Path, how: ShrecExport, *, progress: Progress, overwrite: bool = False
) -> dict[str, str]:
    """Write every model of ``store`` into ``output``; returns the folder of each, by the model's name.

    The layout numbers its folders: ``model_003`` goes to ``model_3``, and models of other names take the numbers after.

    A model appears whole or not at all. Raises ConfigError for a depth that is too small and a model to withhold that
    is not there, DataError for a folder in the way.
    """
    names = _models(store)
    folders = _numbered(names)
    withheld = {f"model_{number}" for number in how.withhold_truth}
    if unknown := sorted(withheld - set(folders.values())):
        raise ConfigError(
            f"--withhold-truth: {store.path} has no {', '.join(unknown)}; it has {', '.join(folders.values())}"
        )
    for folder in folders.values():
        for target in (output / folder, output / WITHHELD / folder):
            if os.path.lexists(target) and not overwrite:
                raise DataError(f"{target} exists: choose another output, or --overwrite")
    for name in names:
        _Model(store, name, how).require_frames()
    make_folder(output)
    with progress.stage("export", total=len(names)) as stage:
        for name, folder in folders.items():
            with _replaced(output / folder) as partial:
                _Model(store, name, how).write(partial)
                truth = output / WITHHELD / folder
                if truth.exists():
                    shutil.rmtree(truth)
                if folder in withheld:
                    make_folder(truth.parent)
                    _split(partial, truth)
            stage.advance()
    return folders


def _numbered(names: list[str]) -> dict[str, str]:
    """Folder of each model: its own number, or one after the largest for a name without, in the order of names."""
    numbers = {name: int(match[1]) for name in names if (match := re.fullmatch(r"model_(\d+)", name))}
    others = (name for name in names if name not in numbers)
    numbers |= {name: number for number, name in enumerate(others, start=max(numbers.values(), default=-1) + 1)}
    return {name: f"model_{numbers[name]}" for name in sorted(names, key=numbers.__getitem__)}


def _models(store: Store) -> list[str]:
    parts = {layout.TRUTH_KIND, layout.TILT_SERIES_KIND, layout.TOMOGRAM_KIND}
    entries = [entry for entry in store.groups() if entry.kind in parts and entry.complete]
    names = sorted({entry.path.partition("/")[0] for entry in entries})
    if not names:
        raise DataError(f"{store.path} holds no finished model to export; simulate or reconstruct first")
    return names


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``target`` at the end and vanishes on failure."""
    partial = target.with_name(f".{uuid.uuid4().hex}.partial-{target.name}") / target.name
    make_folder(partial)
    try:
        yield partial
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        partial.replace(target)
    finally:
        shutil.rmtree(partial.parent, ignore_errors=True)


def _split(model: Path, truth: Path) -> None:
    """Move what tells the truth out of ``model``, which keeps the images that participants get."""
    record = files.read_record(model)
    if record is None:
        raise DataError(f"{model} lost its {files.RECORD_FILE} while it was written")
    hidden = {name: file for name, file in record.images.items() if "noise_free" in name}
    shown = {name: file for name, file in record.images.items() if name not in hidden}
    with _replaced(truth) as partial:
        files.write_record(partial, record)
        files.write_record(model, replace(record, truth={}, particles=None, images=shown))
        for name in {*files.TRUTH_FILES, *hidden.values()}:
            if (model / name).exists():
                (model / name).replace(partial / name)
        for name in CLASS_TABLE_FILES:
            if (model / name).exists():
                shutil.copyfile(model / name, partial / name)


class _Model:
    """One model on its way from the store to a folder."""

    def __init__(self, store: Store, name: str, how: ShrecExport) -> None:
        self.store, self.name, self.how = store, name, how
        self.record: dict[str, Any] = {"name": name}
        self.depths: dict[str, int] = {}

    def require_frames(self) -> None:
        """ConfigError if a volume does not fit into its frame."""
        truth, tomogram = layout.truth_group(self.name), layout.tomogram_group(self.name)
        for group, variable in ((truth, "occupancy_mask"), (tomogram, "image")):
            if self.store.is_complete(group):
                self._frame(self.store.source(group, variable).shape[0])

    def write(self, folder: Path) -> None:
        """All files that the store has the data for."""
        if self.store.is_complete(layout.truth_group(self.name)):
            self._write_truth(folder)
        if self.store.is_complete(layout.grand_model_group(self.name)):
            self._write_grand_model(folder)
        if self.store.is_complete(layout.tilt_series_group(self.name)):
            self._write_tilt_series(folder)
        if self.store.is_complete(layout.tomogram_group(self.name)):
            self._write_tomogram(folder)
        files.write_record(folder, files.ModelRecord(**self.record, depth_voxels=self.depths))

    def _write_truth(self, folder: Path) -> None:
        group = layout.truth_group(self.name)
        attrs = _own(self.store.info(group))
        voxel = float(attrs["voxel_size_angstrom"])
        labels = files.shrec_labels(attrs["classes"])
        table = np.zeros(len(attrs["classes"]) + 1, np.int8)
        table[1:] = [labels[class_id] for class_id in attrs["classes"]]
        classes = self.store.source(group, "class_mask")
        self._write_volume(folder / files.CLASS_MASK, classes, voxel, np.int8, lambda block: table[block])
        particles = Particles.from_dataset(self.store.read_table(layout.truth_particles_group(self.name)))
        occupancy = self.store.source(group, "occupancy_mask")
        ids = np.int16 if len(particles) < 2**15 else np.uint16
        self._write_volume(folder / OCCUPANCY_FILE, occupancy, voxel, ids)
        if "occupancy_mask_filled" in self.store.open(group).variables:
            filled = self.store.source(group, "occupancy_mask_filled")
            self._write_volume(folder / files.FILLED_OCCUPANCY, filled, voxel, ids)
        nz, ny, nx = occupancy.shape
        files.write_locations(folder / LOCATIONS_FILE, particles, particles.voxels((self._frame(nz)[0], ny, nx), voxel))
        files.write_class_table(folder / CLASS_TABLE_FILES[0], labels)
        self.record |= {"truth": attrs, "particles": files.particle_columns(particles)}

    def _write_grand_model(self, folder: Path) -> None:
        group = layout.grand_model_group(self.name)
        voxel = float(layout.required(self.store, group, "voxel_size_angstrom"))
        source = self.store.source(group, "electrostatic_v")
        if not any(n % _BINNING for n in source.shape):
            self._write_volume(folder / files.GRAND_MODEL, source, voxel * _BINNING, np.float32, block_mean, _BINNING)

    def _write_tilt_series(self, folder: Path) -> None:
        group = layout.tilt_series_group(self.name)
        series = self.store.open(group)
        pixel = float(series.attrs["pixel_size_angstrom"])
        coordinates = {str(name): series[name].to_numpy().astype(np.float64) for name in series.coords}
        names = {str(name) for name, variable in series.data_vars.items() if variable.dims == ("tilt", "y", "x")}
        images = {image_to_use(series, "counts"): files.PROJECTIONS}
        images |= {name: files.NOISE_FREE for name in (image_to_use(series, "noise_free"),) if name in names}
        images |= {name: f"{name}_unbinned.mrc" for name in sorted(names - images.keys())}
        for name, file in images.items():
            source = self.store.source(group, name)
            _write_stack(folder / file, source, pixel, _as_it_is)
            if file == files.PROJECTIONS and not any(n % _BINNING for n in source.shape[1:]):
                binned = folder / files.PROJECTIONS_BINNED
                _write_stack(binned, source, pixel * _BINNING, lambda image: fourier_crop(image, _BINNING), _BINNING)
        files.write_alignment(
            folder / files.ALIGNMENT_FILE,
            tilt_deg=coordinates["tilt_deg"],
            shift_y_px=coordinates.get("shift_y_angstrom", 0 * coordinates["tilt_deg"]) / pixel,
            shift_x_px=coordinates.get("shift_x_angstrom", 0 * coordinates["tilt_deg"]) / pixel,
        )
        self.record |= {
            "images": images,
            "tilt_series": dict(series.attrs),
            "coordinates": {name: values.tolist() for name, values in coordinates.items()},
        }

    def _write_tomogram(self, folder: Path) -> None:
        group = layout.tomogram_group(self.name)
        attrs = _own(self.store.info(group))
        source = self.store.source(group, "image")
        self._write_volume(folder / files.RECONSTRUCTION, source, float(attrs["voxel_size_angstrom"]), np.float32)
        self.record |= {"tomogram": attrs}

    def _frame(self, nz: int) -> tuple[int, int]:
        """Depth of the frame, and the slice of it that the content begins at."""
        depth = (
            max(self.how.depth_voxels, nz) if self.how.depth_voxels == RELEASE_DEPTH_VOXELS else self.how.depth_voxels
        )
        if depth < nz or (depth - nz) % 2:
            raise ConfigError(
                f"--depth {depth}: {self.name} is {nz} voxels deep, it fits into that or into more by an even number"
            )
        return depth, (depth - nz) // 2

    def _write_volume(
        self,
        path: Path,
        source: StoredArray,
        voxel_size_angstrom: float,
        dtype: npt.DTypeLike,
        change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None,
        binning: int = 1,
    ) -> None:
        """The volume in the middle of its frame, some rows along y at a time."""
        nz, ny, nx = (n // binning for n in source.shape)
        depth, start = self._frame(nz)
        self.depths[path.name] = nz
        with filled_volume(path, (depth, ny, nx), dtype, voxel_size_angstrom) as volume:
            for rows in _row_blocks(ny):
                block = source.read((slice(None), slice(rows.start * binning, rows.stop * binning), slice(None)))
                volume[start : start + nz, rows] = block if change is None else change(block)


def _row_blocks(ny: int, size: int = 64) -> Iterable[slice]:
    return [slice(first, min(first + size, ny)) for first in range(0, ny, size)]


def _write_stack(
    path: Path,
    source: StoredArray,
    pixel_size_angstrom: float,
    change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    binning: int = 1,
) -> None:
    """Images one after the other."""
    count, ny, nx = source.shape
    with filled_volume(
        path, (count, ny // binning, nx // binning), np.float32, pixel_size_angstrom, stack=True
    ) as stack:
        for index in range(count):
            stack[index] = change(source.read((slice(index, index + 1), slice(None), slice(None)))[0])


def _as_it_is(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return image


def _own(attrs: dict[str, Any]) -> dict[str, Any]:
    """Attributes without the store's record."""
    return {name: value for name, value in attrs.items() if name not in (RECORD, "coordinates")}
