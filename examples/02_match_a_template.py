"""Find one class of particle in a simulated tomogram by template matching, and mark what was found.

Usage: python examples/02_match_a_template.py [OUTPUT_FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import cryodask as cd
from cryodask.params import load_parameters
from cryodask.params.schema import MatchingParameters, SimulationParameters

TARGET = "syn-0540-d4"


def main(folder: Path) -> None:
    sample = ["sample.box_voxels=[64, 128, 128]", "sample.particle_count=5", "sample.molecular_weight_kda=[500, 700]"]
    simulation = load_parameters(SimulationParameters, preset="quick", overrides=sample)
    data = cd.simulate(folder / "data.zarr", parameters=simulation, seed=2)
    tomogram = cd.reconstruct(data["model_000/tilt_series"].to_dataset())

    # A template is any density, positive where there is protein, with its voxel size and the radius of its mask.
    structure = data[f"structures/{TARGET}"]
    known = {name: structure.attrs[name] for name in ("voxel_size_angstrom", "radius_angstrom")}
    template = structure["electrostatic_v"].assign_attrs(known)

    # The tomogram carries its tilts and its optics: missing wedge and CTF are applied to the template.
    coarse = load_parameters(MatchingParameters, overrides=["angular_step_deg=45"])
    picks = cd.match(tomogram, {TARGET: template}, parameters=coarse)
    position = np.stack([picks[f"{axis}_angstrom"] for axis in "zyx"], axis=1)
    print(f"{len(position)} picks, best first (score, then z, y, x in angstrom from the centre):")
    for score, place in zip(picks["score"].to_numpy(), position, strict=True):
        print(f"{score:8.2f}  {np.round(place).astype(int).tolist()}")

    truth = data["model_000/truth/particles"].to_dataset()
    planted = truth.isel(particle=(truth["class_id"] == TARGET).to_numpy())
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    half = np.array(tomogram.image.shape[1:]) / 2 * tomogram.attrs["voxel_size_angstrom"]
    extent = (-half[1], half[1], -half[0], half[0])
    axes.imshow(tomogram.image.mean("z"), cmap="gray", origin="lower", extent=extent)
    axes.plot(planted["x_angstrom"], planted["y_angstrom"], "o", mfc="none", mec="tab:green", ms=20, label="truth")
    axes.plot(position[:, 2], position[:, 1], "x", color="tab:red", label="picks")
    axes.set(title=f"{TARGET} in the tomogram", xlabel="x / angstrom", ylabel="y / angstrom")
    axes.legend()
    figure.savefig(folder / "matched.png")
    print(f"see {folder / 'matched.png'}")


if __name__ == "__main__":
    output = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example_02")
    output.mkdir(parents=True, exist_ok=True)
    main(output)
