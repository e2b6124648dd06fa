"""Every call of an array namespace, of cupy and of cupyx in the package takes arguments that cupy's function has.

cupy can be imported without a GPU, and its signatures read. What it computes, only a GPU can tell:
``cryodask check --gpu``.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

cupy = pytest.importorskip("cupy", reason="cupy is not installed (pip install '.[cuda-check]'; needs no GPU)")

PACKAGE = Path(__file__).resolve().parents[2] / "cryodask"
FOLDERS = ("backend", "kernels", "ops", "pickers")
NAMESPACE_MAKERS = {"namespace", "common_namespace"}
UFUNC_KEYWORDS = {"out", "dtype", "casting"}
INSPECTION = {"__array_namespace_info__"}


@dataclass(frozen=True)
class Use:
    """One call, as it stands in the source."""

    where: str
    name: str
    positional: int
    keywords: frozenset[str]
    open_ended: bool
    """With ``*`` or ``**``: only the name can be checked."""


def uses(source: str, where: str) -> Iterator[Use]:
    """Calls of functions of an array namespace (as ``xp.name``), cupy or cupyx."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or (name := _library_name(node.func)) is None:
            continue
        starred = any(isinstance(argument, ast.Starred) for argument in node.args)
        keywords = frozenset(keyword.arg for keyword in node.keywords if keyword.arg is not None)
        open_ended = starred or len(keywords) < len(node.keywords)
        yield Use(f"{where}:{node.lineno}", name, len(node.args), keywords, open_ended)


def _library_name(node: ast.expr) -> str | None:
    """``xp.fft.rfftn`` of ``xp.fft.rfftn`` or ``namespace(x).fft.rfftn``; None for other functions."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name) and node.id in ("xp", "cupy", "cupyx"):
        root = node.id
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMESPACE_MAKERS:
        root = "xp"
    else:
        return None
    return ".".join([root, *reversed(parts)]) if parts else None


def function_of(name: str) -> Callable[..., Any]:
    """What a name means for arrays of cupy; AttributeError or ImportError where there is no such thing."""
    root, *parts = name.split(".")
    found: Any = import_module("array_api_compat.cupy" if root == "xp" else root)
    path = found.__name__
    for part in parts:
        path = f"{path}.{part}"
        if not hasattr(found, part) and root != "xp":
            import_module(path)
        found = getattr(found, part)
    result: Callable[..., Any] = found
    return result


def fault(use: Use) -> str | None:
    """Why cupy would refuse the call; None if it would not."""
    try:
        function = function_of(use.name)
    except (AttributeError, ImportError) as error:
        return f"{use.where}: {use.name}: {error}"
    if use.open_ended or use.name.rpartition(".")[2] in INSPECTION:
        return None
    if isinstance(function, cupy.ufunc):
        unknown = use.keywords - UFUNC_KEYWORDS
        fits = function.nin <= use.positional <= function.nargs and not unknown
        return None if fits else f"{use.where}: {use.name} takes {function.nin} arrays and {sorted(UFUNC_KEYWORDS)}"
    try:
        signature = inspect.signature(function)
    except ValueError:
        return None  # a class or function of C without one, such as a dtype
    try:
        signature.bind(*range(use.positional), **dict.fromkeys(use.keywords))
    except TypeError as error:
        return f"{use.where}: {use.name}{signature}: {error}"
    return None


def every_use() -> list[Use]:
    files = [path for folder in FOLDERS for path in sorted((PACKAGE / folder).rglob("*.py"))]
    return [use for path in files for use in uses(path.read_text(encoding="utf-8"), str(path.relative_to(PACKAGE)))]


def test_every_call_fits_cupys_function() -> None:
    found = every_use()
    assert len({use.name for use in found}) > 30
    assert {use.name.partition(".")[0] for use in found} == {"xp", "cupy", "cupyx"}
    assert [text for text in map(fault, found) if text is not None] == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("xp.exp(x, y, z)", "takes 1 arrays"),
        ("xp.where(a, b, otherwise=c)", "otherwise"),
        ("namespace(x).fft.rfftn(x, axis=1)", "axis"),
        ("xp.no_such_function(x)", "no_such_function"),
        ("cupyx.scipy.ndimage.spline_filter1d(x, 3, 0, boundary='mirror')", "boundary"),
    ],
)
def test_the_check_sees_what_does_not_fit(call: str, words: str) -> None:
    (use,) = uses(call, "x.py")
    assert words in str(fault(use))
