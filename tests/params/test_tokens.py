"""Tokens: equal for equal payloads, different for any change, the same for ever."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryodask.errors import ConfigError
from cryodask.params import RunParameters, short_token, to_dict, token

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_golden_value() -> None:
    """SHA-256 of {"a":1,"b":[true,null,0.5]}, from the sha256sum program; a change here makes every store stale."""
    expected = "95d0815759425a67782c9797aaa9e5f3bd757703d5741fda280967ae35e2bec7"
    assert token({"b": (True, None, 0.5), "a": 1}) == expected
    assert short_token(expected) == expected[:12]


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_the_order_of_keys_does_not_matter(payload: dict[str, Any]) -> None:
    assert token(payload) == token(dict(reversed(payload.items())))


@given(JSON, JSON)
def test_equal_values_have_equal_tokens_and_others_do_not(first: Any, second: Any) -> None:  # noqa: ANN401
    assert (token({"x": first}) == token({"x": second})) == _same(first, second)


def _same(first: Any, second: Any) -> bool:  # noqa: ANN401
    """Equality as JSON sees it: True is not 1."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    return bool(first == second)


def test_parameters_paths_and_numpy_scalars() -> None:
    parameters = RunParameters()
    assert token({"p": parameters}) == token({"p": to_dict(parameters)})
    assert token({"p": parameters}) != token({"p": replace(parameters, models=2)})
    assert token({"p": PurePosixPath("a/b")}) == token({"p": "a/b"})
    assert token({"p": np.int64(3), "q": np.float64(0.1)}) == token({"p": 3, "q": 0.1})
    assert token({"p": 5.0, "q": -0.0}) == token({"p": 5, "q": 0})
    assert token({"p": True}) != token({"p": 1})


@pytest.mark.parametrize("value", [math.nan, math.inf, b"x", {1, 2}, object(), np.zeros(2), {1: 2}])
def test_what_has_no_canonical_form_is_refused_by_name(value: object) -> None:
    with pytest.raises(ConfigError, match=r"payload\.outer\[1\]"):
        token({"outer": [0, value]})


def test_tokens_do_not_depend_on_the_process() -> None:
    code = "from cryodask.params import *; print(token({'p': RunParameters(), 'é': {'b': 1, 'a': 2}}))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == token({"p": RunParameters(), "é": {"a": 2, "b": 1}})
