"""Download of entries: from a server on this machine, and what happens when the archive misbehaves."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gemmi
import pytest

from cryodask.errors import ConfigError, DataError
from cryodask.io.fetch import SHREC21_ENTRIES, fetch_entries
from cryodask.io.structures import load_structure_set


def entry(*, assemblies: bool) -> bytes:
    structure = gemmi.read_pdb_string(
        "".join(
            f"ATOM  {i:5d}  {name:<3} ALA A   1    {i:8.3f}{0:8.3f}{0:8.3f}  1.00  0.00           {name[0]}\n"
            for i, name in enumerate(("N", "CA", "C", "O"))
        )
        + "END\n"
    )
    structure.setup_entities()
    if assemblies:
        generator = gemmi.Assembly.Gen()
        generator.subchains = ["Axp"]
        operator = gemmi.Assembly.Operator()
        generator.operators.append(operator)
        assembly = gemmi.Assembly("1")
        assembly.generators.append(generator)
        structure.assemblies.append(assembly)
    return gzip.compress(structure.make_mmcif_document().as_string().encode())


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a server with the entries 9aaa (an assembly), 9bbb (none) and 9ccc (a page of text)."""
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "9aaa.cif.gz").write_bytes(entry(assemblies=True))
    (folder / "9bbb.cif.gz").write_bytes(entry(assemblies=False))
    (folder / "9ccc.cif.gz").write_text("<html>busy</html>")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_entries_arrive_and_are_listed(archive: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    paths = fetch_entries(["9AAA", "9bbb", "9aaa"], folder, url=archive)
    assert [path.name for path in paths] == ["9aaa.cif.gz", "9bbb.cif.gz"]
    structures = load_structure_set(folder).structures
    assert [(s.info.class_id, s.info.assembly) for s in structures] == [("9aaa", "bio:1"), ("9bbb", "asu")]
    assert sorted(file.name for file in folder.iterdir()) == ["9aaa.cif.gz", "9bbb.cif.gz", "assemblies.tsv"]


def test_what_is_there_is_not_downloaded_again(archive: str, tmp_path: Path) -> None:
    fetch_entries(["9aaa"], tmp_path, url=archive)

    def refuse(url: str, path: Path) -> None:
        raise AssertionError(url)

    fetch_entries(["9aaa"], tmp_path, url=archive, download=refuse)


def test_failures_leave_nothing_half_done(archive: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with pytest.raises(DataError, match=r"cannot download .*/9zzz\.cif\.gz.*Check the network"):
        fetch_entries(["9aaa", "9zzz"], folder, url=archive)
    with pytest.raises(DataError, match=r"9ccc\.cif\.gz sent no structure"):
        fetch_entries(["9ccc"], folder, url=archive)

    def cut_off(url: str, path: Path) -> None:
        path.write_bytes(b"half")
        raise ConnectionResetError("connection reset")

    with pytest.raises(DataError, match="connection reset"):
        fetch_entries(["9bbb"], folder, download=cut_off)
    assert sorted(file.name for file in folder.iterdir()) == ["9aaa.cif.gz", "assemblies.tsv"]
    assert [s.info.class_id for s in load_structure_set(folder).structures] == ["9aaa"]


@pytest.mark.parametrize("wrong", ["abcd", "1bx", "../1", "1bxn/", "10bxn", ""])
def test_ids_are_checked_before_anything_happens(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a PDB id"):
        fetch_entries(["1bxn", wrong], tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_manifest_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "assemblies.tsv").write_text("id\tfile\tassembly\na\ta.pdb\tasu\n")
    with pytest.raises(DataError, match="not written by this command"):
        fetch_entries(["1bxn"], tmp_path)


def test_benchmark_entries_are_listed_with_their_assembly(tmp_path: Path) -> None:
    def download(url: str, path: Path) -> None:
        path.write_bytes(entry(assemblies=True))

    fetch_entries(list(SHREC21_ENTRIES), tmp_path, download=download)
    structures = {s.info.class_id: s.info for s in load_structure_set(tmp_path, ["1qvr", "4cr2", "1s3x"]).structures}
    assert structures["1qvr"].assembly == "asu+operators"
    assert structures["1qvr"].molecular_weight_kda == 593.36
    assert structures["4cr2"].mask_radius_angstrom == 160
