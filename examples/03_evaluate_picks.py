"""Score a list of picks, from any program, against the truth of a simulated tomogram.

Usage: python examples/03_evaluate_picks.py [OUTPUT_FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xarray as xr

import cryodask as cd
from cryodask.params import load_parameters
from cryodask.params.schema import SimulationParameters


def main(folder: Path) -> None:
    sample = ["sample.box_voxels=[64, 128, 128]", "sample.particle_count=6", "sample.molecular_weight_kda=[500, 700]"]
    parameters = load_parameters(
        SimulationParameters, preset="quick", overrides=[*sample, "acquisition.tilt_count=1"]
    )  # the truth is wanted here, hardly the images
    data = cd.simulate(folder / "data.zarr", parameters=parameters, seed=3)
    truth = data["model_000/truth"]
    particles = truth["particles"].to_dataset()

    # Picks as an imperfect program might give them: the last particle is missed, the others are a little off, the
    # first has the wrong class, and one pick lies where there is nothing.
    names = sorted(truth.attrs["classes"])
    classes = [str(name) for name in particles["class_id"].to_numpy()[:-1]]
    classes[0] = names[1] if classes[0] == names[0] else names[0]
    position = np.stack([particles[f"{axis}_angstrom"] for axis in "zyx"], axis=1)[:-1] + 8.0
    position = np.vstack([position, [-150.0, -310.0, -310.0]])  # a corner of the box
    picks = xr.Dataset(
        {
            "class_id": ("particle", np.array([*classes, names[0]], dtype=object)),
            "z_angstrom": ("particle", position[:, 0]),  # from the centre of the volume
            "y_angstrom": ("particle", position[:, 1]),
            "x_angstrom": ("particle", position[:, 2]),
            "score": ("particle", np.linspace(1.0, 0.5, len(position))),  # higher is better
        }
    )
    for mode in ("strict", "shrec21"):
        result = cd.evaluate(picks, truth, mode=mode)
        found = result["localization"]
        print(f"{mode}: TP {found['TP']}, FP {found['FP']}, FN {found['FN']}, F1 {found['F1']:.3f}")
        for name, value in result["classification"]["f1"].items():
            print(f"  {name}: F1 {value:.3f}")


if __name__ == "__main__":
    output = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example_03")
    output.mkdir(parents=True, exist_ok=True)
    main(output)
