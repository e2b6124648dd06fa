"""What one tomogram of a batch goes through: each stage is the command of the same name, in the tomogram's folder."""

from __future__ import annotations

import fcntl
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distributed import Client

from cryodask.errors import ClusterError, CryodaskError, DataError, NotInStoreError
from cryodask.io.atomic import disk_is_full
from cryodask.io.pick_files import read_picks
from cryodask.io.scratch import scratch_folder
from cryodask.io.store import Store
from cryodask.io.store_spec import SCHEMA_VERSION
from cryodask.model.progress import NullProgress, Progress
from cryodask.params.loader import to_dict
from cryodask.params.schema import RunParameters
from cryodask.params.tokens import token
from cryodask.workflows import layout
from cryodask.workflows.batch_manifest import ALIGNMENT_FILES, Entry
from cryodask.workflows.evaluate import evaluate, read_truths, truth_of_model
from cryodask.workflows.match import MatchJob, match
from cryodask.workflows.mrc_inputs import read_tilt_angles
from cryodask.workflows.picks_folder import PICKS_FILE, make_folder, write_json, write_picks
from cryodask.workflows.reconstruct import ReconstructJob, reconstruct_into_store
from cryodask.workflows.reconstruct_files import open_series
from cryodask.workflows.search_inputs import (
    NamedTemplate,
    SearchInput,
    is_store,
    require_room,
    templates_of_store,
    tomogram_of_mrc,
    tomogram_of_store,
)
from cryodask.workflows.series import series_of_store
from cryodask.workflows.stack_inputs import StackOptions

TOMOGRAMS, DATA, PICKS, MAPS, EVALUATION = "tomograms", "data.zarr", "picks", "maps.zarr", "evaluation.json"


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What the stages of all tomograms have in common. Travels to the workers: paths and numbers, no arrays."""

    folder: str
    """The run's folder, visible to all workers."""
    parameters: RunParameters
    templates: tuple[NamedTemplate, ...] | None = None
    """None takes the structures of each tomogram's own data set."""
    dark: bool = True
    mode: str = "strict"
    """Of evaluations."""
    file_binning: int | None = None
    """Of tilt series that are files, in place of the parameters' own; None leaves it to them."""
    keep_maps: bool = True
    """Whether score maps stay after the picks are written."""
    overwrite: bool = False

    def folder_of(self, entry: Entry) -> Path:
        """Where everything of one tomogram goes."""
        return Path(self.folder, TOMOGRAMS, entry.name)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one stage of one tomogram."""

    name: str
    stage: str
    token: str
    """Of everything known to decide the result before the stage ran; see ``fingerprints``."""
    reason: str | None = None
    """Why it failed; None if it did not."""
    exit_code: int = 0
    disk_full: bool = False
    """The fault is not the tomogram's: nothing can be written any more."""
    seconds: float = 0.0
    host: str = ""
    numbers: dict[str, Any] | None = None
    """What a summary shows of the result."""


Stage = Callable[[Entry, BatchSettings, Client | None, Progress], dict[str, Any]]


def fingerprints(entry: Entry, settings: BatchSettings) -> dict[str, str]:
    """Of each stage of ``entry``, a token that is quick to make: input files by size and time, groups by token.

    It decides whether a stage that was done has to be looked at again. What has to be computed again then, the stores
    decide by the tokens of contents.
    """
    parameters = settings.parameters
    templates = settings.templates
    own: dict[str, dict[str, object]] = {
        "reconstruct": {
            "reconstruction": to_dict(parameters.reconstruction),
            "file_binning": settings.file_binning,
            "alignment": {
                name: _identity(str(value), None) if name in ALIGNMENT_FILES else value
                for name, value in entry.alignment.items()
            },
            "tilt_angles": _identity(entry.tilt_angles, None),
            "voxel_size_angstrom": entry.voxel_size_angstrom,
        },
        "match": {
            "matching": to_dict(parameters.matching),
            "templates": None if templates is None else [[t.source.template_id, t.token] for t in templates],
            "dark": settings.dark,
            "tilt_angles": _identity(entry.tilt_angles, None),
            "voxel_size_angstrom": entry.voxel_size_angstrom,
        },
        "evaluate": {"mode": settings.mode, "truth": _identity(entry.truth, None)},
    }
    before = token({"input": _identity(entry.tilt_series or entry.tomogram, entry), "schema": SCHEMA_VERSION})
    found = {}
    for stage in entry.stages:
        before = found[stage] = token({"before": before, "stage": stage, **own[stage]})
    return found


def _identity(path: str | None, entry: Entry | None) -> object:
    if path is None:
        return None
    try:
        if entry is not None and entry.model is not None and is_store(Path(path)):
            part = layout.tilt_series_group if entry.tilt_series is not None else layout.tomogram_group
            return [path, Store(path).token(part(entry.model))]
        status = Path(path).stat()
    except (OSError, CryodaskError):
        return [path, None]  # the stage itself says what is wrong with it
    return [path, status.st_size, status.st_mtime_ns]


def run_step(entry: Entry, stage: str, token: str, settings: BatchSettings, before: Outcome | None = None) -> Outcome:
    """One stage of one tomogram, as a task on a worker or in this process; an Outcome whatever happens.

    ``before`` is the outcome of the stage before it: a failure is passed on, and nothing is done.
    """
    return run_stage(entry, stage, token, settings, before, client=None, progress=NullProgress())


