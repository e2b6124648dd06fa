"""Files that appear whole under their name or not at all."""

from __future__ import annotations

import contextlib
import errno
import uuid
from collections.abc import Iterator
from pathlib import Path

from cryodask.errors import CryodaskError, DataError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KEPT_OF_NAME = 40
"""Last characters of the name that the partial file keeps: its suffixes matter to readers, its length is limited."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a partial path in the folder of ``path``, to be written, which takes the place of ``path`` at the end.

    A file that is there stays as it is until then. If the block raises, whatever it raises, the partial file is
    removed. A symbolic link keeps pointing where it points; a device or pipe (``/dev/stdout``) is written directly.

    Raises DataError naming ``path`` and the reason where the operating system refuses: no such folder, no permission,
    a folder in the way, a full disk.
    """
    try:
        target = path.resolve()
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has this name")
        if target.exists() and not target.is_file():
            yield target
            return
        partial = target.with_name(f".{uuid.uuid4().hex}.partial-{target.name[-_KEPT_OF_NAME:]}")
        try:
            yield partial
            partial.replace(target)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()
    except OSError as error:
        if isinstance(error, CryodaskError):  # some of ours are errors of files too
            raise
        raise DataError(f"cannot write {path}: {reason(error, path.parent)}") from error


def disk_is_full(error: BaseException | None) -> bool:
    """Whether this error, or the one that it was raised from, says that there is no space left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def reason(error: OSError, folder: Path) -> str:
    """Why writing into ``folder`` failed, and what to do about it."""
    if error.errno in _FULL:
        return f"{error.strerror}; free some space there, or choose another place"
    if isinstance(error, FileNotFoundError) and not folder.is_dir():
        return f"there is no folder {folder}; make it first, or choose another place"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is in the way where a folder is needed; choose another place"
    return f"{error.strerror or error}; choose another place"
