"""``check`` reads everything: whole groups are named with their size, damage with its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryodask.errors import NotInStoreError, StoreError
from cryodask.io.store import GroupSpec, Store, Variable
from cryodask.workflows.check import check_store
from tests.workflows.conftest import Reference


def counts_chunk(store: Store) -> Path:
    """The file of one image."""
    return Path(store.path, "model_000/tilt_series/counts/c/3/0/0")


def test_a_whole_data_set_is_read_to_the_last_chunk(reference: Reference) -> None:
    *groups, last = check_store(Path(reference.store.path))
    assert last == f"{reference.store.path}: all groups are complete"
    for entry, line in zip(reference.store.groups(), groups, strict=True):
        dataset = reference.store.open(entry.path)
        read = sum(variable.nbytes for variable in dataset.variables.values())
        assert line.startswith(f"{entry.path}: {entry.kind}, complete, ")
        if entry.kind != "particles":  # text columns have no fixed size
            assert line.endswith(f" {read / 2**20:.1f} MiB read")


def test_a_group_in_the_making_says_how_much_is_missing(tmp_path: Path) -> None:
    store = Store(tmp_path / "data.zarr").create()
    variable = Variable(name="image", dims=("y",), shape=(4,), dtype="float32", chunks=(1,))
    store.prepare("half", GroupSpec(kind="test", token="t", parameters={}, variables=(variable,), blocks=4))
    store.mark_done("half", 2)
    assert list(check_store(Path(store.path))) == [
        "half: incomplete, 3 blocks to be made",
        f"{store.path}: 1 groups are incomplete",
    ]


def test_a_flipped_bit_is_found_with_its_file(reference: Reference, tmp_path: Path) -> None:
    store = reference.copy(tmp_path)
    file = counts_chunk(store)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=f"'model_000/tilt_series/counts' is damaged: {file}"):
        list(check_store(Path(store.path)))


def test_a_missing_chunk_is_found_with_its_file(reference: Reference, tmp_path: Path) -> None:
    store = reference.copy(tmp_path)
    counts_chunk(store).unlink()
    with pytest.raises(StoreError, match=f"{counts_chunk(store)}: the file is missing"):
        list(check_store(Path(store.path)))


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotInStoreError, match="there is no data set"):
        list(check_store(tmp_path / "nothing.zarr"))
    with pytest.raises(StoreError, match="is not a data set of cryodask"):
        list(check_store(tmp_path))
