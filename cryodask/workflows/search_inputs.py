"""What a template search starts from: tomograms and templates, from a data set or from MRC files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from distributed import Client

from cryodask.errors import ConfigError, DataError
from cryodask.io.mrc import read_volume
from cryodask.io.store import Store
from cryodask.io.structures import load_structure_set
from cryodask.model.images import Tomogram
from cryodask.model.progress import Progress
from cryodask.model.source import ArraySource, BlockSource
from cryodask.model.structure import Structure
from cryodask.ops.sample import MASK_THRESHOLD_V
from cryodask.ops.templates import TemplateSource
from cryodask.params.schema import SampleParameters
from cryodask.workflows import layout
from cryodask.workflows.densities import make_densities


@dataclass(frozen=True, kw_only=True)
class SearchInput:
    """One tomogram, and what is known of how it was made."""

    name: str
    image: BlockSource
    voxel_size_angstrom: float
    tilt_deg: tuple[float, ...] | None = None
    optics: Mapping[str, float] = field(default_factory=dict)
    token: str

    @property
    def shape(self) -> tuple[int, int, int]:
        nz, ny, nx = self.image.shape
        return nz, ny, nx


@dataclass(frozen=True, kw_only=True)
class NamedTemplate:
    """A template and the token of everything its density was made from."""

    source: TemplateSource
    token: str


def tomograms_of_store(store: Store) -> list[SearchInput]:
    """All complete tomograms of a data set; DataError if there is none."""
    inputs = []
    for name in layout.models_with(store, "tomogram/scale0"):
        group = layout.tomogram_group(name)
        tomogram = Tomogram.parse(store.open(group))
        inputs.append(_search_input(tomogram, name, store.source(group, "image"), store.token(group)))
    return inputs


def tomogram_in_memory(tomogram: Tomogram, name: str) -> SearchInput:
    """A tomogram that is an xarray object."""
    values = tomogram.dataset["image"].to_numpy().astype(np.float32)
    content = hashlib.sha256(values.tobytes()).hexdigest()
    return _search_input(tomogram, name, ArraySource(values), content)


def _search_input(tomogram: Tomogram, name: str, image: BlockSource, token: str) -> SearchInput:
    return SearchInput(
        name=name,
        image=image,
        voxel_size_angstrom=tomogram.voxel_size_angstrom,
        tilt_deg=tomogram.tilt_deg,
        optics=tomogram.optics,
        token=token,
    )


def tomogram_of_mrc(
    path: Path, *, voxel_size_angstrom: float | None, tilt_deg: tuple[float, ...] | None
) -> SearchInput:
    """A tomogram from an MRC file; a voxel size given here wins over the header's."""
    image, header_voxel = read_volume(path)
    voxel = _voxel_size(path, header_voxel, voxel_size_angstrom)
    return SearchInput(
        name=path.stem,
        image=ArraySource(np.asarray(image, dtype=np.float32)),
        voxel_size_angstrom=voxel,
        tilt_deg=tilt_deg,
        token=_file_hash(path, voxel, *(tilt_deg or ())),
    )


def templates_of_store(store: Store, classes: Sequence[str] | None = None) -> list[NamedTemplate]:
    """Templates from the densities that a data set was simulated from."""
    prefix = "structures/"
    known = [entry for entry in store.groups() if entry.path.startswith(prefix) and entry.complete]
    names = [entry.path.removeprefix(prefix) for entry in known]
    if not names:
        raise DataError(f"{store.path} holds no structures to make templates of: give --templates")
    missing = sorted(set(classes or ()) - set(names))
    if missing:
        raise DataError(f"{store.path} has no structure {', '.join(missing)}; it has {', '.join(names)}")
    return [_template_of_group(store, name) for name in names if classes is None or name in classes]


def templates_of_structures(
    maps: Store, structures: Sequence[Structure], *, client: Client | None, progress: Progress
) -> list[NamedTemplate]:
    """Templates from atoms: their densities are computed, once, into the store of the search."""
    maps.create()
    make_densities(maps, structures, SampleParameters(), client=client, progress=progress)
    return templates_of_store(maps, [s.info.class_id for s in structures])


def _template_of_group(store: Store, name: str) -> NamedTemplate:
    group = layout.structure_group(name)
    attrs = store.info(group)
    radius = attrs.get("mask_radius_angstrom") or attrs["radius_angstrom"]
    source = TemplateSource(
        template_id=name,
        density=store.source(group, "electrostatic_v"),
        voxel_size_angstrom=float(attrs["voxel_size_angstrom"]),
        radius_angstrom=float(radius),
        symmetry=str(attrs.get("symmetry", "C1")),
    )
    return NamedTemplate(source=source, token=store.token(group))


