"""What a template search starts from: tomograms and templates, from a data set or from MRC files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from distributed import Client

from cryodask.errors import ConfigError, DataError
from cryodask.io.store import Store
from cryodask.io.structure_manifest import MANIFEST
from cryodask.io.structures import checked_classes, is_structure_file, load_structure_set
from cryodask.kernels.templates import mask_reach_voxels
from cryodask.model.images import Tomogram
from cryodask.model.progress import Progress
from cryodask.model.source import ArraySource, BlockSource
from cryodask.model.structure import Structure
from cryodask.ops.matching import EDGE_FRACTION
from cryodask.ops.search_region import SearchRegion
from cryodask.ops.templates import MASK_EDGE_SIGMA_VOXELS, TemplateSource, mask_extent
from cryodask.params.schema import SampleParameters
from cryodask.workflows import layout
from cryodask.workflows.densities import make_densities
from cryodask.workflows.mrc_inputs import is_mrc, read_mrc_input, read_tilt_angles

MASK_FRACTION = 0.1
"""The mask of a density from a file reaches as far as this share of its maximum."""

LEAST_RADIUS_VOXELS = 1.0
"""A template smaller than this has no shape that could be told from noise."""


@dataclass(frozen=True, kw_only=True)
class SearchInput:
    """One tomogram, and what is known of how it was made."""

    name: str
    image: BlockSource
    voxel_size_angstrom: float
    tilt_deg: tuple[float, ...] | None = None
    optics: Mapping[str, float] = field(default_factory=dict)
    phase_flipped: bool = False
    token: str
    searched: SearchRegion | None = None
    """Where particles are searched; None for everywhere."""
    searched_token: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        nz, ny, nx = self.image.shape
        return nz, ny, nx


@dataclass(frozen=True, kw_only=True)
class NamedTemplate:
    """A template and the token of everything its density was made from."""

    source: TemplateSource
    token: str
    mask_token: str = ""
    """Of a mask that turns with the template, if it has one."""


# -- tomograms -----------------------------------------------------------------------------------------------------


def open_tomograms(
    path: Path, *, voxel_size_angstrom: float | None, tilt_angles: Path | None
) -> tuple[SearchInput, ...]:
    """The tomograms of a data set, or the one in an MRC file."""
    if path.is_dir():
        if not is_store(path):
            raise DataError(f"{path} is a folder but not a data set of cryodask: give DATA.zarr or an MRC file")
        if voxel_size_angstrom is not None or tilt_angles is not None:
            raise ConfigError(f"{path} knows its voxel size and tilts: leave out --voxel-size and --tilt-angles")
        return tuple(tomograms_of_store(Store(path)))
    if not is_mrc(path):
        raise DataError(f"{path} is neither a data set (.zarr) nor an MRC file (.mrc, .rec, .map, .ccp4)")
    tilts = None if tilt_angles is None else read_tilt_angles(tilt_angles)
    return (tomogram_of_mrc(path, voxel_size_angstrom=voxel_size_angstrom, tilt_deg=tilts),)


def is_store(path: Path) -> bool:
    """Whether a folder is meant as a data set; ``Store.check`` says whether it is one that can be read."""
    return path.is_dir() and (path / "zarr.json").exists()


def tomograms_of_store(store: Store) -> list[SearchInput]:
    """All complete tomograms of a data set; DataError if there is none."""
    return [tomogram_of_store(store, name) for name in layout.models_with(store, "tomogram/scale0")]


def tomogram_of_store(store: Store, model: str) -> SearchInput:
    """The tomogram of one model; StoreError if it is not there or not complete."""
    group = layout.tomogram_group(model)
    tomogram = Tomogram.parse(store.open(group))
    return _search_input(tomogram, model, store.source(group, "image"), store.token(group))


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
        phase_flipped=tomogram.phase_flipped,
        token=token,
    )


def tomogram_of_mrc(
    path: Path, *, voxel_size_angstrom: float | None, tilt_deg: tuple[float, ...] | None
) -> SearchInput:
    """A tomogram from an MRC file; a voxel size given here wins over the header's."""
    read = read_mrc_input(path, voxel_size_angstrom, "--voxel-size")
    return SearchInput(
        name=read.name,
        image=read.source,
        voxel_size_angstrom=read.voxel_size_angstrom,
        tilt_deg=tilt_deg,
        token=read.token,
    )


# -- templates -----------------------------------------------------------------------------------------------------


def templates_of_store(store: Store, classes: Sequence[str] | None = None) -> list[NamedTemplate]:
    """Templates from the densities that a data set was simulated from; ConfigError for a class that it lacks."""
    prefix = "structures/"
    known = [entry for entry in store.groups() if entry.path.startswith(prefix) and entry.complete]
    names = [entry.path.removeprefix(prefix) for entry in known]
    if not names:
        raise DataError(f"{store.path} holds no structures to make templates of: give --templates")
    chosen = names if classes is None else checked_classes(classes, names, store.path)
    return [_template_of_group(store, name) for name in names if name in chosen]


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
    radius = attrs.get("mask_radius_angstrom") or layout.required(store, group, "radius_angstrom")
    source = TemplateSource(
        template_id=name,
        density=store.source(group, "electrostatic_v"),
        voxel_size_angstrom=float(layout.required(store, group, "voxel_size_angstrom")),
        radius_angstrom=float(radius),
        symmetry=str(attrs.get("symmetry", "C1")),
    )
    return NamedTemplate(source=source, token=store.token(group))


