"""Stages as tasks whose contents travel as bytes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

from cryodask.workflows.batch_calls import call, pack


class Counted:
    """Settings that know how often they were unpickled."""

    loads = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return (_counted, ())


def _counted() -> Counted:
    Counted.loads += 1
    return Counted()


def describe(entry: str, stage: str, token: str, settings: Counted, before: object) -> tuple[object, ...]:
    return entry, stage, token, type(settings).__name__, before


def test_what_stages_have_in_common_is_unpickled_once() -> None:
    common, Counted.loads = pack(describe, Counted()), 0
    first = call(common, pickle.dumps(("t1", "reconstruct", "a")))
    second = call(common, pickle.dumps(("t1", "match", "b")), first)
    assert first == ("t1", "reconstruct", "a", "Counted", None)
    assert second == ("t1", "match", "b", "Counted", first)
    assert Counted.loads == 1


def test_a_function_of_no_module_travels_too() -> None:
    word = "local"
    common = pack(lambda *values: (word, values[0]), None)
    assert call(common, pickle.dumps(("t1", "match", "b"))) == ("local", "t1")


def test_a_scheduler_that_imports_the_tasks_imports_nothing_heavy() -> None:
    code = "import sys, cryodask.workflows.batch_calls; print({'numpy', 'zarr', 'dask', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
