"""Which engine searches for each template, what that engine needs beforehand, and what its rotation ids count."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.delayed import delayed
from distributed import Client

from cryodask.errors import ConfigError
from cryodask.io.store import Store
from cryodask.io.store_spec import SCHEMA_VERSION
from cryodask.kernels.healpix import crowther_step_deg
from cryodask.kernels.low_rank_basis import HELD_OUT, TRAINING
from cryodask.kernels.rotations import rotation_set, without_symmetry_mates
from cryodask.model.progress import Progress
from cryodask.ops import matching as ops
from cryodask.ops.engines import EngineChoice, choose_engine
from cryodask.ops.low_rank import (
    COARSE_TOLERANCE,
    LARGEST_BASIS,
    LowRankSettings,
    fine_rotations,
    rotations_of,
    tile_edge,
)
from cryodask.ops.templates import SearchFilter, template_settings
from cryodask.params.schema import MatchingParameters
from cryodask.params.tokens import token
from cryodask.workflows.banks import bank_group, write_bank
from cryodask.workflows.execution import execute
from cryodask.workflows.search_inputs import NamedTemplate, SearchInput

Matrices = npt.NDArray[np.float64]

_log = logging.getLogger(__name__)


def low_rank_settings(parameters: MatchingParameters) -> LowRankSettings:
    """What of the parameters decides a low-rank search."""
    return LowRankSettings(
        angular_step_deg=parameters.angular_step_deg,
        coarse_step_deg=max(parameters.coarse_step_deg, parameters.angular_step_deg),
        tolerance=parameters.tolerance,
        keep=parameters.keep,
        seed=parameters.seed,
    )


def automatic_step_deg(templates: Sequence[NamedTemplate], parameters: MatchingParameters) -> float:
    """The angular step that the largest template needs at the search's resolution."""
    diameter = 2 * max(template.source.radius_angstrom for template in templates)
    return crowther_step_deg(parameters.low_pass_angstrom, diameter)


class Engines:
    """The engine of each template of a search, chosen by the first tomogram."""

    def __init__(
        self,
        templates: Sequence[NamedTemplate],
        first: SearchInput,
        parameters: MatchingParameters,
        matrices: Matrices | None,
    ) -> None:
        self.templates, self.parameters, self._first = templates, parameters, first
        self._own = matrices
        self._matrices = rotation_set(parameters.angular_step_deg) if matrices is None else matrices
        self._low_rank = low_rank_settings(parameters)
        self._rotations: dict[str, Matrices] = {}
        self._choices: dict[str, EngineChoice] = {}
        self._banks: dict[str, str] = {}
        for template in templates:
            name, source = template.source.template_id, template.source
            kept = without_symmetry_mates(self._matrices, source.symmetry)
            if source.mask is not None and parameters.engine == "low-rank":
                raise ConfigError(
                    f"the mask of {name} turns with it, which needs the engine fft: use --engine fft, or auto"
                )
            choice = choose_engine(
                "fft" if source.mask is not None else parameters.engine,
                radius_voxels=source.radius_angstrom / first.voxel_size_angstrom,
                shape=first.shape,
                tilt_deg=first.tilt_deg,
                rotations=len(kept),
                settings=self._low_rank,
                own_list=matrices is not None,
            )
            if source.mask is not None:
                choice = EngineChoice(engine="fft", reason="its mask turns with it")
            _log.info("%s: engine %s, %s", name, choice.engine, choice.reason)
            self._choices[name], self._rotations[name] = choice, kept

    def is_low_rank(self, name: str) -> bool:
        """Whether the low-rank engine searches for a template."""
        return self._choices[name].engine == "low-rank"

    def widest_list(self) -> Matrices:
        """The rotations that most templates are searched at: the fine list of the low-rank engine, if any uses it."""
        if self._own is None and any(map(self.is_low_rank, self._choices)):
            return fine_rotations(self._first.tilt_deg, self._low_rank)
        return self._matrices

    def count(self, name: str) -> int:
        """Rotations that one template is searched at."""
        return len(self.widest_list() if self.is_low_rank(name) else self._rotations[name])

    def rotations_in(self, tomogram: SearchInput, name: str) -> Matrices:
        """What the rotation ids of a template's map count."""
        if self.is_low_rank(name):
            return rotations_of(tomogram.tilt_deg, self._low_rank, self._own)
        return self._rotations[name]

    def record(self, template: NamedTemplate, tomogram: SearchInput) -> dict[str, Any]:
        """What decides the maps besides template and tomogram, by engine."""
        if not self.is_low_rank(template.source.template_id):
            record: dict[str, Any] = {"rotations_per_task": self.parameters.rotations_per_task}
            return record | self._own_record()
        radius_voxels = template.source.radius_angstrom / tomogram.voxel_size_angstrom
        return {
            "engine": "low-rank",
            **self._low_rank_record(),
            "tile_voxels": tile_edge(radius_voxels, ops.TILE_VOXELS),
        }

    def bank_token(self, template: NamedTemplate, search: SearchFilter) -> str:
        """Of the low-rank bank that a search of this template reads."""
        return token(self._bank_record(template, search))

    def _bank_record(self, template: NamedTemplate, search: SearchFilter) -> dict[str, Any]:
        """What decides a low-rank bank: the template, what it is filtered by, and how finely; not the tomogram."""
        return {
            "template": template.token,
            "radius_angstrom": template.source.radius_angstrom,
            "filter": {**asdict(search), "optics": dict(search.optics)},
            "template_sampling": template_settings(),
            **self._low_rank_record(),
            "schema_version": SCHEMA_VERSION,
        }

    def _low_rank_record(self) -> dict[str, Any]:
        return {
            "low_rank": asdict(self._low_rank),
            "training": [TRAINING, HELD_OUT],
            "coarse_tolerance": COARSE_TOLERANCE,
            "largest_basis": LARGEST_BASIS,
            **self._own_record(),
        }

    def _own_record(self) -> dict[str, Any]:
        if self._own is None:
            return {}
        return {"rotations": hashlib.sha256(self._own.astype("<f8").tobytes()).hexdigest()}

    def make_banks(
        self, maps: Store, search: SearchFilter, stage: str, client: Client | None, progress: Progress
    ) -> None:
        """Banks of the low-rank templates, those that the store does not have from another tomogram or run."""
        tasks = []
        for template in self.templates:
            name = template.source.template_id
            if not self.is_low_rank(name):
                continue
            record = self._bank_record(template, search)
            made_of = token(record)
            self._banks[name] = bank_group(made_of)
            if not maps.is_complete(bank_group(made_of), made_of):
                wanted = (maps, made_of, record, template.source, search, self._low_rank, self._own)
                tasks.append(delayed(write_bank, pure=False)(*wanted))
        if tasks:
            maps.annotate("banks", {"description": "low-rank bases of templates and coefficients of rotations"})
        execute(tasks, client=client, progress=progress, stage=stage)

    def records(self, maps: Store) -> dict[str, dict[str, Any]]:
        """For each template: engine, why, and of a low-rank one the sizes of its bases."""
        records = {}
        for name, choice in self._choices.items():
            records[name] = {"engine": choice.engine, "reason": choice.reason}
            if name in self._banks:
                attrs = maps.info(self._banks[name])
                known = ("components", "coarse_components", "residual")
                records[name] |= {key: attrs[key] for key in known}
        return records
