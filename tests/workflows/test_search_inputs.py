"""Inputs of a search from files: what is read, what wins, what is refused; and that a planted template is found."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from cryodask.errors import ConfigError, DataError, StoreError
from cryodask.io.mrc import write_volume
from cryodask.io.store import Store
from cryodask.kernels.resample import rotate_volume
from cryodask.kernels.rotations import rotation_set
from cryodask.model.images import Tomogram
from cryodask.model.progress import NullProgress
from cryodask.params.schema import MatchingParameters
from cryodask.workflows.match import MatchJob, match
from cryodask.workflows.mrc_inputs import MrcVolume, is_mrc, read_mrc_input, read_tilt_angles
from cryodask.workflows.picks_folder import common_frame
from cryodask.workflows.search_inputs import (
    TemplateRequest,
    open_tomograms,
    require_room,
    template_of_mrc,
    templates_of_store,
    tomogram_in_memory,
    tomogram_of_mrc,
)

Volume = npt.NDArray[np.float32]
Write = Callable[..., Path]

BALLS = (((0, 0, 0), 4.0), ((0, 0, 9), 3.0), ((0, 7, 0), 2.5), ((6, 0, -2), 2.0))
"""Centres (z, y, x) and radii in voxels; no rotation turns the four balls into themselves."""


def particle(side: int) -> Volume:
    """The balls about (N - 1) / 2 of a cube, at an odd and at an even size."""
    grid = np.indices((side,) * 3) - (side - 1) / 2
    distances = (np.linalg.norm(grid - np.reshape(centre, (3, 1, 1, 1)), axis=0) - r for centre, r in BALLS)
    merged: Volume = np.max([np.clip(0.5 - d, 0, 1) for d in distances], axis=0).astype(np.float32)
    return merged


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def volume(name: str, values: Volume, voxel_size_angstrom: float = 10.0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        write_volume(path, values, voxel_size_angstrom)
        return path

    return volume


def noise(*shape: int) -> Volume:
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


# -- the search as a whole -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [33, 34])
def test_a_planted_template_of_finer_voxels_is_found_where_it_is(side: int, write: Write, tmp_path: Path) -> None:
    shape, centre = (24, 36, 40), np.array([11, 20, 17])
    matrices = rotation_set(60)
    turned = 7
    offset = centre - (np.array(shape) - 1) / 2
    planted = rotate_volume(
        particle(side),
        matrices[turned],
        output_shape=shape,
        zoom=2.0,
        centre_offset=(float(offset[0]), float(offset[1]), float(offset[2])),
    )
    template = template_of_mrc(write("balls.mrc", particle(side), 5.0), voxel_size_angstrom=None)
    assert template.source.voxel_size_angstrom == 5
    tomogram = tomogram_of_mrc(
        write("tomogram.mrc", noise(*shape) - 12 * planted, 10.0), voxel_size_angstrom=None, tilt_deg=None
    )
    job = MatchJob(
        tomograms=(tomogram,),
        templates=(template,),
        parameters=MatchingParameters(angular_step_deg=60, whiten=False, max_picks=1, low_pass_angstrom=25),
    )
    picks = match(Store(tmp_path / "maps.zarr"), job, client=None, progress=NullProgress()).picks
    assert picks.class_id.tolist() == ["balls"]
    assert picks.voxels(shape, 10.0)[0] == pytest.approx(centre, abs=0.5)
    bank = Store(tmp_path / "maps.zarr").source("tomogram/scores/balls", "rotation_id").read((slice(None),) * 3)
    assert bank[tuple(centre)] == turned


# -- MRC files -----------------------------------------------------------------------------------------------------


def test_the_voxel_size_given_wins_over_the_header(write: Write) -> None:
    path = write("a.mrc", noise(4, 5, 6), 7.5)
    assert tomogram_of_mrc(path, voxel_size_angstrom=None, tilt_deg=None).voxel_size_angstrom == 7.5
    given = tomogram_of_mrc(path, voxel_size_angstrom=8.0, tilt_deg=None)
    assert given.voxel_size_angstrom == 8
    assert given.token != tomogram_of_mrc(path, voxel_size_angstrom=None, tilt_deg=None).token


def test_tasks_get_the_path_and_read_the_file_themselves(write: Write) -> None:
    values = noise(4, 5, 6)
    path = write("a.mrc", values)
    source = tomogram_of_mrc(path, voxel_size_angstrom=None, tilt_deg=None).image
    assert len(pickle.dumps(source)) < 500
    region = (slice(1, 3), slice(None), slice(2, 4))
    assert source.dtype == np.float32
    assert np.array_equal(pickle.loads(pickle.dumps(source)).read(region), values[region])
    write_volume(path, noise(4, 4, 4), 10.0, overwrite=True)
    with pytest.raises(DataError, match=r"a\.mrc has changed"):
        source.read(region)
    assert isinstance(source, MrcVolume)


def test_names_come_without_their_endings(write: Write) -> None:
    for file, name in (("TS_01.mrc", "TS_01"), ("TS_01_6.80Apx.rec", "TS_01_6.80Apx"), ("x.y.MAP", "x.y")):
        assert read_mrc_input(write(file, noise(3, 3, 3)), None, "--voxel-size").name == name
    with pytest.raises(DataError, match=r"a b\.mrc.*rename the file"):
        read_mrc_input(write("a b.mrc", noise(3, 3, 3)), None, "--voxel-size")


def test_what_counts_as_mrc() -> None:
    assert all(is_mrc(Path(name)) for name in ("a.mrc", "A.MRC", "a.rec", "a.map.gz", "a.ccp4", "b/a.mrc.bz2"))
    assert not any(is_mrc(Path(name)) for name in ("a.star", "a.mrc.txt", "._a.mrc", "mrc"))


def test_tilt_angles_are_read_as_programs_write_them(tmp_path: Path) -> None:
    file = tmp_path / "a.tlt"
    file.write_text("  -60.01 \r\n\n-3\n 1e1\n")
    assert read_tilt_angles(file) == (-60.01, -3.0, 10.0)
    for text, words in (("1\nx", "line 2: 'x'"), ("91", "line 1: '91'"), ("", "fewer than two"), ("5\n5", "fewer")):
        file.write_text(text)
        with pytest.raises(DataError, match=words):
            read_tilt_angles(file)


# -- templates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [40, 41])
def test_the_mask_reaches_as_far_as_the_density(side: int, write: Write) -> None:
    grid = np.indices((side,) * 3) - (side - 1) / 2
    ball = (np.linalg.norm(grid, axis=0) < 12).astype(np.float32)
    ball[0, 0, 0] = 0.05  # noise below a tenth of the maximum
    found = template_of_mrc(write("ball.mrc", ball, 4.0), voxel_size_angstrom=None).source
    assert found.radius_angstrom == pytest.approx(12 * 4.0, abs=0.6 * 4.0)
    ball[0, 0, 0] = 1
    corner = template_of_mrc(write("corner.mrc", ball, 4.0), voxel_size_angstrom=None).source
    assert corner.radius_angstrom == side / 2 * 4.0  # never beyond the box


def request(templates: Sequence[Path | str], classes: tuple[str, ...] | None = None) -> TemplateRequest:
    return TemplateRequest.parse([str(t) for t in templates], classes, Path("none.mrc"), voxel_size_angstrom=None)


def ids(found: TemplateRequest) -> list[str]:
    return [t.source.template_id for t in found.densities] + [s.info.class_id for s in found.structures]


def test_classes_choose_among_all_sources(write: Write) -> None:
    folder = write("maps/a.mrc", particle(21)).parent
    write("maps/b.mrc", particle(21))
    assert ids(request([folder])) == ["a", "b"]
    assert ids(request([folder], ("b",))) == ["b"]
    assert ids(request([folder, "builtin"], ("syn-0060-c1", "b"))) == ["b", "syn-0060-c1"]
    assert ids(request([folder / "a.mrc", folder / "b.mrc"])) == ["a", "b"]
    with pytest.raises(ConfigError, match="no class 'c'"):
        request([folder], ("c",))
    with pytest.raises(ConfigError, match=r"'syn-006-c1'; did you mean syn-0060-c1\?"):
        request([folder, "builtin"], ("a", "syn-006-c1"))
    with pytest.raises(DataError, match="several templates are called a"):
        request([folder, folder / "a.mrc"])


def test_a_folder_is_of_densities_or_of_structures(write: Write) -> None:
    folder = write("both/a.mrc", particle(21)).parent
    (folder / "b.pdb").write_text("ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00  0.00           C\n")
    (folder / "._a.mrc").write_bytes(b"left by a file manager")
    mixed = request([folder])
    assert ids(mixed) == ["a"]
    assert mixed.notices == (f"b.pdb in {folder} left out: the folder's densities are the templates",)
    (folder / "assemblies.tsv").write_text("id\tfile\tassembly\nb\tb.pdb\tasu\n")
    assert ids(request([folder])) == ["b"]


def test_nothing_to_search_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.mrc does not say what to search for: give --templates"):
        request([])
    store = Store(tmp_path / "empty.zarr").create()
    with pytest.raises(DataError, match=r"holds no structures.*give --templates"):
        TemplateRequest.parse([], None, Path(store.path), voxel_size_angstrom=None)


def store_with_structure(folder: Path, **attrs: object) -> Store:
    store = Store(folder / "data.zarr").create()
    dataset = xr.Dataset({"electrostatic_v": (("z", "y", "x"), particle(21))}, attrs=attrs)
    store.write_table("structures/a", dataset, kind="particle-density", token="t", parameters={})
    return store


def test_templates_of_a_data_set_have_their_own_mask_radius_where_it_is_known(tmp_path: Path) -> None:
    store = store_with_structure(
        tmp_path, voxel_size_angstrom=2.5, radius_angstrom=30.0, mask_radius_angstrom=None, symmetry="C2"
    )
    (plain,) = templates_of_store(store)
    assert (plain.source.radius_angstrom, plain.source.symmetry) == (30, "C2")
    store.annotate("structures/a", {"mask_radius_angstrom": 45.0})
    assert templates_of_store(store)[0].source.radius_angstrom == 45
    with pytest.raises(ConfigError, match="no class 'b'; it has a"):
        templates_of_store(store, ["b"])


def test_a_data_set_of_another_version_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    store = store_with_structure(tmp_path, voxel_size_angstrom=2.5)
    with pytest.raises(StoreError, match=r"'structures/a' in .* lacks the attribute 'radius_angstrom'.*--overwrite"):
        templates_of_store(store)


# -- what suits what -----------------------------------------------------------------------------------------------


def test_templates_must_suit_the_tomogram(write: Write) -> None:
    tomogram = tomogram_of_mrc(write("t.mrc", noise(16, 40, 40)), voxel_size_angstrom=None, tilt_deg=None)
    path = write("balls.mrc", particle(33), 5.0)
    require_room([tomogram], [template_of_mrc(path, voxel_size_angstrom=None)])
    for voxel in (0.1, 60.0):
        with pytest.raises(
            DataError, match=r"template balls has a radius of .* tomogram t of 160 x 400 x 400 angstrom"
        ):
            require_room([tomogram], [template_of_mrc(path, voxel_size_angstrom=voxel)])


def test_one_search_has_tomograms_of_one_size(write: Write) -> None:
    small, same, large = (
        tomogram_of_mrc(write(f"{name}.mrc", noise(*shape)), voxel_size_angstrom=None, tilt_deg=None)
        for name, shape in (("a", (4, 4, 4)), ("b", (4, 4, 4)), ("c", (4, 4, 5)))
    )
    assert common_frame([small, same]) == ((4, 4, 4), 10.0)
    with pytest.raises(ConfigError, match=r"c of \(4, 4, 5\) voxels .* differs from a of \(4, 4, 4\)"):
        common_frame([small, same, large])


def test_tomograms_are_those_of_a_data_set_or_a_file(write: Write, tmp_path: Path) -> None:
    path = write("t.mrc", noise(4, 4, 4))
    (tmp_path / "t.tlt").write_text("-30\n30\n")
    (found,) = open_tomograms(path, voxel_size_angstrom=None, tilt_angles=tmp_path / "t.tlt")
    assert (found.name, found.shape, found.tilt_deg) == ("t", (4, 4, 4), (-30, 30))
    for wrong, words in ((tmp_path, "a folder but not a data set"), (tmp_path / "t.tlt", "neither a data set")):
        with pytest.raises(DataError, match=words):
            open_tomograms(wrong, voxel_size_angstrom=None, tilt_angles=None)
    data = Path(Store(tmp_path / "d.zarr").create().path)
    with pytest.raises(ConfigError, match="leave out --voxel-size and --tilt-angles"):
        open_tomograms(data, voxel_size_angstrom=10.0, tilt_angles=None)
    with pytest.raises(DataError, match="no complete tomogram"):
        open_tomograms(data, voxel_size_angstrom=None, tilt_angles=None)


def test_tomograms_in_memory_are_told_apart_by_content() -> None:
    def token(value: float) -> str:
        values = np.full((3, 4, 5), value, np.float32)
        image = xr.Dataset({"image": (("z", "y", "x"), values)}, attrs={"voxel_size_angstrom": 10.0})
        return tomogram_in_memory(Tomogram.parse(image), "t").token

    assert token(1) == token(1) != token(2)