def run_stage(
    entry: Entry,
    stage: str,
    token: str,
    settings: BatchSettings,
    before: Outcome | None,
    *,
    client: Client | None,
    progress: Progress,
) -> Outcome:
    """``run_step``, with the work of the stage itself spread over ``client``'s workers where there is one."""
    if before is not None and before.reason is not None:
        return before
    started = time.perf_counter()
    made = Outcome(name=entry.name, stage=stage, token=token, host=socket.gethostname())
    try:
        folder = settings.folder_of(entry)
        make_folder(folder)
        with _alone(folder):
            numbers = _STAGES[stage](entry, settings, client, progress)
    except ClusterError:
        raise  # nobody's fault here, and the end of the whole run
    except CryodaskError as error:
        return replace(made, reason=str(error), exit_code=error.exit_code, disk_full=disk_is_full(error))
    except Exception as error:  # noqa: BLE001  (one tomogram's fault, whatever it is, must not end the others' work)
        text = " ".join(str(error).split())
        return replace(made, reason=f"{type(error).__name__}: {text}", exit_code=1, disk_full=disk_is_full(error))
    return replace(made, seconds=time.perf_counter() - started, numbers=numbers)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for whoever works in ``folder`` still: the task of a client that is gone runs to its end.

    File systems without locks are taken as they are. Two at once would compute the same bits, but each might sweep
    away a file that the other is about to move into place.
    """
    with (folder / ".lock").open("a") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _reconstruct(entry: Entry, settings: BatchSettings, client: Client | None, progress: Progress) -> dict[str, Any]:
    output, parameters = Store(settings.folder_of(entry) / DATA), settings.parameters.reconstruction
    path = Path(str(entry.tilt_series))
    output.create()
    with ExitStack() as stack:
        if is_store(path):
            series = series_of_store(Store(path), _model(entry), "counts")
        else:
            if settings.file_binning is not None:
                parameters = replace(parameters, binning=settings.file_binning)
            scratch = stack.enter_context(scratch_folder(Path(output.path)))
            names = () if entry.model is None else (entry.model,)
            ((series, _),) = open_series(path, _stack_options(entry), names, scratch)
        reconstruct_into_store(
            replace(series, name=entry.name),
            output,
            ReconstructJob(parameters=parameters),
            client=client,
            progress=progress,
            overwrite=settings.overwrite,
        )
    return {"shape": list(tomogram_of_store(output, entry.name).shape)}


def _stack_options(entry: Entry) -> StackOptions:
    values: dict[str, Any] = {
        name: Path(str(value)) if name in ALIGNMENT_FILES else value for name, value in entry.alignment.items()
    }
    angles = None if entry.tilt_angles is None else Path(entry.tilt_angles)
    return StackOptions(tilt_angles=angles, pixel_size_angstrom=entry.voxel_size_angstrom, **values)


def _match(entry: Entry, settings: BatchSettings, client: Client | None, progress: Progress) -> dict[str, Any]:
    folder = settings.folder_of(entry) / PICKS
    tomogram = _tomogram(entry, settings)
    templates = settings.templates
    if templates is None:
        templates = tuple(templates_of_store(_input_store(entry, entry.tilt_series or entry.tomogram)))
    require_room([tomogram], templates)
    job = MatchJob(
        tomograms=(tomogram,), templates=templates, parameters=settings.parameters.matching, dark=settings.dark
    )
    make_folder(folder)
    result = match(Store(folder / MAPS), job, client=client, progress=progress, overwrite=settings.overwrite)
    write_picks(folder, job, result)
    if not settings.keep_maps:
        shutil.rmtree(folder / MAPS, ignore_errors=True)
    return {"picks": int(result.record["picks"])}


def _evaluate(entry: Entry, settings: BatchSettings, client: Client | None, progress: Progress) -> dict[str, Any]:
    folder = settings.folder_of(entry)
    if entry.truth is not None and not is_store(Path(entry.truth)):
        (truth,) = read_truths(Path(entry.truth))
    else:
        truth = truth_of_model(_input_store(entry, entry.truth or entry.tilt_series or entry.tomogram), _model(entry))
    picks = read_picks(folder / PICKS / PICKS_FILE, shape=truth.shape, voxel_size_angstrom=truth.voxel_size_angstrom)
    named = replace(truth, name=entry.name)
    result = evaluate([named], picks, settings.mode, client=client, progress=progress)
    write_json(folder / EVALUATION, result)
    return {"F1": result["localization"]["F1"], "macro_f1": result["classification"]["macro_f1"]}


_STAGES: dict[str, Stage] = {"reconstruct": _reconstruct, "match": _match, "evaluate": _evaluate}


def _tomogram(entry: Entry, settings: BatchSettings) -> SearchInput:
    """The tomogram under the entry's name: every data set has a model_000."""
    if entry.tilt_series is not None:
        found = tomogram_of_store(Store(settings.folder_of(entry) / DATA), entry.name)
    elif is_store(Path(str(entry.tomogram))):
        found = tomogram_of_store(Store(str(entry.tomogram)), _model(entry))
    else:
        voxel = entry.voxel_size_angstrom
        tilts = None if entry.tilt_angles is None else read_tilt_angles(Path(entry.tilt_angles))
        found = tomogram_of_mrc(Path(str(entry.tomogram)), voxel_size_angstrom=voxel, tilt_deg=tilts)
    return replace(found, name=entry.name)


def _input_store(entry: Entry, path: str | None) -> Store:
    if path is None or not is_store(Path(path)):
        raise NotInStoreError(f"{entry.name}: {path} is no data set of cryodask; make one, or give another input")
    return Store(path)


def _model(entry: Entry) -> str:
    """The entry's model, or the only one of a data set that was not there yet when the manifest was read."""
    if entry.model is not None:
        return entry.model
    part = "tilt_series" if entry.tilt_series is not None else "tomogram/scale0"
    store = _input_store(entry, entry.tilt_series or entry.tomogram)
    models = layout.models_with(store, part)
    if len(models) > 1:
        raise DataError(f"{entry.name}: {store.path} holds {len(models)} models; say which in the column model")
    return models[0]
