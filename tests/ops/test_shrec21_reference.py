"""Mode ``shrec21`` as a whole, from the lines of a submission to its numbers, against the benchmark's rules in loops.

Small volumes make what is rare frequent: particles that touch, hollow ones and ones without a voxel, several picks on
one particle, repeated lines, positions half-way between voxels and outside, excluded and unknown classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryodask.io.pick_files import read_picks
from cryodask.model.evaluation import Truth
from cryodask.model.particles import Particles
from cryodask.ops.evaluation import count_tomogram
from cryodask.ops.evaluation_result import finalise

CASES = 500
VOXEL = 10.0
CLASSES = ("4V94", "1BXN", "1S3X", "vesicle", "fiducial")
SUBMITTED = ("4V94", "1BXN", "1bxn", "1S3X", "vesicle", "fiducial", "9XYZ")
NEIGHBOURS = ((0, 0, 0), (0, 0, 1), (0, 0, -1), (0, 1, 0), (0, -1, 0), (1, 0, 0), (-1, 0, 0))

Volume = npt.NDArray[np.int32]
Line = tuple[str, float, float, float]


def random_truth(generator: np.random.Generator) -> tuple[Volume, list[tuple[str, tuple[int, int, int]]]]:
    """A mask and its list (class, (z, y, x)); the centres lie on or beside their voxels."""
    shape = tuple(int(n) for n in generator.integers(6, 11, 3))
    mask = np.zeros(shape, dtype=np.int32)
    listed = []
    for number in range(1, int(generator.integers(1, 9)) + 1):
        centre = tuple(int(generator.integers(0, n)) for n in shape)
        half = generator.integers(0, 3, 3)
        box = tuple(slice(max(0, c - int(h)), c + int(h) + 1) for c, h in zip(centre, half, strict=True))
        mask[box] = number
        if generator.random() < 0.2:
            mask[centre] = 0  # hollow
        listed.append((str(generator.choice(CLASSES)), (centre[0], centre[1], centre[2])))
    return mask, listed


def random_lines(generator: np.random.Generator, mask: Volume, listed: list[Any]) -> list[Line]:
    lines: list[Line] = []
    for _ in range(int(generator.integers(0, 30))):
        if lines and generator.random() < 0.15:
            lines.append(lines[int(generator.integers(0, len(lines)))])
            continue
        if generator.random() < 0.6:
            z, y, x = np.array(listed[int(generator.integers(0, len(listed)))][1]) + generator.integers(-2, 3, 3)
        else:
            z, y, x = generator.integers(-3, 13, 3)
        offset = float(generator.choice([0.0, 0.5, -0.5, 0.2, -0.3]))
        name = str(generator.choice(SUBMITTED))
        lines.append((name, float(x) + offset, float(y), float(z) - offset))
    return lines


def dilated(mask: Volume) -> Volume:
    """Each voxel takes the highest id of itself and its six neighbours."""
    result = mask.copy()
    for place in np.ndindex(mask.shape):
        for step in NEIGHBOURS:
            other = tuple(p + s for p, s in zip(place, step, strict=True))
            if all(0 <= p < n for p, n in zip(other, mask.shape, strict=True)):
                result[place] = max(result[place], mask[other])
    return result


def reference(mask: Volume, listed: list[tuple[str, tuple[int, int, int]]], lines: list[Line]) -> dict[str, Any]:
    """The benchmark's rules, one at a time, as the notes of its evaluation state them."""
    grown = dilated(mask)
    hits: dict[int, list[tuple[str, tuple[int, int, int]]]] = {k: [] for k in range(len(listed) + 1)}
    clipped = 0
    for name, x, y, z in lines:
        rounded = (round(z), round(y), round(x))  # halves go to the even neighbour
        inside = tuple(min(max(p, 0), n - 1) for p, n in zip(rounded, mask.shape, strict=True))
        clipped += inside != rounded
        hits[int(grown[inside])].append((name, (inside[0], inside[1], inside[2])))
    labels = ["background", *CLASSES]
    index = {label.casefold(): k for k, label in enumerate(labels)}
    confusion = [[0] * len(labels) for _ in labels]
    found = missed = multiply = n_gt = 0
    total = 0.0
    for number, (name, centre) in enumerate(listed, start=1):
        n_gt += name != "4V94"
        if name in ("4V94", "vesicle"):
            continue
        own = hits[number]
        picked = "background"
        if own:
            found += 1
            multiply += len(own) > 1
            total += sum((a - b) ** 2 for a, b in zip(own[0][1], centre, strict=True)) ** 0.5
            picked = own[0][0] if own[0][0].casefold() not in ("4v94", "9xyz") else "background"
        else:
            missed += 1
        confusion[index[name.casefold()]][index[picked.casefold()]] += 1
    f1 = {}
    for k, label in enumerate(labels):
        if label in ("background", "4V94", "vesicle"):
            continue
        whole = sum(confusion[k]) + sum(row[k] for row in confusion)
        f1[label] = 2 * confusion[k][k] / whole if whole else None
    return {
        "RR": len(lines),
        "TP": found,
        "FP": len(hits[0]),
        "FN": missed,
        "MH": multiply,
        "AD": total / found if found else None,
        "recall": found / n_gt if n_gt else None,
        "precision": found / len(lines) if lines else None,
        "F1": 2 * found / (n_gt + len(lines)) if n_gt + len(lines) else None,
        "confusion": confusion,
        "f1": f1,
        "clipped": clipped,
        "duplicate": len(lines) - len({(name.casefold(), *place) for name, *place in lines}),
        "unknown": sum(name == "9XYZ" for name, *_ in lines),
    }