def template_of_mrc(path: Path, *, voxel_size_angstrom: float | None) -> NamedTemplate:
    """A template from an MRC file, protein positive; any voxel size will do, the search resamples it.

    The template turns about the middle of its box, (N - 1) / 2 along each axis: in a box of even size that lies half
    a voxel before the voxel N / 2 that many programs turn about, and picks are off by that half voxel of the template.
    Its mask is a sphere about that centre, as wide as the density that exceeds a tenth of the maximum, or as the box.
    """
    read = read_mrc_input(path, voxel_size_angstrom, "--template-voxel-size")
    if read.values.min() == read.values.max() > 0:
        raise DataError(
            f"template {path} is constant, {read.values.max():g} in every voxel: it has no shape to search for"
        )
    threshold = MASK_FRACTION * float(read.values.max())
    if not threshold > 0:
        raise DataError(f"template {path} has no positive density: particles must be positive (invert it first)")
    centre = (np.array(read.values.shape) - 1) / 2
    farthest = float(np.linalg.norm(np.argwhere(read.values > threshold) - centre, axis=1).max()) + 0.5
    radius = min(farthest, min(read.values.shape) / 2) * read.voxel_size_angstrom
    source = TemplateSource(
        template_id=read.name,
        density=read.source,
        voxel_size_angstrom=read.voxel_size_angstrom,
        radius_angstrom=radius,
    )
    return NamedTemplate(source=source, token=read.token)


def require_room(tomograms: Iterable[SearchInput], templates: Iterable[NamedTemplate]) -> None:
    """Raise DataError naming sizes if a template is too large or too small for a tomogram: most often a wrong unit."""
    found = list(templates)
    for tomogram in tomograms:
        voxel = tomogram.voxel_size_angstrom
        for template in found:
            radius = template.source.radius_angstrom
            reach = math.ceil(mask_reach_voxels(radius / voxel, MASK_EDGE_SIGMA_VOXELS))
            if template.source.mask is not None:
                weights = template.source.mask.read((slice(None),) * 3)
                reach = math.ceil(mask_extent(weights) * template.source.voxel_size_angstrom / voxel)
            margin = EDGE_FRACTION * reach
            if radius < LEAST_RADIUS_VOXELS * voxel or math.floor(min(tomogram.shape) - margin) <= math.ceil(margin):
                size = " x ".join(f"{n * voxel:.4g}" for n in tomogram.shape)
                raise DataError(
                    f"template {template.source.template_id} has a radius of {radius:.4g} angstrom, which does not "
                    f"suit the tomogram {tomogram.name} of {size} angstrom (z, y, x) in voxels of {voxel:.4g}: check "
                    "the voxel sizes of both (--voxel-size, --template-voxel-size)"
                )


# -- what a user asked for -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TemplateRequest:
    """What templates a user asked for, read as far as it takes to know that they are there."""

    structures: tuple[Structure, ...] = ()
    """Their densities are still to be computed."""
    densities: tuple[NamedTemplate, ...] = ()
    notices: tuple[str, ...] = ()

    @classmethod
    def parse(
        cls,
        templates: Sequence[str],
        classes: tuple[str, ...] | None,
        data: Path,
        *,
        voxel_size_angstrom: float | None,
    ) -> TemplateRequest:
        """Densities from MRC files and data sets, everything else is a structure set; nothing means ``data``'s own.

        ``voxel_size_angstrom`` is that of MRC files, None takes their headers'. Raises ConfigError for a class that is
        nowhere, DataError for whatever cannot be read.
        """
        if not templates:
            if not is_store(data):
                raise DataError(f"{data} does not say what to search for: give --templates")
            return cls(densities=tuple(templates_of_store(Store(data), classes)))
        densities: list[NamedTemplate] = []
        structures: list[Structure] = []
        notices: list[str] = []
        only = classes if len(templates) == 1 else None  # of several sources, each may have some of the classes
        for text in templates:
            path = Path(text)
            if is_store(path):
                densities += templates_of_store(Store(path), only)
            elif files := _mrc_files(path, notices):
                densities += [template_of_mrc(file, voxel_size_angstrom=voxel_size_angstrom) for file in files]
            else:
                found = load_structure_set(text, only)
                structures += found.structures
                notices += found.notices
        names = [t.source.template_id for t in densities] + [s.info.class_id for s in structures]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"several templates are called {', '.join(twice)}: rename the files, or give one of them")
        chosen = names if classes is None else checked_classes(classes, names, " ".join(templates))
        return cls(
            structures=tuple(s for s in structures if s.info.class_id in chosen),
            densities=tuple(t for t in densities if t.source.template_id in chosen),
            notices=tuple(notices),
        )


def _mrc_files(path: Path, notices: list[str]) -> list[Path]:
    """The MRC file itself, or those of a folder that is not described by a manifest of structures."""
    if not path.is_dir():
        return [path] if is_mrc(path) else []
    if (path / MANIFEST).exists():
        return []
    files = sorted(file for file in path.iterdir() if file.is_file() and is_mrc(file))
    stems = {_stem(file) for file in files}
    masks = [file for file in files if _stem(file).endswith("_mask") and _stem(file).removesuffix("_mask") in stems]
    if masks:
        notices.append(f"{', '.join(m.name for m in masks)} in {path} left out of the templates: give masks by --masks")
        files = [file for file in files if file not in masks]
    others = [file.name for file in sorted(path.iterdir()) if file.is_file() and is_structure_file(file)]
    if files and others:
        notices.append(f"{', '.join(others)} in {path} left out: the folder's densities are the templates")
    return files


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]


def open_templates(
    request: TemplateRequest, maps: Store, *, client: Client | None, progress: Progress
) -> tuple[NamedTemplate, ...]:
    """The templates of a request; densities of structures are computed where they are not stored yet."""
    found = list(request.densities)
    if request.structures:
        found += templates_of_structures(maps, request.structures, client=client, progress=progress)
    return tuple(found)
