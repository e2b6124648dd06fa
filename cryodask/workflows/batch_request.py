"""What a user asked of a batch, as it is kept in the run's folder so that ``retry`` needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client

from cryodask.errors import DataError
from cryodask.io.store import Store
from cryodask.model.progress import Progress
from cryodask.params.loader import load_parameters, to_dict
from cryodask.params.schema import RunParameters
from cryodask.workflows.batch_stages import BatchSettings
from cryodask.workflows.picks_folder import write_json
from cryodask.workflows.search_inputs import TemplateRequest, open_templates

REQUEST, TEMPLATES = "batch.json", "templates.zarr"


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """Options and parameters of a batch; the tomograms are in the journal."""

    parameters: RunParameters
    templates: tuple[str, ...] = ()
    """Paths or ``builtin``; nothing means the structures of each tomogram's own data set."""
    classes: tuple[str, ...] | None = None
    template_voxel_size_angstrom: float | None = None
    dark: bool = True
    mode: str = "strict"
    keep_maps: bool = True
    file_binning: int | None = None
    command: str = ""

    def write(self, folder: Path) -> None:
        """Keep the request in the run's folder."""
        values = {name: getattr(self, name) for name in _PLAIN}
        write_json(folder / REQUEST, {**values, "parameters": to_dict(self.parameters)})

    @classmethod
    def read(cls, folder: Path) -> BatchRequest:
        """The request of a run's folder; DataError if there is none."""
        path = folder / REQUEST
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            plain = {name: values[name] for name in _PLAIN}
            parameters = values["parameters"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder} is no folder of a batch: {path.name} is missing or damaged ({error})") from None
        for name in ("templates", "classes"):
            plain[name] = None if plain[name] is None else tuple(plain[name])
        return cls(parameters=_parameters(parameters), **plain)

    def settings(
        self,
        folder: Path,
        *,
        client: Client | None,
        progress: Progress,
        overwrite: bool = False,
        notice: Callable[[str], None],
    ) -> BatchSettings:
        """What the stages need; densities of templates are computed once, into the run's folder."""
        templates = None
        if self.templates:
            asked = TemplateRequest.parse(
                self.templates, self.classes, folder, voxel_size_angstrom=self.template_voxel_size_angstrom
            )
            for line in asked.notices:
                notice(line)
            templates = open_templates(asked, Store(folder / TEMPLATES), client=client, progress=progress)
        return BatchSettings(
            folder=str(folder.absolute()),
            parameters=self.parameters,
            templates=templates,
            dark=self.dark,
            mode=self.mode,
            keep_maps=self.keep_maps,
            file_binning=self.file_binning,
            overwrite=overwrite,
        )


_PLAIN = (
    "templates",
    "classes",
    "template_voxel_size_angstrom",
    "dark",
    "mode",
    "keep_maps",
    "file_binning",
    "command",
)


def _parameters(values: dict[str, Any]) -> RunParameters:
    overrides = [f"{name}={json.dumps(part)}" for name, part in values.items()]
    return load_parameters(RunParameters, overrides=overrides)
