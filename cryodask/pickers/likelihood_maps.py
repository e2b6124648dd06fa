"""First half of ``tm-c``: beads, whitened tomogram, models of templates, and where each class may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed, delayed

from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.io.store_spec import SCHEMA_VERSION
from cryodask.kernels.blobs import Blobs
from cryodask.model.source import BlockSource
from cryodask.ops import likelihood_maps as ops
from cryodask.ops.bilayer import MEMBRANE, bilayer_template, membrane_regions
from cryodask.ops.local_noise import Levelled, noise_level
from cryodask.ops.matching import CHUNK_VOXELS, Tile
from cryodask.ops.particle_models import likelihood_filter, sample_distance
from cryodask.params.tokens import token
from cryodask.pickers.gold import beads_of
from cryodask.pickers.protocol import PickTarget, Workbench
from cryodask.pickers.stored_models import StoredModel, stored_model

WHITENED_KIND, MAP_KIND = "whitened-tomogram", "likelihood-map"
BOTH = ("product", "negative")
"""Maps of a template: of the tomogram, and of its negative for decoys."""
_EVERYTHING = (slice(None),) * 3

Transfer = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the decision starts from."""

    target: PickTarget
    beads: Blobs
    whitened: BlockSource
    models: tuple[StoredModel, ...]
    """One for each of the workbench's templates, in their order."""
    membranes: npt.NDArray[np.bool_] | None
    """(z, y, x) True in membranes; None if they were not looked for."""
    level: npt.NDArray[np.float64]
    """(z, x) strength of the noise, which ``whitened`` was divided by: relative to its mean square."""

    def level_at(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(n,) at voxels (n, 3)."""
        last = np.array(self.level.shape) - 1
        z, x = np.clip(places[:, 0], 0, last[0]), np.clip(places[:, 2], 0, last[1])
        return self.level[z, x]


def prepare(target: PickTarget, bench: Workbench, transfer: Transfer | None = None) -> Prepared:
    """Everything that the decision needs but the maps; ``transfer`` is a further radial gain of the templates."""
    beads = beads_of(target, bench)
    whitened, made_of = _whitened(target, bench, beads)
    search = likelihood_filter(
        target.voxel_size_angstrom, target.tilt_deg, dict(target.optics), dark=target.dark, transfer=transfer
    )
    models = [stored_model(bench.store, t.class_id, t.source, t.token, search) for t in bench.templates]
    wanted = list(models)
    if bench.picking.find_membranes:
        wanted.append(stored_model(bench.store, MEMBRANE, bilayer_template(), MEMBRANE, search))
    bench.store.annotate("models", {"description": "low-rank images of templates, for the multi-class decision"})
    missing = [model for model in wanted if not bench.store.is_complete(model.group, model.made_of)]
    bench.run([delayed(_make, pure=False)(model) for model in missing], f"{target.name} models")
    _make_maps(target, bench, whitened, made_of, wanted)
    membranes = None
    if bench.picking.find_membranes:
        task = delayed(_membranes, pure=False)(_map(target, bench.store, wanted[-1]), wanted[-1], target)
        (membranes,) = bench.run([task], f"{target.name} membranes")
    (level,) = bench.run([delayed(noise_level, pure=False)(whitened)], f"{target.name} noise")
    return Prepared(
        target=target,
        beads=beads,
        whitened=Levelled(inner=whitened, level=level),
        models=tuple(models),
        membranes=membranes,
        level=level,
    )


def candidate_places(
    prepared: Prepared, bench: Workbench, counts: Sequence[int], variable: str = "product"
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Voxels (n, 3) of the best local maxima of each template's map, and their products (n,)."""
    tasks = [
        delayed(_candidates, pure=False)(_map(prepared.target, bench.store, model, variable), model, count)
        for model, count in zip(prepared.models, counts, strict=True)
    ]
    return bench.run(tasks, f"{prepared.target.name} candidates")


def map_group(target: PickTarget, model: StoredModel) -> str:
    """Where the map of one template lies."""
    return f"{target.name}/likelihood/{model.source.template_id}"


def _map(target: PickTarget, store: Store, model: StoredModel, variable: str = "product") -> BlockSource:
    return store.source(map_group(target, model), variable)


def _whitened(target: PickTarget, bench: Workbench, beads: Blobs) -> tuple[BlockSource, str]:
    """The whitened tomogram, made unless the store has it, and its token."""
    group = f"{target.name}/whitened"
    record: dict[str, Any] = {
        "tomogram": target.token,
        "tilt_deg": target.tilt_deg,
        "beads": beads.index.tolist(),
        "schema_version": SCHEMA_VERSION,
    }
    made_of = token(record)
    spec = GroupSpec(
        kind=WHITENED_KIND, token=made_of, parameters=record, variables=(_variable("image", target.shape),)
    )
    # A later run may know other beads, or other tilts: what was whitened for them is of no use to it.
    stale = not bench.store.is_complete(group, made_of)
    if bench.store.prepare(group, spec, overwrite=stale):
        task = delayed(_write_whitened, pure=False)(bench.store, group, target, beads.index)
        bench.run([task], f"{target.name} whitening")
        bench.store.finish(group, {"voxel_size_angstrom": target.voxel_size_angstrom})
    return bench.store.source(group, "image"), made_of


def _make_maps(
    target: PickTarget, bench: Workbench, whitened: BlockSource, made_of: str, models: Sequence[StoredModel]
) -> None:
    """One task a tile of a template, for those tiles that the store lacks."""
    tasks: list[Delayed] = []
    begun: list[str] = []
    for model in models:
        attrs = bench.store.info(model.group)
        images = int(attrs["components"])
        every, parts = sample_distance(images), ops.map_tiles(target.shape, images)
        group = map_group(target, model)
        record: dict[str, Any] = {"whitened": made_of, "model": model.made_of, "tile": parts[0].shape, "maps": BOTH}
        if bench.store.is_complete(group, token(record)):
            continue  # made for decoys, which serves a run without them too
        names = BOTH if bench.picking.decoys and model.class_id != MEMBRANE else BOTH[:1]
        record["maps"] = names
        spec = GroupSpec(
            kind=MAP_KIND,
            token=token(record),
            parameters=record,
            variables=tuple(_variable(name, ops.map_shape(target.shape, every), every) for name in names),
            attrs={"every": every},
            blocks=len(parts),
        )
        stale = not _resumable(bench.store, group, token(record))
        for block in bench.store.prepare(group, spec, overwrite=stale):
            task = delayed(_write_products, pure=False)(
                bench.store, group, block, parts[block], whitened, model, decoys=len(names) > 1
            )
            tasks.append(task)
        begun.append(group)
    bench.run(tasks, f"{target.name} search")
    for group in begun:
        bench.store.finish(group)


def _resumable(store: Store, group: str, made_of: str) -> bool:
    """Whether what lies in a group is of this token, whole or begun."""
    return any(entry.path == group and entry.token == made_of for entry in store.groups())


def _variable(name: str, shape: tuple[int, int, int], every: int = 1) -> Variable:
    """Chunks of the same size in the tomogram whatever the samples' distance, so that tiles are whole ones."""
    chunks = tuple(min(n, CHUNK_VOXELS // every) for n in shape)
    return Variable(name=name, dims=("z", "y", "x"), shape=shape, dtype="float32", chunks=chunks)


def _write_whitened(store: Store, group: str, target: PickTarget, beads: npt.NDArray[np.int64]) -> None:
    store.write(group, "image", (0, 0, 0), ops.whitened_tomogram(target.image, target.tilt_deg, beads))
    store.mark_done(group, 0)


def _write_products(
    store: Store, group: str, block: int, tile: Tile, whitened: BlockSource, handle: StoredModel, *, decoys: bool
) -> None:
    model = handle.load()
    found, opposite = ops.best_products(whitened, tile, model, decoys=decoys)
    at = tuple(start // model.every for start in tile.start)
    store.write(group, "product", at, found)
    if opposite is not None:
        store.write(group, "negative", at, opposite)
    store.mark_done(group, block)


def _make(handle: StoredModel) -> None:
    handle.make()


def _candidates(
    products: BlockSource, handle: StoredModel, count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    return ops.candidates_of(products, handle.load(), count)


def _membranes(products: BlockSource, handle: StoredModel, target: PickTarget) -> npt.NDArray[np.bool_]:
    every = handle.load().every
    return membrane_regions(products.read(_EVERYTHING), target.voxel_size_angstrom, target.shape, every)
