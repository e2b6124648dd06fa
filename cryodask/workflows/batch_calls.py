"""A stage as a task that scheduler and client need not look into: what it is called with travels as bytes.

Dask hashes every object of a graph before it is sent, unpickles the graph on the scheduler and pickles each task again
for its worker. With a batch's parameters in every task that was most of the work of leader and scheduler, and the
scheduler loaded every module of the stages. Imports nothing but the standard library, since the scheduler imports it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=4)
def _loaded(common: bytes) -> Any:  # noqa: ANN401
    return pickle.loads(common)  # noqa: S301  (of the leader, which chooses the function that is called as well)


def call(common: bytes, own: bytes, before: object = None) -> object:
    """Call what ``pack`` has put into ``common`` with what it has put into ``own``, and the result before."""
    run, settings = _loaded(common)
    entry, stage, token = pickle.loads(own)  # noqa: S301  (see above)
    return run(entry, stage, token, settings, before)


def pack(run: Callable[..., object], settings: object) -> bytes:
    """What all stages of a batch have in common: the function and the settings that it gets as its fourth argument."""
    from distributed.protocol.pickle import dumps

    packed: bytes = dumps((run, settings))
    return packed
