"""What a command that failed leaves under its output's name: work to go on from, or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cryodask.errors import ConfigError, CryodaskError, DataError

if TYPE_CHECKING:
    from cryodask.io.store import Store

CHEAP_KINDS = ("particle-density", "search-volume")
"""Groups that every run makes first. With a wrong input or parameter, which the next run will not have, they are no
reason to keep a store that has nothing else."""


@contextmanager
def removed_if_useless(output: Path, store: Store) -> Iterator[None]:
    """If the block fails, remove ``output``, unless it was there before or ``store`` within it holds finished work."""
    existed = os.path.lexists(output)
    try:
        yield
    except BaseException as error:
        if not existed and not _holds_work(store, wrong_input=isinstance(error, ConfigError | DataError)):
            shutil.rmtree(output, ignore_errors=True)
        raise


def _holds_work(store: Store, *, wrong_input: bool) -> bool:
    """Whether a later run could go on from any finished block."""
    if not Path(store.path, "zarr.json").exists():
        return False
    try:
        return any(
            entry.complete or len(store.pending(entry.path)) < store.info(entry.path)["cryodask"]["blocks"]
            for entry in store.groups()
            if not (wrong_input and entry.kind in CHEAP_KINDS)
        )
    except CryodaskError:
        return True  # not for us to judge, so not for us to remove
