"""Parameters from presets, files and ``path=value`` settings: each layer checked in full, the later one wins."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast, get_type_hints

from cryodask.errors import ConfigError
from cryodask.params.bounds import BOUNDS, IN_ORDER
from cryodask.params.schema import RunParameters
from cryodask.params.text import parse_yaml, read_mapping
from cryodask.params.values import Target, coerce

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


class Described(NamedTuple):
    """One parameter of an instance, for tables and messages."""

    path: str
    value: object
    unit: str


class _Setting(NamedTuple):
    value: Any
    source: str


def load_parameters(
    cls: type[T],
    *,
    preset: str | None = None,
    config: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> T:
    """``cls`` with its defaults changed by a preset, then a file, then ``"path=value"`` settings.

    ``cls`` is a parameter class of ``cryodask.params.schema``; of a preset, the part for ``cls`` is taken. ``config``
    is a .yaml, .yml or .toml file; values of ``overrides`` are YAML (``"sample.gold_count=[7, 14]"``). Paths are
    relative to ``cls``. Raises ConfigError naming source, path, value and what was expected.
    """
    settings: dict[str, _Setting] = {}
    if preset is not None:
        settings |= _preset_settings(cls, preset)
    if config is not None:
        settings |= _layer(cls, read_mapping(Path(config)), str(config))
    for override in overrides:
        settings |= _override(cls, override)
    return _build(cls, settings, "")


def changed(parameters: T, source: str = "option", /, **values: object) -> T:
    """``parameters`` with these fields set and checked as ``load_parameters`` does; None leaves a field as it is.

    ``source`` is what messages call the values' origin.
    """
    current = to_dict(cast(Any, parameters))
    settings = {**current, **{name: value for name, value in values.items() if value is not None}}
    layer = _layer(type(parameters), settings, source)
    return _build(type(parameters), layer, "")


def preset_names() -> tuple[str, ...]:
    """Names that ``load_parameters(preset=...)`` takes, sorted."""
    names = (entry.name for entry in _preset_folder().iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def to_dict(parameters: DataclassInstance) -> dict[str, Any]:
    """Nested plain values (lists for tuples) that JSON, YAML and the loader take back unchanged."""
    return asdict(parameters, dict_factory=lambda pairs: {name: _plain(value) for name, value in pairs})


def describe(parameters: object) -> list[Described]:
    """Every parameter with its dotted path, value and unit ("" where it has none), in the order of the schema."""
    return [
        Described(path, _follow(parameters, path), bound.unit if (bound := BOUNDS.get(key)) else "")
        for path, key, _ in _leaves(type(parameters))
    ]


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _follow(instance: object, path: str) -> object:
    for name in path.split("."):
        instance = getattr(instance, name)
    return instance


def _leaves(cls: type[Any], prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """(dotted path, "Class.field", type) of every parameter below ``cls``."""
    for name, annotation in _annotations(cls).items():
        if is_dataclass(annotation):
            yield from _leaves(annotation, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{name}", f"{cls.__name__}.{name}", annotation


def _annotations(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {item.name: hints[item.name] for item in fields(cls)}


def _layer(root: type[Any], mapping: Mapping[Any, object], source: str) -> dict[str, _Setting]:
    """Settings of one source, every one of them checked."""
    settings: dict[str, _Setting] = {}

    def visit(cls: type[Any], section: Mapping[Any, object], prefix: str) -> None:
        annotations = _annotations(cls)
        for key, value in section.items():
            path = f"{prefix}{key}"
            if key not in annotations:
                raise ConfigError(f"{source}: unknown parameter {path}{_suggestion(root, annotations, prefix, key)}")
            annotation = annotations[key]
            target = Target(source, path, BOUNDS.get(f"{cls.__name__}.{key}"))
            if not is_dataclass(annotation):
                settings[path] = _Setting(coerce(value, annotation, target), source)
            elif isinstance(value, Mapping):
                visit(annotation, value, f"{path}.")  # type: ignore[arg-type]
            elif value is not None:  # a section whose lines are all commented out is null
                target.refuse(value, "a section with " + ", ".join(_annotations(annotation)))  # type: ignore[arg-type]

    visit(root, mapping, "")
    return settings


def _suggestion(root: type[Any], siblings: Mapping[str, object], prefix: str, key: object) -> str:
    """The most likely meaning of an unknown key: a name close by, or the same name elsewhere."""
    name = str(key)
    everywhere = {path.rpartition(".")[2]: path for path, _, _ in _leaves(root)}
    if name in everywhere:
        return f"; did you mean {everywhere[name]}?"
    if near := difflib.get_close_matches(name, siblings, n=1):
        return f"; did you mean {prefix}{near[0]}?"
    if far := difflib.get_close_matches(name, everywhere, n=1, cutoff=0.75):
        return f"; did you mean {everywhere[far[0]]}?"
    return "; known here: " + ", ".join(siblings)


def _override(root: type[Any], text: str) -> dict[str, _Setting]:
    path, equals, value_text = text.partition("=")
    source = f"--set {text}"
    names = path.strip().split(".")
    if not equals or not all(names):
        example = next(path for path, _, _ in _leaves(root))
        raise ConfigError(f"{source}: expected path=value, for example {example}=5")
    value = parse_yaml(value_text.strip(), source)
    for name in reversed(names):
        value = {name: value}
    return _layer(root, value, source)  # type: ignore[arg-type]


def _preset_folder() -> Traversable:
    return files("cryodask.params") / "presets"


def _preset_settings(cls: type[Any], preset: str) -> dict[str, _Setting]:
    """The part of a preset that is meant for ``cls``; presets are written for RunParameters."""
    names = preset_names()
    if preset not in names:
        near = difflib.get_close_matches(preset, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"unknown preset {preset!r}{hint} (there are: {', '.join(names)})")
    source = f"preset {preset}"
    mapping = parse_yaml((_preset_folder() / f"{preset}.yaml").read_text(encoding="utf-8"), source)
    if not isinstance(mapping, dict):
        raise ConfigError(f"{source}: expected sections and values")
    prefix = _prefix_of(cls, RunParameters)
    if prefix is None:
        raise ConfigError(f"{source} has no part for {cls.__name__}")
    settings = _layer(RunParameters, mapping, source)
    return {path.removeprefix(prefix): setting for path, setting in settings.items() if path.startswith(prefix)}


def _prefix_of(cls: type[Any], root: type[Any]) -> str | None:
    """Path of section ``cls`` within ``root`` with a final dot; "" for the root itself, None if it is not there."""
    if cls is root:
        return ""
    for name, annotation in _annotations(root).items():
        if is_dataclass(annotation) and (inner := _prefix_of(cls, annotation)) is not None:  # type: ignore[arg-type]
            return f"{name}.{inner}"
    return None


def _build(cls: type[T], settings: Mapping[str, _Setting], prefix: str) -> T:
    values: dict[str, Any] = {}
    for name, annotation in _annotations(cls).items():
        path = f"{prefix}{name}"
        if is_dataclass(annotation):
            values[name] = _build(annotation, settings, f"{path}.")  # type: ignore[arg-type]
        elif path in settings:
            values[name] = settings[path].value
    instance = cls(**values)
    if cls.__name__ in IN_ORDER:
        _check_order(instance, settings, prefix, *IN_ORDER[cls.__name__])
    return instance


def _check_order(instance: object, settings: Mapping[str, _Setting], prefix: str, first: str, second: str) -> None:
    low, high = getattr(instance, first), getattr(instance, second)
    if low > high:
        low_source, high_source = (
            settings[path].source if (path := f"{prefix}{name}") in settings else "the default"
            for name in (first, second)
        )
        raise ConfigError(f"{prefix}{first} = {low:g} ({low_source}) is above {second} = {high:g} ({high_source})")
