"""YAML and TOML text as plain mappings, from files that nobody vouches for.

YAML is read by the rules of its core schema 1.2, so that ``1e5`` is a number and ``no`` is a word. Anchors, aliases,
tags, duplicate keys, several documents, deep nesting and large files are refused: a parameter file needs none of them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from cryodask.errors import ConfigError, CryodaskError

MAX_BYTES = 2**20
MAX_DEPTH = 16


def read_mapping(path: Path) -> dict[Any, object]:
    """The mapping in a ``.yaml``, ``.yml`` or ``.toml`` file; ConfigError names the file and what is wrong with it."""
    suffix = path.suffix.lower()
    if suffix not in {".yaml", ".yml", ".toml"}:
        raise ConfigError(f"{path}: parameter files end in .yaml, .yml or .toml, not {suffix!r}")
    text = read_limited(path, "parameter file", MAX_BYTES)
    value = parse_toml(text, str(path)) if suffix == ".toml" else parse_yaml(text, str(path))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected sections and values (key: value), found {_kind(value)} at the top")
    return value


def parse_yaml(text: str, source: str) -> object:
    """One YAML document as plain Python values; ``source`` names it in messages."""
    try:
        value: object = yaml.load(text, _StrictLoader)  # noqa: S506  (a SafeLoader made stricter)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not valid YAML: {_describe(error)}") from None
    return value


def parse_toml(text: str, source: str) -> dict[str, object]:
    """A TOML document as plain Python values; ``source`` names it in messages."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from None


def read_limited(path: Path, what: str, most_bytes: int, missing: type[CryodaskError] = ConfigError) -> str:
    """The text of a small file; ``missing`` if it cannot be read, ConfigError if it is too large or not UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise missing(f"{path}: cannot read this {what}: {error.strerror or error}") from None
    if len(data) > most_bytes:
        size = f"{most_bytes // 2**20} MiB" if most_bytes > 2**20 else f"{most_bytes // 1024} KiB"
        raise ConfigError(f"{path}: larger than {size}, which no {what} needs to be")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else repr(value)


def _describe(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} (line {mark.line + 1}, column {mark.column + 1})"
    return " ".join(str(error).split()) or type(error).__name__


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses what a parameter file has no use for."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012  (replaces the base class's rules)
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not allowed", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(None, None, f"tags ({event.tag}) are not allowed", event.start_mark)
        if self._depth >= MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _resolve(tag: str, pattern: str, first: str) -> None:
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_resolve("null", r"^(?:null|Null|NULL|~)?$", "nN~")
_StrictLoader.yaml_implicit_resolvers[""] = [("tag:yaml.org,2002:null", re.compile("^$"))]
_resolve("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF")
_resolve("int", r"^[-+]?[0-9]+$", "-+0123456789")
_resolve("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789")
_resolve("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+.")


def _int(_: _StrictLoader, node: yaml.ScalarNode) -> int:
    return int(node.value)  # the base class would read 010 as octal


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _int)
