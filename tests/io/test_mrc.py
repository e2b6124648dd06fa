"""MRC files: what programs really write is read right, or refused with the file's name and a remedy."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest
from mrcfile.dtypes import HEADER_DTYPE

from cryodask.errors import DataError
from cryodask.io.mrc import read_stack, read_volume, write_volume

SHAPE = (3, 4, 5)


@pytest.fixture
def volume() -> npt.NDArray[np.float32]:
    return np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)


@pytest.fixture
def written(tmp_path: Path, volume: npt.NDArray[np.float32]) -> Path:
    """A volume as another program writes it."""
    path = tmp_path / "volume.mrc"
    with mrcfile.new(path, data=volume) as file:
        file.voxel_size = 2.5
    return path


def patch(path: Path, order: str = "<", **fields: Any) -> Path:  # noqa: ANN401
    """Overwrite header fields in place."""
    content = bytearray(path.read_bytes())
    header = np.frombuffer(content[:1024], dtype=HEADER_DTYPE.newbyteorder(order)).copy()
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.tobytes() + bytes(content[1024:]))
    return path


def extra2(stamp: int, flags: int) -> bytes:
    return bytes(40) + np.array([stamp, flags], "<i4").tobytes() + bytes(36)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.int16, np.uint16])
def test_round_trip(tmp_path: Path, volume: npt.NDArray[np.float32], dtype: type) -> None:
    data = (volume * 10).astype(np.int8).astype(dtype) if dtype is not np.float32 else volume
    if dtype is np.uint16:
        data = np.abs(volume * 60000).astype(dtype)
    write_volume(tmp_path / "a.mrc", data, 10.0, origin_angstrom=(1.0, 2.0, 3.0))
    back, voxel_size = read_volume(tmp_path / "a.mrc", dtype=None)
    np.testing.assert_array_equal(back, data)
    assert voxel_size == 10.0
    with mrcfile.open(tmp_path / "a.mrc") as file:  # the independent reader finds nothing to complain about
        np.testing.assert_array_equal(file.data, data)
        assert [float(file.header.origin[axis]) for axis in "zyx"] == [1.0, 2.0, 3.0]
    assert mrcfile.validate(tmp_path / "a.mrc")
    assert [file.name for file in tmp_path.iterdir()] == ["a.mrc"]


def test_written_dtypes(tmp_path: Path) -> None:
    def kept(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
        write_volume(tmp_path / "a.mrc", data, 1.0, overwrite=True)
        return read_volume(tmp_path / "a.mrc", dtype=None)[0]

    assert kept(np.full(SHAPE, 1 / 3)).dtype == np.float32
    assert kept(np.ones(SHAPE, bool)).dtype == np.int8
    np.testing.assert_array_equal(kept(np.full(SHAPE, 200, np.uint8)), np.full(SHAPE, 200))
    np.testing.assert_array_equal(kept(np.full(SHAPE, -3000, np.int64)), np.full(SHAPE, -3000))
    for data, message in [
        (np.full(SHAPE, 70000), "16 bits"),
        (np.full(SHAPE, np.nan), "NaN"),
        (np.full(SHAPE, 1e300), "too large"),
        (np.full(SHAPE, 1j), "complex"),
        (np.ones(3), "three axes"),
    ]:
        with pytest.raises(DataError, match=message):
            kept(data)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_files(written: Path, volume: npt.NDArray[np.float32], compress: Callable[[bytes], bytes]) -> None:
    written.write_bytes(compress(written.read_bytes()))
    back, voxel_size = read_volume(written)
    np.testing.assert_array_equal(back, volume)
    assert voxel_size == 2.5
    written.write_bytes(written.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"volume\.mrc"):
        read_volume(written)


def test_empty_map_and_stamp_fields(written: Path, volume: npt.NDArray[np.float32]) -> None:
    patch(written, map=b"", machst=(0, 0, 0, 0))
    np.testing.assert_array_equal(read_volume(written)[0], volume)


def test_big_endian(tmp_path: Path, volume: npt.NDArray[np.float32]) -> None:
    path = tmp_path / "big.mrc"
    with mrcfile.new(path, data=volume.astype(">f4")) as file:
        file.voxel_size = 2.5
    back, voxel_size = read_volume(path)
    np.testing.assert_array_equal(back, volume)
    assert back.dtype == np.dtype(np.float32)
    assert back.dtype.isnative
    assert voxel_size == 2.5


def test_extended_header_is_skipped(tmp_path: Path, volume: npt.NDArray[np.float32]) -> None:
    path = tmp_path / "e.mrc"
    with mrcfile.new(path, data=volume) as file:
        file.set_extended_header(np.arange(300, dtype=np.int16))
    np.testing.assert_array_equal(read_volume(path)[0], volume)


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 1, 2), (1, 3, 2), (2, 1, 3)])
def test_permuted_axes_are_put_right(written: Path, axes: tuple[int, int, int]) -> None:
    column, row, section = axes
    patch(written, mapc=column, mapr=row, maps=section)
    stored, (nz, ny, nx) = mrcfile.read(written), SHAPE
    back, _ = read_volume(written)
    for z in range(nz):  # the element at section z, row y, column x of the file, axis by axis
        for y in range(ny):
            for x in range(nx):
                place = dict(zip((section, row, column), (z, y, x), strict=True))
                assert back[place[3], place[2], place[1]] == stored[z, y, x]
    if axes != (1, 2, 3):
        with pytest.raises(DataError, match="axis order"):
            read_stack(written)


def test_unwritten_axes_mean_the_usual_order(written: Path, volume: npt.NDArray[np.float32]) -> None:
    patch(written, mapc=0, mapr=0, maps=0)
    np.testing.assert_array_equal(read_volume(written)[0], volume)


def test_voxel_size(written: Path) -> None:
    assert read_volume(written)[1] == 2.5
    with pytest.raises(DataError, match=r"2\.5 x 2\.5 x 3 angstrom"):
        read_volume(patch(written, cella=(12.5, 10.0, 9.0)))
    assert read_stack(written)[1] == 2.5  # spacing along the tilts has no meaning
    assert read_volume(patch(written, ispg=0))[1] == 2.5
    assert read_volume(patch(written, cella=(0, 0, 0)))[1] is None
    assert read_volume(patch(written, cella=(12.5, 10.0, 7.5), ispg=1, mx=0))[1] is None
    assert read_volume(patch(written, cella=(np.nan, 10.0, 7.5), mx=5))[1] is None


def test_bytes_are_signed_unless_imod_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "bytes.mrc"
    write_volume(path, np.arange(-30, 30).reshape(SHAPE).astype(np.int8), 1.0)
    assert read_volume(path)[0].min() == -30
    patch(path, extra2=extra2(1146047817, 1))
    assert read_volume(path)[0].min() == -30
    patch(path, extra2=extra2(1146047817, 0))
    back = read_volume(path)[0]
    assert (back.min(), back.max()) == (0, 255)


def test_cut_short(written: Path) -> None:
    content = written.read_bytes()
    for length in (len(content) - 1, 1030, 1024):
        written.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"volume\.mrc.*cut short.*again"):
            read_volume(written)
    for length in (1000, 0):
        written.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"only \d+ bytes"):
            read_volume(written)


def test_huge_header_is_refused_before_memory_is_taken(written: Path) -> None:
    patch(written, nx=30000, ny=30000, nz=30000)
    with pytest.raises(DataError, match=r"\(30000, 30000, 30000\)"):
        read_volume(written)
    written.write_bytes(gzip.compress(written.read_bytes()))
    with pytest.raises(DataError, match=r"\(30000, 30000, 30000\)"):
        read_volume(written)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": 4}, "mode 4.*convert"),
        ({"mode": 101}, "mode 101"),
        ({"mode": 77}, "not an MRC file"),
        ({"nx": 0}, "not an MRC file"),
        ({"mapc": 2}, "not an MRC file"),
        ({"nsymbt": 1 << 30}, "cut short"),
        ({"nsymbt": -4}, "not an MRC file"),
        ({"ispg": 401, "mz": 1}, "stack of volumes"),
    ],
)
def test_strange_headers(written: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_volume(patch(written, **fields))


def test_text_is_no_mrc_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.mrc"
    path.write_text("all my notes\n" * 200)
    with pytest.raises(DataError, match=r"notes\.mrc is not an MRC file"):
        read_volume(path)
    with pytest.raises(DataError, match="there is no file"):
        read_volume(tmp_path / "gone.mrc")
    with pytest.raises(DataError, match="cannot be read"):
        read_volume(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_must_be_finite(tmp_path: Path, volume: npt.NDArray[np.float32], value: float) -> None:
    volume[1, 2, 3] = value
    path = tmp_path / "nan.mrc"
    path.write_bytes(b"")
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(np.zeros(SHAPE, np.float32))
        file.data[...] = volume
    with pytest.raises(DataError, match=r"nan\.mrc: section 1 has 1 values"):
        read_volume(path)


def test_images_and_stacks(tmp_path: Path, volume: npt.NDArray[np.float32]) -> None:
    path = tmp_path / "stack.mrc"
    write_volume(path, volume, 2.0, stack=True)
    with mrcfile.open(path) as file:
        assert file.is_image_stack()
    stack, pixel_size = read_stack(path)
    np.testing.assert_array_equal(stack, volume)
    assert pixel_size == 2.0
    mrcfile.new(path, data=volume[0], overwrite=True).close()
    assert read_stack(path)[0].shape == (1, 4, 5)
    with pytest.raises(DataError, match="a volume was expected"):
        read_volume(path)


def test_writing_replaces_only_when_asked_and_never_by_half(
    tmp_path: Path, volume: npt.NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mrc"
    write_volume(path, volume, 1.0)
    with pytest.raises(DataError, match="exists"):
        write_volume(path, volume, 1.0)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(DataError, match=r"a\.mrc: No space left"):
            write_volume(path, volume + 1, 1.0, overwrite=True)
    np.testing.assert_array_equal(read_volume(path)[0], volume)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mrc"]
    write_volume(path, volume + 1, 1.0, overwrite=True)
    np.testing.assert_array_equal(read_volume(path)[0], volume + 1)
    with pytest.raises(DataError, match="voxel size"):
        write_volume(tmp_path / "b.mrc", volume, 0.0)


def test_real_files(shared_data: Path) -> None:
    for path in (shared_data / "formats" / "EMD-3197.map", shared_data / "density" / "4cr2_10A.mrc.gz"):
        with mrcfile.open(path) as file:
            expected, size = np.array(file.data), float(file.voxel_size.x)
        back, voxel_size = read_volume(path)
        np.testing.assert_array_equal(back, expected)
        assert voxel_size == pytest.approx(size)
