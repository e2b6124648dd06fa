"""The benchmark's folders: the truth is read in whichever depth list and mask were saved, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryodask.errors import DataError
from cryodask.io.mrc import write_volume
from cryodask.io.shrec import read_locations, read_truth_folder
from cryodask.model.evaluation import SHREC21_CLASS_IDS

CONTENT, DEEP = 180, 512
PARTICLES = [("1BXN", 3, 4, 20), ("4V94_fixed", 8, 8, 90), ("fiducial", 2, 9, 150), ("vesicle", 6, 6, 40)]


def write_folder(folder: Path, mask_depth: int, list_offset: int, *, shift: int = 0) -> None:
    """The particles above in a mask of this depth, listed with this offset in z."""
    content = np.zeros((CONTENT, 12, 12), dtype=np.float32)
    lines = []
    for k, (name, x, y, z) in enumerate(PARTICLES, start=1):
        if name == "vesicle":
            content[z - 5, y, x] = k
        else:
            content[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = k
        lines.append(f"{name} {x} {y} {z + list_offset + shift} 10 20 30\n")
    margin = (mask_depth - CONTENT) // 2
    mask = np.pad(content, ((margin, margin), (0, 0), (0, 0)))
    write_volume(folder / "occupancy_mask.mrc", mask, voxel_size_angstrom=10.0, overwrite=True)
    (folder / "particle_locations.txt").write_text("".join(lines))


@pytest.mark.parametrize("mask_depth", [CONTENT, DEEP])
@pytest.mark.parametrize("list_offset", [0, (DEEP - CONTENT) // 2])
def test_list_and_mask_of_either_depth(tmp_path: Path, mask_depth: int, list_offset: int) -> None:
    write_folder(tmp_path, mask_depth, list_offset)
    truth = read_truth_folder(tmp_path)
    assert truth.name == tmp_path.name
    assert truth.shape == (mask_depth, 12, 12)
    assert truth.class_ids == SHREC21_CLASS_IDS
    assert list(truth.particles.class_id) == ["1BXN", "4V94", "fiducial", "vesicle"]
    voxel = truth.particles.voxels(truth.shape, 10.0)
    mask = truth.read_occupancy()
    assert mask is not None
    np.testing.assert_allclose(voxel[:3], np.round(voxel[:3]), atol=1e-9)
    assert [int(mask[tuple(np.round(v).astype(int))]) for v in voxel[:3]] == [1, 2, 3]
    # Relative to the centre the position does not depend on the frame that the files happened to use.
    np.testing.assert_allclose(truth.particles.position_angstrom[0], [(20 - 89.5) * 10, (4 - 5.5) * 10, (3 - 5.5) * 10])
    np.testing.assert_array_equal(truth.particles.zxz_deg[0], [10, 20, 30])
    assert truth.molecular_weight_kda["1BXN"] == 559.96


def test_a_list_that_does_not_fit_the_mask_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, CONTENT, 0, shift=30)
    with pytest.raises(DataError, match="coordinate frame mismatch"):
        read_truth_folder(tmp_path)


def test_own_classes_and_their_table(tmp_path: Path) -> None:
    write_folder(tmp_path, CONTENT, 0)
    listing = tmp_path / "particle_locations.txt"
    listing.write_text(listing.read_text().replace("1BXN", "mine"))
    assert read_truth_folder(tmp_path).class_ids == ("mine", "4V94", "fiducial", "vesicle")
    table = tmp_path / "class_conversion_table.txt"
    table.write_text("background 0\nmine 1\n4V94_fixed 2\nvesicles 3\nfiducials 4\n")
    assert read_truth_folder(tmp_path).class_ids == ("mine", "4V94", "vesicle", "fiducial")
    for text, message in [
        ("mine one\n", "line 1"),
        ("background 0\nmine 2\n", "without gaps"),
        ("mine 0\n", "belongs to the background"),
        ("background 0\nother 1\n", "particles of class"),
    ]:
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            read_truth_folder(tmp_path)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        read_truth_folder(tmp_path / "gone")
    with pytest.raises(DataError, match=r"particle_locations\.txt does not exist"):
        read_truth_folder(tmp_path)
    write_folder(tmp_path, CONTENT, 0)
    (tmp_path / "particle_locations.txt").write_text("1BXN 1 two 3 0 0 0\n")
    with pytest.raises(DataError, match=r"particle_locations\.txt, line 1: 'two'"):
        read_truth_folder(tmp_path)
    write_folder(tmp_path, CONTENT, 0)
    fractions = np.full((4, 4, 4), 0.5, np.float32)
    write_volume(tmp_path / "occupancy_mask.mrc", fractions, voxel_size_angstrom=10.0, overwrite=True)
    with pytest.raises(DataError, match="whole particle ids"):
        read_truth_folder(tmp_path)
    (tmp_path / "occupancy_mask.mrc").unlink()
    with pytest.raises(DataError, match=r"occupancy_mask\.mrc does not exist"):
        read_truth_folder(tmp_path)


def test_the_published_list(shared_data: Path) -> None:
    locations = read_locations(shared_data / "shrec21" / "particle_locations_bin2.txt")
    assert len(locations.class_id) == 2314
    assert locations.class_id.count("vesicle") == 3
    assert locations.class_id.count("5MRC") == 173
    assert (locations.voxel[:, 0].min(), locations.voxel[:, 0].max()) == (6, 173)
    angles = np.isnan(locations.zxz_deg).all(axis=1)
    assert angles.sum() == 3 + 11