def template_of_mrc(path: Path, *, voxel_size_angstrom: float | None) -> NamedTemplate:
    """A template from an MRC file, protein positive; its mask reaches as far as a tenth of the density's maximum."""
    density, header_voxel = read_volume(path)
    voxel = _voxel_size(path, header_voxel, voxel_size_angstrom)
    threshold = 0.1 * float(density.max())
    inside = np.argwhere(density > threshold)
    if not len(inside) or not threshold > 0:
        raise DataError(f"template {path} has no positive density: particles must be positive (invert it first)")
    centre = (np.array(density.shape) - 1) / 2
    radius = (float(np.linalg.norm(inside - centre, axis=1).max()) + 0.5) * voxel
    source = TemplateSource(
        template_id=path.stem,
        density=ArraySource(np.asarray(density, dtype=np.float32)),
        voxel_size_angstrom=voxel,
        radius_angstrom=min(radius, min(density.shape) / 2 * voxel),
    )
    return NamedTemplate(source=source, token=_file_hash(path, voxel, MASK_THRESHOLD_V))


def _voxel_size(path: Path, header: float | None, given: float | None) -> float:
    voxel = given if given is not None else header
    if voxel is None:
        raise DataError(f"{path} does not say how large its voxels are: give --voxel-size ANGSTROM")
    return voxel


def _file_hash(path: Path, *settings: float) -> str:
    digest = hashlib.sha256(path.read_bytes())
    digest.update(repr(settings).encode())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class TemplateRequest:
    """What templates a user asked for, read as far as it takes to know that they are there."""

    structures: tuple[Structure, ...] = ()
    densities: tuple[NamedTemplate, ...] = ()
    classes: tuple[str, ...] | None = None
    notices: tuple[str, ...] = ()

    @classmethod
    def parse(
        cls, templates: Sequence[str], classes: tuple[str, ...] | None, *, voxel_size_angstrom: float | None
    ) -> TemplateRequest:
        """MRC files are densities, everything else is a structure set; nothing means those of the data set."""
        densities: list[NamedTemplate] = []
        structures: list[Structure] = []
        notices: list[str] = []
        for text in templates:
            if _is_mrc(Path(text)):
                densities.append(template_of_mrc(Path(text), voxel_size_angstrom=voxel_size_angstrom))
            elif Path(text).is_dir() and any(_is_mrc(file) for file in Path(text).iterdir()):
                files = sorted(file for file in Path(text).iterdir() if _is_mrc(file))
                densities += [template_of_mrc(file, voxel_size_angstrom=voxel_size_angstrom) for file in files]
            else:
                found = load_structure_set(text, classes)
                structures += found.structures
                notices += found.notices
        names = [t.source.template_id for t in densities] + [s.info.class_id for s in structures]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"several templates are called {', '.join(twice)}: rename the files")
        return cls(structures=tuple(structures), densities=tuple(densities), classes=classes, notices=tuple(notices))


def open_templates(
    request: TemplateRequest, data: Path, maps: Store, *, client: Client | None, progress: Progress
) -> tuple[NamedTemplate, ...]:
    """The templates of a request; densities of structures are computed where they are not stored yet."""
    found = list(request.densities)
    if request.structures:
        found += templates_of_structures(maps, request.structures, client=client, progress=progress)
    if not found:
        if not _is_store(data):
            raise DataError(f"{data} does not say what to search for: give --templates")
        found = templates_of_store(Store(data), request.classes)
    return tuple(found)


def open_tomograms(
    path: Path, *, voxel_size_angstrom: float | None, tilt_angles: Path | None
) -> tuple[SearchInput, ...]:
    """The tomograms of a data set, or the one in an MRC file."""
    if _is_store(path):
        if voxel_size_angstrom is not None or tilt_angles is not None:
            raise ConfigError(f"{path} knows its voxel size and tilts: leave out --voxel-size and --tilt-angles")
        return tuple(tomograms_of_store(Store(path)))
    if not _is_mrc(path):
        raise DataError(f"{path} is neither a data set (.zarr) nor an MRC file (.mrc, .rec, .map, .ccp4)")
    tilts = None if tilt_angles is None else read_tilt_angles(tilt_angles)
    return (tomogram_of_mrc(path, voxel_size_angstrom=voxel_size_angstrom, tilt_deg=tilts),)


def read_tilt_angles(path: Path) -> tuple[float, ...]:
    """Angles of a .tlt or .rawtlt file, one a line, in degrees; DataError naming the line that is none."""
    angles = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            angle = float(line)
        except ValueError:
            angle = math.nan
        if not abs(angle) <= 90:
            raise DataError(f"{path}, line {number}: {line.strip()!r} is not a tilt angle between -90 and 90 degrees")
        angles.append(angle)
    if len(set(angles)) < 2:
        raise DataError(f"{path} holds fewer than two different tilt angles")
    return tuple(angles)


def _is_store(path: Path) -> bool:
    return path.is_dir()


def _is_mrc(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz").removesuffix(".bz2")
    return name.endswith((".mrc", ".rec", ".map", ".ccp4"))
