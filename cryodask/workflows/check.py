"""``check``: is a data set whole?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cryodask.io.store import Store


def check_store(path: Path) -> Iterator[str]:
    """One line a group; every chunk of the complete ones is read, so that damage raises StoreError with its file."""
    store = Store(path)
    incomplete = 0
    for entry in store.groups():
        if not entry.complete:
            incomplete += 1
            yield f"{entry.path}: incomplete, {len(store.pending(entry.path))} blocks to be made"
            continue
        bytes_read = 0
        for name, variable in store.open(entry.path).variables.items():
            source = store.source(entry.path, str(name))
            for region in _regions(variable.shape, variable.chunks):
                bytes_read += source.read(region).nbytes
        yield f"{entry.path}: {entry.kind}, complete, {bytes_read / 2**20:.1f} MiB read"
    yield f"{path}: {'all groups are complete' if not incomplete else f'{incomplete} groups are incomplete'}"


def _regions(shape: tuple[int, ...], chunks: tuple[tuple[int, ...], ...] | None) -> Iterator[tuple[slice, ...]]:
    """Slabs of one chunk along the first axis that is chunked: small enough to read one after the other."""
    if chunks is None or not shape:
        yield tuple(slice(None) for _ in shape)
        return
    axis = max(range(len(shape)), key=lambda a: len(chunks[a]))
    start = 0
    for size in chunks[axis]:
        yield tuple(slice(start, start + size) if a == axis else slice(None) for a in range(len(shape)))
        start += size
