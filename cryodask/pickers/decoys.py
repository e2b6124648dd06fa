"""How many picks of ``tm-c`` are false: the same decision on the negative of what the accepted particles leave.

The residual has the noise and whatever no template explains, but no particles; its negative has the same noise and
looks like none of the templates. Every pick there stands for a false pick of the same score among the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from dask.delayed import delayed

from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.model.source import BlockSource
from cryodask.ops.candidates import Candidates
from cryodask.ops.matching import CHUNK_VOXELS
from cryodask.ops.peeling import residual_volume
from cryodask.params.tokens import token
from cryodask.pickers.likelihood_maps import Prepared
from cryodask.pickers.likelihood_peel import Decision
from cryodask.pickers.protocol import PickTarget, Workbench
from cryodask.pickers.stored_models import StoredModel

RESIDUAL_KIND = "residual-tomogram"


@dataclass(frozen=True, kw_only=True)
class Negative:
    """A source with its sign changed."""

    inner: BlockSource

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return np.dtype(np.float32)

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        return -np.asarray(self.inner.read(region), dtype=np.float32)


def residual_of(prepared: Prepared, bench: Workbench, decision: Decision) -> BlockSource:
    """The whitened tomogram without the accepted particles, made and kept in the store."""
    target, group = prepared.target, f"{prepared.target.name}/residual"
    accepted = decision.accepted
    record = {
        "models": [model.made_of for model in prepared.models],
        "particles": len(accepted),
        "places": accepted.place.tolist(),
        "products": accepted.x.tolist(),
        "alpha": accepted.alpha.tolist(),
    }
    made_of = token(record)
    if not bench.store.is_complete(group, made_of):
        spec = GroupSpec(
            kind=RESIDUAL_KIND, token=made_of, parameters={"particles": len(accepted)}, variables=(_image(target),)
        )
        bench.store.prepare(group, spec, overwrite=True)
        task = delayed(_write_residual, pure=False)(bench.store, group, prepared.whitened, accepted, prepared.models)
        bench.run([task], f"{target.name} residual")
        bench.store.finish(group, {"voxel_size_angstrom": target.voxel_size_angstrom})
    return bench.store.source(group, "image")


def negative_of(prepared: Prepared, residual: BlockSource) -> Prepared:
    """The same tomogram with the residual's negative in the volume's place."""
    return replace(prepared, whitened=Negative(inner=residual))


def _image(target: PickTarget) -> Variable:
    chunks = tuple(min(n, CHUNK_VOXELS) for n in target.shape)
    return Variable(name="image", dims=("z", "y", "x"), shape=target.shape, dtype="float32", chunks=chunks)


def _write_residual(
    store: Store,
    group: str,
    whitened: BlockSource,
    accepted: Candidates,
    handles: tuple[StoredModel, ...],
) -> None:
    models = [handle.load() for handle in handles]
    store.write(group, "image", (0, 0, 0), residual_volume(whitened, accepted, models))
    store.mark_done(group, 0)
