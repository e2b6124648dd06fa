"""One value from a parameter file, checked against the type and the bounds of the field it is meant for."""

from __future__ import annotations

import math
import types
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from cryodask.errors import ConfigError
from cryodask.params.bounds import Bound


@dataclass(frozen=True)
class Target:
    """The field that a value is meant for, and where the value was written."""

    source: str
    path: str
    bound: Bound | None

    def refuse(self, value: object, expected: str) -> NoReturn:
        raise ConfigError(f"{self.source}: {self.path} = {shown(value)}: expected {expected}")


def coerce(value: object, annotation: Any, target: Target) -> object:  # noqa: ANN401  (a type expression)
    """``value`` as ``annotation`` wants it: bool, int, float, str, Literal, tuples or named values of these, or None.

    Whole numbers pass as floats, nothing else changes its type. A pair is a range: one number stands for both ends, and
    the first must not exceed the second. Anything else raises ConfigError naming source, path, value and expectation.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (types.UnionType, Union):
        if value is None:
            return None
        (annotation,) = (argument for argument in arguments if argument is not types.NoneType)
        return coerce(value, annotation, target)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            target.refuse(value, "one of " + ", ".join(str(argument) for argument in arguments))
        return value
    if origin is tuple and arguments[-1] is Ellipsis:
        return _list(value, arguments[0], target)
    if origin is tuple:
        return _tuple(value, arguments, target)
    if origin is dict:
        return _named(value, arguments[1], target)
    return _scalar(value, annotation, target)


def _tuple(value: object, annotations: tuple[Any, ...], target: Target) -> tuple[object, ...]:
    is_range = len(annotations) == 2
    if is_range and _is_number(value):
        value = [value, value]
    if not isinstance(value, list | tuple) or len(value) != len(annotations):
        wanted = "[low, high] or one number" if is_range else f"a list of {len(annotations)} values"
        target.refuse(value, wanted)
    result: list[Any] = [coerce(item, kind, target) for item, kind in zip(value, annotations, strict=True)]
    if is_range and result[0] > result[1]:
        target.refuse(value, "[low, high] with low not above high")
    return tuple(result)


def _list(value: object, kind: Any, target: Target) -> tuple[object, ...]:  # noqa: ANN401  (a type expression)
    if not isinstance(value, list | tuple) or not value:
        target.refuse(value, "a list of values")
    return tuple(coerce(item, kind, target) for item in value)


def _named(value: object, kind: Any, target: Target) -> dict[str, object]:  # noqa: ANN401  (a type expression)
    if not isinstance(value, dict) or not value or not all(isinstance(name, str) for name in value):
        target.refuse(value, "a section with a value for each name")
    for name, item in value.items():
        if item is None and ":" in name:
            target.refuse(name, "NAME: VALUE, with a space after the colon")
    return {
        name: coerce(item, kind, Target(target.source, f"{target.path}.{name}", target.bound))
        for name, item in value.items()
    }


def _scalar(value: object, kind: type, target: Target) -> object:
    if kind is bool:
        if not isinstance(value, bool):
            target.refuse(value, "true or false")
        return value
    if kind is str:
        if not isinstance(value, str):
            target.refuse(value, "text")
        return value
    if not _is_number(value) or (kind is int and not isinstance(value, int)):
        target.refuse(value, "a whole number" if kind is int else "a number")
    return _bounded(value, kind, target)


def _bounded(value: Any, kind: type, target: Target) -> object:  # noqa: ANN401  (int or float)
    if isinstance(value, float) and not math.isfinite(value):
        target.refuse(value, "a finite number")
    if target.bound is not None and not target.bound.low <= value <= target.bound.high:
        low, high, unit = target.bound
        unit = f" {unit}" if unit else ""
        target.refuse(value, f"a value from {low:g} to {high:g}{unit}" + (" (a wrong unit?)" if unit else ""))
    return kind(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: object) -> str:
    """``value`` as a message shows it: as it would be written, and never longer than a line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 256:
        return "a number of more than 70 digits"
    if isinstance(value, dict):
        return "{...}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(shown(item) for item in value[:4]) + (", ...]" if len(value) > 4 else "]")
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
