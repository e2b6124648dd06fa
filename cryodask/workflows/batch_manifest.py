"""What a batch is about: one entry a tomogram, from a CSV, YAML or STAR file."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryodask.errors import ConfigError, DataError
from cryodask.io.alignments.relion import read_tomograms
from cryodask.io.star_blocks import read_blocks
from cryodask.io.store import Store
from cryodask.io.store_spec import check_name
from cryodask.params.text import parse_yaml, read_limited
from cryodask.workflows import layout
from cryodask.workflows.mrc_inputs import MRC_SUFFIXES
from cryodask.workflows.search_inputs import is_store

STAGES = ("reconstruct", "match", "evaluate")
"""In the order in which a tomogram goes through them."""

MAX_BYTES = 64 * 2**20
"""Of a manifest; a hundred thousand tomograms need a tenth of it."""

ALIGNMENT_FILES = ("xf", "xtilt", "tilt_com", "aln", "mdoc", "warp")
ALIGNMENT_NUMBERS = ("tilt_axis_deg", "x_tilt_deg", "angle_offset_deg")
"""Columns for the images of a microscope, as the options of ``reconstruct`` are called."""

PATHS = ("tilt_series", "tomogram", "tilt_angles", "truth")
NUMBERS = ("voxel_size_angstrom",)
COLUMNS = ("name", "stages", "model", *PATHS, *NUMBERS, *ALIGNMENT_FILES, *ALIGNMENT_NUMBERS)

RELION = {"rlnTomoName": "name", "rlnTomoReconstructedTomogram": "tomogram", "rlnTomoReconstructedTomogramDenoised": ""}
"""Columns of RELION's tables of tomograms that mean one of ours; its others are passed over."""

