"""Models of templates in the store: trained once for a template and a filter, read once by each process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

import xarray as xr

from cryodask.io.store import Store
from cryodask.io.store_spec import SCHEMA_VERSION
from cryodask.kernels.flips import flipped
from cryodask.kernels.low_rank_basis import HELD_OUT, TRAINING, LowRankBasis
from cryodask.kernels.low_rank_search import Bank
from cryodask.ops import particle_models as ops
from cryodask.ops.templates import SearchFilter, TemplateSource, template_settings
from cryodask.params.tokens import token

KIND = "particle-model"

_LOADED: dict[tuple[str, str], ops.ParticleModel] = {}
_LOCK = Lock()
_MOST_LOADED = 64


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """A handle: small, picklable, and as good as the model itself."""

    class_id: str
    source: TemplateSource
    search: SearchFilter
    store: Store
    made_of: str
    """Token of everything that decides the model."""

    @property
    def group(self) -> str:
        return f"models/{self.made_of[:32]}"

    def load(self) -> ops.ParticleModel:
        """The model, read unless this process has it."""
        key = self.store.path, self.made_of
        with _LOCK:
            if key not in _LOADED:
                if len(_LOADED) >= _MOST_LOADED:
                    _LOADED.clear()
                _LOADED[key] = self._read()
            return _LOADED[key]

    def load_radius(self) -> float:
        """Radius of the ball with the volume of the particle's shape, in voxels."""
        return float(self.store.info(self.group)["equivalent_radius_voxels"])

    def load_kept_energy(self) -> float:
        """Share of the template's energy in its images."""
        return 1.0 - float(self.store.info(self.group)["residual_length"]) ** 2

    def make(self) -> None:
        """Train the model and write it, whole, unless it is there."""
        if self.store.is_complete(self.group, self.made_of):
            return
        model = ops.make_model(self.class_id, self.source, self.search, seed=0)
        basis = model.bank.basis
        dataset = xr.Dataset(
            {
                **basis.variables(),
                "coefficients": (("rotation", "image"), model.bank.coefficients),
                "coarse": (("coarse_rotation", "image"), model.coarse.coefficients),
                "length": (("rotation",), model.length),
                "matrices": (("rotation", "row", "column"), model.matrices[:: len(basis.flips.signs_zyx)]),
            },
            attrs={
                "template": self.source.template_id,
                "components": len(basis.kernels),
                "residual_length": float(basis.residual[-1]),
                "rotations": len(model.matrices),
                "equivalent_radius_voxels": model.equivalent_radius_voxels,
            },
        )
        record = {"template": self.source.template_id, "class": self.class_id}
        self.store.write_table(self.group, dataset, kind=KIND, token=self.made_of, parameters=record)

    def _read(self) -> ops.ParticleModel:
        found = self.store.read_table(self.group)
        values = {str(name): found[name].to_numpy() for name in found.variables}
        basis = LowRankBasis.of_variables(values)
        return ops.ParticleModel(
            class_id=self.class_id,
            template=ops.likelihood_template(self.source, self.search),
            bank=Bank(basis=basis, coefficients=values["coefficients"]),
            coarse=Bank(basis=basis, coefficients=values["coarse"]),
            length=values["length"],
            # The first flip is the identity.
            matrices=flipped(values["matrices"], basis.flips),
            equivalent_radius_voxels=float(found.attrs["equivalent_radius_voxels"]),
        )


def stored_model(
    store: Store, class_id: str, source: TemplateSource, template_token: str, search: SearchFilter
) -> StoredModel:
    """The handle of a template's model under a filter."""
    record: Mapping[str, Any] = {
        "template": template_token,
        "radius_angstrom": source.radius_angstrom,
        "filter": {**asdict(search), "optics": dict(search.optics)},
        "sampling": template_settings(),
        "training": [TRAINING, HELD_OUT],
        "rules": ops.model_settings(),
        "schema_version": SCHEMA_VERSION,
    }
    return StoredModel(class_id=class_id, source=source, search=search, store=store, made_of=token(record))