def check(seed: int, folder: Path) -> set[str]:
    """One random case; returns what was in it."""
    generator = np.random.default_rng(seed)
    mask, listed = random_truth(generator)
    lines = random_lines(generator, mask, listed)
    shape = (mask.shape[0], mask.shape[1], mask.shape[2])
    centres = (np.array([place for _, place in listed], float) - (np.array(shape) - 1) / 2) * VOXEL
    truth = Truth(
        name="model_0",
        particles=Particles.create([name for name, _ in listed], centres, tomogram="model_0"),
        occupancy=mask,
        shape=shape,
        voxel_size_angstrom=VOXEL,
        class_ids=CLASSES,
    )
    file = folder / "picks.txt"
    file.write_text("".join(f"{name} {x} {y} {z}\n" for name, x, y, z in lines))
    picks = read_picks(file, shape=shape, voxel_size_angstrom=VOXEL)
    ours = finalise(count_tomogram(truth, picks, mode="shrec21"))
    expected = reference(mask, listed, lines)

    own = ours["localization"]
    counts = ("RR", "TP", "FP", "FN", "MH")
    assert [own[key] for key in counts] == [expected[key] for key in counts], seed
    for key in ("AD", "recall", "precision", "F1"):
        assert own[key] == (None if expected[key] is None else pytest.approx(expected[key], abs=1e-12)), (seed, key)
    assert ours["classification"]["confusion"] == expected["confusion"], seed
    assert ours["classification"]["f1"] == pytest.approx(expected["f1"], abs=1e-12), seed
    assert ours["picks"]["clipped"] == expected["clipped"], seed
    assert ours["picks"]["duplicate"] == expected["duplicate"], seed
    assert sum(ours["picks"]["unknown_class"].values()) == expected["unknown"], seed
    seen = {key for key in ("MH", "FP", "clipped", "duplicate", "unknown") if expected[key]}
    held = set(np.unique(mask)) - {0}
    seen |= {"without a voxel"} if len(held) < len(listed) else set()
    return seen | ({"nothing"} if not lines else set())


@pytest.mark.slow
def test_500_random_cases_agree_with_the_rules(tmp_path: Path) -> None:
    # The checks of frames, which refuse such crowded cases now and then, have tests of their own.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryodask.ops.evaluation.check_frame", lambda scene: None)
        patch.setattr("cryodask.ops.evaluation_modes._check_distances", lambda *_: None)
        seen = [check(seed, tmp_path) for seed in range(CASES)]
    for what in ("MH", "FP", "clipped", "duplicate", "unknown", "without a voxel", "nothing"):
        assert sum(what in own for own in seen) >= 10, what
