"""The data set store: one Zarr v3 hierarchy, and the only code of the project that writes to it.

A group is made in three steps: one process lays its skeleton (``prepare``), any number of processes write blocks and
record each (``write``, ``mark_done``), one process closes it (``finish``). A process may be killed at any of them:
what is recorded as done is on disk, and the next ``prepare`` with the same token returns the rest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from cryodask._version import __version__
from cryodask.errors import ConfigError, NotInStoreError, StoreError
from cryodask.io.store_layout import (
    METADATA,
    attributes,
    create_array,
    create_group,
    create_whole,
    metadata,
    reasons,
    record_of,
)
from cryodask.io.store_source import StoredArray, open_array, read_region, unit_of_writing
from cryodask.io.store_spec import (
    COMPLETED,
    RECORD,
    SCHEMA_VERSION,
    Coordinate,
    GroupSpec,
    Variable,
    as_json,
    check_name,
    differences,
)

__all__ = ["SCHEMA_VERSION", "GroupEntry", "GroupSpec", "Store", "Variable"]

_DIFFERENCES_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class GroupEntry:
    """One line of a store's table of contents."""

    path: str
    kind: str
    token: str
    complete: bool


@dataclass(frozen=True)
class Store:
    """A data set on a file system. Holds only the path, so that it travels to workers at no cost."""

    path: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # Workers may run in another folder.
        object.__setattr__(self, "path", str(Path(path).absolute()))

    # -- the store as a whole ------------------------------------------------------------------------------------

    def create(self, *, exist_ok: bool = True) -> Store:
        """Make an empty store, or accept the one that is there; returns the store itself.

        Raises StoreError if the path holds something else, a store of another schema version, or (without
        ``exist_ok``) any store at all.
        """
        root = Path(self.path)
        if (root / METADATA).exists():
            self.check()
            if not exist_ok:
                raise StoreError(f"{self.path} is a data set already: choose another output, or remove it first")
            return self
        leftovers = root.exists() and (not root.is_dir() or any(f.suffix != ".partial" for f in root.iterdir()))
        if leftovers:
            raise StoreError(f"{self.path} exists and is not a data set: choose another output")
        with reasons(f"cannot create the data set {self.path}"):
            record = {"kind": "data-set", "schema_version": SCHEMA_VERSION, "software_version": __version__}
            zarr.create_group(self.path, zarr_format=3, attributes={RECORD: record})
        return self

    def check(self) -> None:
        """Raise NotInStoreError if there is no store at the path, StoreError if this version cannot read it."""
        root = Path(self.path)
        if not root.exists():
            raise NotInStoreError(f"there is no data set at {self.path}")
        record = attributes(root).get(RECORD) if (root / METADATA).exists() else None
        if not isinstance(record, dict) or record.get("kind") != "data-set":
            raise StoreError(f"{self.path} is not a data set of cryodask: give the folder that `-o` named")
        version = record.get("schema_version")
        if version != SCHEMA_VERSION:
            newer = isinstance(version, int) and version > SCHEMA_VERSION
            remedy = "install a newer cryodask" if newer else "make the data set again, or use that older cryodask"
            raise StoreError(
                f"{self.path} has schema version {version} (cryodask {record.get('software_version')}), "
                f"this cryodask {__version__} reads version {SCHEMA_VERSION}: {remedy}"
            )

    def groups(self) -> list[GroupEntry]:
        """All groups with data, sorted by path."""
        self.check()
        entries = []
        for folder, names, files in os.walk(self.path):
            names[:] = [name for name in names if not name.startswith(".")]
            if METADATA not in files:
                names.clear()
                continue
            found = metadata(Path(folder))
            if found.get("node_type") != "group":
                names.clear()
                continue
            record = found.get("attributes", {}).get(RECORD, {})
            if "token" in record:
                path = Path(folder).relative_to(self.path).as_posix()
                complete = bool(record.get("complete"))
                entries.append(GroupEntry(path=path, kind=record["kind"], token=record["token"], complete=complete))
        return sorted(entries, key=lambda entry: entry.path)

    # -- what is known of a group --------------------------------------------------------------------------------

    def info(self, group: str) -> dict[str, Any]:
        """The attributes of ``group``; those under ``cryodask`` are the store's own record."""
        self.check()
        folder = self._folder(group)
        if not (folder / METADATA).exists():
            known = ", ".join(entry.path for entry in self.groups()) or "none"
            raise NotInStoreError(f"{self.path} has no group {group!r}; its groups: {known}")
        return attributes(folder)

    def _record(self, group: str) -> dict[str, Any]:
        record = self.info(group).get(RECORD)
        if not isinstance(record, dict) or "token" not in record:
            raise NotInStoreError(f"{group!r} in {self.path} holds other groups but no data of its own")
        return record

    def parameters(self, group: str) -> dict[str, Any]:
        """The parameters that ``group`` was made with."""
        parameters: dict[str, Any] = self._record(group)["parameters"]
        return parameters

    def token(self, group: str) -> str:
        """The token of ``group``."""
        return str(self._record(group)["token"])

    def is_complete(self, group: str, token: str | None = None) -> bool:
        """Whether ``group`` is there and finished (and, if ``token`` is given, made from exactly that)."""
        if not (self._folder(group) / METADATA).exists():
            self.check()  # without looking for what else there is, as the message of an error would
            return False
        try:
            record = self._record(group)
        except NotInStoreError:
            return False
        return bool(record.get("complete")) and token in (None, record["token"])

    def pending(self, group: str) -> list[int]:
        """The blocks of ``group`` that are not recorded as done."""
        record = self._record(group)
        if record.get("complete"):
            return []
        path = self._folder(group) / COMPLETED
        label = f"{group}/{COMPLETED}"
        done = read_region(open_array(path, label), path, label, (slice(None),))
        return [int(block) for block in np.flatnonzero(done == 0)]

    # -- making a group ------------------------------------------------------------------------------------------

    def prepare(self, group: str, spec: GroupSpec, *, overwrite: bool = False) -> list[int]:
        """Lay the skeleton of ``group`` and return the blocks still to be made ([] when it is finished).

        One process calls this before any worker writes. A group with the same token is kept and resumed; one with
        another token is refused with the parameters that differ (StoreError). ``overwrite`` starts anew in any case.
        """
        self.check()
        parameters = as_json(spec.parameters)
        self._sweep(group)
        if not overwrite and self._keeps(group, spec.token, parameters):
            if self._record(group)["blocks"] != spec.blocks:
                raise StoreError(
                    f"{group!r} in {self.path} was made in {self._record(group)['blocks']} blocks, not {spec.blocks}, "
                    "under the same token: use --overwrite"
                )
            return self.pending(group)
        with self._replacement(group) as folder:
            record = record_of(spec.kind, spec.token, parameters, blocks=spec.blocks, complete=False)
            handle = create_group(folder, spec.attrs, spec.coordinates)
            for variable in spec.variables:
                create_array(handle, variable)
            one_each = Variable(name="blocks", dims=("block",), shape=(spec.blocks,), dtype="uint8", chunks=(1,))
            create_array(handle, one_each, name=COMPLETED)
            handle.update_attributes({RECORD: record})
        return list(range(spec.blocks))

    def write(self, group: str, variable: str, start: Sequence[int], block: npt.NDArray[Any]) -> None:
        """Write ``block`` at index ``start`` of a variable.

        The region must cover whole chunks (whole shards, where there are shards) except at the array's end: two
        writers of one file would lose data without a sign. StoreError otherwise, for another dtype, or a full disk.
        """
        label = f"{check_name(group)}/{check_name(variable)}"
        if variable == COMPLETED:
            raise StoreError(f"{label}: blocks are recorded with mark_done")
        array = open_array(self._folder(group) / variable, label, writable=True)
        if block.dtype != array.dtype:
            raise StoreError(f"{label} holds {array.dtype}, the block is {block.dtype}")
        if block.ndim != array.ndim or len(start) != array.ndim:
            raise StoreError(f"{label} has shape {array.shape}, the block {block.shape} at {tuple(start)} does not fit")
        unit = unit_of_writing(array)
        for axis, (first, count) in enumerate(zip(start, block.shape, strict=True)):
            last, size = first + count, array.shape[axis]
            if first < 0 or count < 1 or last > size or first % unit[axis] or (last % unit[axis] and last != size):
                raise StoreError(
                    f"{label}: [{first}, {last}) along axis {axis} is not made of whole chunks of {unit[axis]} "
                    f"within [0, {size}); choose blocks that are multiples of the chunk"
                )
        region = tuple(slice(first, first + count) for first, count in zip(start, block.shape, strict=True))
        with reasons(f"cannot write {label} in {self.path}"):
            array[region] = block

    def mark_done(self, group: str, block: int) -> None:
        """Record that all data of ``block`` are written; any worker may call it, also twice."""
        label = f"{check_name(group)}/{COMPLETED}"
        array = open_array(self._folder(group) / COMPLETED, label, writable=True)
        if not 0 <= block < array.shape[0]:
            raise StoreError(f"{group!r} has blocks 0 to {array.shape[0] - 1}, there is no block {block}")
        with reasons(f"cannot write {label} in {self.path}"):
            array[block : block + 1] = np.ones(1, dtype=np.uint8)

    def finish(self, group: str, attrs: Mapping[str, Any] | None = None) -> None:
        """Declare ``group`` complete, adding ``attrs``; StoreError while blocks are pending."""
        pending = self.pending(group)
        if pending:
            raise StoreError(f"{group!r} in {self.path} is not complete: {len(pending)} blocks are missing")
        with reasons(f"cannot finish {group!r} in {self.path}"):
            handle = zarr.open_group(str(self._folder(group)), mode="r+", zarr_format=3)
            handle.update_attributes({**(attrs or {}), RECORD: {**self._record(group), "complete": True}})

    def annotate(self, group: str, attrs: Mapping[str, Any]) -> None:
        """Set attributes of ``group``, which becomes a plain container of other groups if it is not there yet."""
        self.check()
        if RECORD in attrs:
            raise ConfigError(f"{group!r}: the attribute {RECORD!r} is the store's own")
        with reasons(f"cannot write the attributes of {group!r} in {self.path}"):
            self._make_parents(f"{group}/x")
            zarr.open_group(str(self._folder(group)), mode="r+", zarr_format=3).update_attributes(dict(attrs))

    # -- tables --------------------------------------------------------------------------------------------------

    def write_table(
        self,
        group: str,
        dataset: xr.Dataset,
        *,
        kind: str,
        token: str,
        parameters: Mapping[str, Any],
        overwrite: bool = False,
    ) -> None:
        """Write a small data set (a particle table) whole and complete; one with the same token is written again."""
        self.check()
        values = as_json(parameters)
        self._sweep(group)
        if not overwrite:
            self._keeps(group, token, values)
        columns: dict[str, Coordinate] = {
            str(name): (tuple(str(dim) for dim in column.dims), column.to_numpy(), column.attrs)
            for name, column in dataset.variables.items()
        }
        with self._replacement(group) as folder:
            names = {str(name) for name in dataset.coords}
            handle = create_group(folder, dataset.attrs, {name: columns[name] for name in columns if name in names})
            for name in columns:
                if name not in names:
                    create_whole(handle, name, columns[name])
            handle.update_attributes({RECORD: record_of(kind, token, values, blocks=1, complete=True)})

    def read_table(self, group: str) -> xr.Dataset:
        """What ``write_table`` wrote, in memory; strings have numpy's variable-length type."""
        self._check_complete(group, allow_incomplete=False)
        return self._dataset(group, lazy=False)

    # -- reading -------------------------------------------------------------------------------------------------

    def source(self, group: str, variable: str, *, allow_incomplete: bool = False) -> StoredArray:
        """A picklable source of blocks of one variable (see ``model.source.BlockSource``)."""
        self._check_complete(group, allow_incomplete)
        return self._source(group, variable)

    def open(self, group: str, *, allow_incomplete: bool = False) -> xr.Dataset:
        """The group as a lazy data set, one dask chunk a stored file; coordinates are read at once.

        StoreError for a group whose making was interrupted, unless ``allow_incomplete``: what is not written yet
        then reads as NaN (0 for integers).
        """
        self._check_complete(group, allow_incomplete)
        return self._dataset(group, lazy=True)

    def _dataset(self, group: str, *, lazy: bool) -> xr.Dataset:
        attrs = self.info(group)
        coordinates = str(attrs.pop("coordinates", "")).split()
        del attrs[RECORD]
        variables: dict[str, xr.Variable] = {}
        for folder in sorted(Path(self._folder(group)).iterdir()):
            name = folder.name
            if name == COMPLETED or not (folder / METADATA).exists():
                continue
            found = metadata(folder)
            if found.get("node_type") != "array":
                continue
            source = self._source(group, name)
            data: Any = _lazy(source) if lazy and name not in coordinates else source.read((slice(None),) * source.ndim)
            variables[name] = xr.Variable(found.get("dimension_names") or (), data, found.get("attributes"))
        coords = {name: variable for name, variable in variables.items() if name in coordinates}
        data_vars = {name: variable for name, variable in variables.items() if name not in coordinates}
        return xr.Dataset(data_vars, coords, attrs)

    def _check_complete(self, group: str, allow_incomplete: bool) -> None:
        if not allow_incomplete and not self._record(group).get("complete"):
            raise StoreError(
                f"{group!r} in {self.path} is not complete: {len(self.pending(group))} of its blocks are missing; "
                "run the command that makes it again, it continues where it stopped"
            )

    def _source(self, group: str, variable: str) -> StoredArray:
        folder = self._folder(group) / check_name(variable)
        label = f"{group}/{variable}"
        if not (folder / METADATA).exists():
            names = sorted(f.name for f in self._folder(group).iterdir() if f.is_dir() and f.name != COMPLETED)
            raise NotInStoreError(f"{group!r} in {self.path} has no variable {variable!r}; it has {', '.join(names)}")
        array = open_array(folder, label)
        written = bool(self._record(group).get("complete"))
        return StoredArray(path=str(folder), label=label, shape=array.shape, dtype=array.dtype, written=written)

    # -- making and replacing groups safely ----------------------------------------------------------------------

    def _folder(self, group: str) -> Path:
        return Path(self.path, check_name(group))

    def _keeps(self, group: str, token: str, parameters: dict[str, Any]) -> bool:
        """True if ``group`` exists with this token; StoreError if it exists with another or holds other groups."""
        if not self._folder(group).exists():
            return False
        record = self.info(group).get(RECORD, {}) if (self._folder(group) / METADATA).exists() else {}
        if "token" not in record:
            inner = [entry.path for entry in self.groups() if entry.path.startswith(f"{group}/")]
            if inner:
                raise StoreError(
                    f"{group!r} in {self.path} holds other groups ({', '.join(inner[:3])} ...) that would be lost: "
                    "use --overwrite, or another output"
                )
            return False
        if record["token"] == token:
            return True
        lines = list(differences(record["parameters"], parameters))
        shown = "".join(f"\n  {line}" for line in lines[:_DIFFERENCES_SHOWN])
        more = f"\n  and {len(lines) - _DIFFERENCES_SHOWN} more" if len(lines) > _DIFFERENCES_SHOWN else ""
        reason = f"with other parameters:{shown}{more}\n" if lines else "from other inputs or by another version. "
        raise StoreError(f"{group!r} in {self.path} was made {reason}Use --overwrite to replace it, or another output")

    def _partial(self, group: str, unique: str) -> str:
        return f".{group.replace('/', '~')}.{unique}.partial"

    def _sweep(self, group: str) -> None:
        """Remove what killed processes left of ``group``: unfinished chunk files, skeletons and replaced folders."""
        for folder in Path(self.path).glob(self._partial(group, "*")):
            shutil.rmtree(folder, ignore_errors=True)
        for file in self._folder(group).rglob("*.partial"):
            file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _replacement(self, group: str) -> Iterator[Path]:
        """A folder to build ``group`` in, which takes the group's place at the end.

        Built aside and moved, so that a reader or a killed process never sees half a skeleton; what it replaces is
        moved out of the way before it is deleted, so that half-deleted data never look like data.
        """
        new, old = (Path(self.path, self._partial(group, uuid.uuid4().hex)) for _ in range(2))
        try:
            with reasons(f"cannot write {group!r} in {self.path}"):
                yield new
                self._make_parents(group)
                if self._folder(group).exists():
                    self._folder(group).replace(old)
                new.replace(self._folder(group))
        finally:
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)

    def _make_parents(self, group: str) -> None:
        parts = check_name(group).split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = Path(self.path, *parts[:depth])
            if not (folder / METADATA).exists():
                zarr.open_group(str(folder), mode="a", zarr_format=3)


def _lazy(source: StoredArray) -> da.Array:
    unit = unit_of_writing(open_array(source.path, source.label))
    meta = np.empty((0,) * source.ndim, source.dtype)
    array: da.Array = da.from_array(source, chunks=unit, name=False, asarray=False, fancy=False, meta=meta)
    return array