Row = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One tomogram of a batch: where it starts from and the stages it goes through. Paths are absolute."""

    name: str
    stages: tuple[str, ...]
    tilt_series: str | None = None
    """Data set with the tilt series ``model``; or a stack, XML or tomograms.star, as ``reconstruct`` takes them."""
    tomogram: str | None = None
    """MRC file, or data set that holds the tomogram of ``model``."""
    model: str | None = None
    voxel_size_angstrom: float | None = None
    """Of the tomogram, or of the images of a stack."""
    tilt_angles: str | None = None
    alignment: Mapping[str, str | float] = field(default_factory=dict)
    """Files and numbers that say how a stack is aligned, by column."""
    truth: str | None = None
    """Data set or SHREC folder to score against; None takes the data set that the tomogram came from."""

    def __post_init__(self) -> None:
        if (self.tilt_series is None) == (self.tomogram is None):
            raise ConfigError(f"{self.name}: give either a tilt_series or a tomogram")
        unknown = [stage for stage in self.stages if stage not in STAGES]
        if unknown or not self.stages:
            raise ConfigError(f"{self.name}: stages {' '.join(self.stages)!r}: choose among {', '.join(STAGES)}")
        object.__setattr__(self, "stages", tuple(stage for stage in STAGES if stage in self.stages))
        if "reconstruct" in self.stages and self.tilt_series is None:
            raise ConfigError(f"{self.name}: a tomogram needs no reconstruction; give a tilt_series, or stages: match")
        if "match" in self.stages and self.tomogram is None and "reconstruct" not in self.stages:
            raise ConfigError(f"{self.name}: there is no tomogram to match without the stage reconstruct")
        if "evaluate" in self.stages and "match" not in self.stages:
            raise ConfigError(f"{self.name}: there is nothing to evaluate without the stage match")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``from_dict`` takes them back."""
        return {**asdict(self), "stages": list(self.stages)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Entry:
        """An entry that ``to_dict`` wrote."""
        return cls(**{**values, "stages": tuple(values["stages"])})


def read_manifest(path: Path, *, stages: Sequence[str] | None = None) -> tuple[Entry, ...]:
    """The entries of a manifest (.csv, .yaml, .yml or .star); relative paths start from the manifest's folder.

    ``stages`` hold for entries that name none; None means all that apply (evaluate must be asked for). A data set
    without a ``model`` stands for all of its models. Raises ConfigError naming file, entry, value and remedy; whether
    the inputs can be read shows when their turn comes.
    """
    text = read_limited(path, "manifest", MAX_BYTES, missing=DataError)
    readers = {".csv": _csv_rows, ".yaml": _yaml_rows, ".yml": _yaml_rows, ".star": _star_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: a manifest ends in .csv, .yaml, .yml or .star")
    rows = list(reader(text, path))
    if not rows:
        raise ConfigError(f"{path} lists no tomograms")
    return make_entries(rows, source=str(path), folder=path.parent.absolute(), stages=stages)


def make_entries(
    rows: Sequence[tuple[str, Row]], *, source: str, folder: Path, stages: Sequence[str] | None
) -> tuple[Entry, ...]:
    """Entries of rows, each with the place where it stands; ``source`` names the whole in messages."""
    entries: list[Entry] = []
    for where, row in rows:
        entries += _entries_of(where, row, folder, stages)
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        entries = [entry if names.count(entry.name) == 1 else _with_stem(entry) for entry in entries]
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise ConfigError(f"{source}: several tomograms are called {entry.name!r}; give them names")
        seen.add(entry.name)
    return tuple(entries)


def _with_stem(entry: Entry) -> Entry:
    """Every data set has a model_000: its file's name tells them apart."""
    start = entry.tilt_series or entry.tomogram
    if entry.model is None or entry.name != entry.model or start is None:
        return entry
    return Entry(**{**asdict(entry), "name": f"{Path(start).stem}_{entry.model}"})


def _entries_of(where: str, row: Row, folder: Path, stages: Sequence[str] | None) -> list[Entry]:
    values = {key: value for key, value in row.items() if value not in (None, "")}
    for key in values:
        if key not in COLUMNS:
            near = difflib.get_close_matches(key, COLUMNS, n=1)
            hint = f"did you mean {near[0]}?" if near else "known are " + ", ".join(COLUMNS)
            raise ConfigError(f"{where}: unknown column {key!r}; {hint}")
    paths = {key: str(folder / str(values[key])) for key in PATHS if key in values}
    start = paths.get("tilt_series") or paths.get("tomogram")
    if start is None:
        raise ConfigError(f"{where}: neither a tilt_series nor a tomogram is given")
    chosen = _stages(where, values.get("stages"), stages, "tilt_series" in paths)
    voxel = _number(where, "voxel_size_angstrom", values.get("voxel_size_angstrom"))
    alignment: dict[str, str | float] = {
        key: str(folder / str(values[key])) for key in ALIGNMENT_FILES if key in values
    }
    for key in ALIGNMENT_NUMBERS:
        if (number := _number(where, key, values.get(key))) is not None:
            alignment[key] = number
    if alignment and (is_store(Path(start)) or "tilt_series" not in paths):
        raise ConfigError(
            f"{where}: {next(iter(alignment))} belongs to the images of a microscope, which {start} is not"
        )
    models: Sequence[str | None] = [str(values["model"])] if "model" in values else _models(Path(start), paths)
    names = [str(values["name"])] if "name" in values else []
    if len(names) == len(models) == 1:
        pass
    elif names:
        names = [f"{names[0]}_{model}" for model in models]
    else:
        names = [model or _stem(Path(start)) for model in models]
    try:
        return [
            Entry(
                name=check_name(_flat(name)),
                stages=chosen,
                model=model,
                voxel_size_angstrom=voxel,
                alignment=alignment,
                **paths,
            )
            for name, model in zip(names, models, strict=True)
        ]
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _flat(name: str) -> str:
    if "/" in name:
        raise ConfigError(f"{name!r} cannot name a tomogram: it names a folder of the run, without '/'")
    return name


def _models(start: Path, paths: Mapping[str, str]) -> Sequence[str | None]:
    """The models of a data set, or None for a file; what is not there yet shows when its turn comes."""
    if start.suffix.lower() == ".star" and start.is_file():
        return [tomogram.name for tomogram in read_tomograms(start)]
    if not is_store(start):
        return [None]
    try:
        return layout.models_with(Store(start), "tilt_series" if "tilt_series" in paths else "tomogram/scale0")
    except DataError as error:
        raise ConfigError(str(error)) from error


def _stem(path: Path) -> str:
    name = path.name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".zarr")
    for suffix in (*MRC_SUFFIXES, ".st", ".xml"):
        name = name.removesuffix(suffix)
    return name


def _stages(where: str, value: object, default: Sequence[str] | None, has_series: bool) -> tuple[str, ...]:
    if value is None:
        chosen = list(default or ("reconstruct", "match"))
        return tuple(stage for stage in chosen if has_series or stage != "reconstruct")
    words = value if isinstance(value, list) else str(value).replace(",", " ").replace("+", " ").split()
    unknown = [word for word in words if word not in STAGES]
    if unknown:
        raise ConfigError(f"{where}: unknown stage {unknown[0]!r}; choose among {', '.join(STAGES)}")
    return tuple(words)


def _number(where: str, column: str, value: object) -> float | None:
    if value is None:
        return None
    try:
        return float(str(value))
    except ValueError:
        raise ConfigError(f"{where}: {column} {value!r} is no number") from None


# -- formats -------------------------------------------------------------------------------------------------------


def _csv_rows(text: str, path: Path) -> Iterable[tuple[str, Row]]:
    reader = csv.reader(text.splitlines(), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            row = [cell.strip() for cell in cells]
            if not any(row) or row[0].startswith("#"):
                continue
            if header is None:
                header = row
                if len(set(header)) < len(header):
                    raise ConfigError(f"{where}: a column appears twice in {','.join(header)}")
            elif len(row) != len(header):
                raise ConfigError(f"{where}: {len(row)} values for the {len(header)} columns {','.join(header)}")
            else:
                yield where, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from None


def _yaml_rows(text: str, path: Path) -> Iterable[tuple[str, Row]]:
    value = parse_yaml(text, str(path))
    if isinstance(value, dict) and set(value) <= {"defaults", "tomograms"}:
        defaults, rows = value.get("defaults") or {}, value.get("tomograms") or []
    else:
        defaults, rows = {}, value
    if not isinstance(rows, list) or not isinstance(defaults, dict):
        raise ConfigError(f"{path}: expected a list of tomograms, or the sections defaults and tomograms")
    for number, row in enumerate(rows, start=1):
        where = f"{path}, tomogram {number}"
        if not isinstance(row, dict):
            raise ConfigError(f"{where}: expected keys and values such as tilt_series: data.zarr, found {row!r}")
        yield where, {**defaults, **row}


def _star_rows(text: str, path: Path) -> Iterable[tuple[str, Row]]:
    blocks = [block for block in read_blocks(text, path) if {*block.columns} & {*COLUMNS, *RELION}]
    for block in blocks:
        for line, cells in zip(block.lines, block.rows, strict=True):
            row = dict(zip(block.columns, cells, strict=True))
            own = {RELION.get(key, key): value for key, value in row.items() if not _is_foreign(key)}
            scale = _relion_voxel_size(row)
            if not {"tomogram", "tilt_series"} & set(own) and "rlnTomoTiltSeriesStarFile" in row:
                own |= {"tilt_series": path.name, "model": row["rlnTomoName"]}
            elif scale is not None:
                own.setdefault("voxel_size_angstrom", scale)
            yield f"{path}, line {line}", own


def _is_foreign(column: str) -> bool:
    return column.startswith(("rln", "wrp")) and not RELION.get(column)


def _relion_voxel_size(row: Mapping[str, str]) -> str | None:
    """RELION gives the size of an unbinned pixel, and how much the tomogram is binned."""
    pixel, binning = row.get("rlnTomoTiltSeriesPixelSize"), row.get("rlnTomoTomogramBinning")
    try:
        return None if pixel is None or binning is None else repr(float(pixel) * float(binning))
    except ValueError:
        return None
