"""Simulate one small tilt series and look at it: the sample, the truth, one image and the tomogram.

Usage: python examples/01_simulate.py [OUTPUT_FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

import cryodask as cd
from cryodask.params import load_parameters
from cryodask.params.schema import SimulationParameters


def main(folder: Path) -> None:
    # The preset "quick" with a smaller sample; every parameter is described in docs/parameters.md.
    parameters = load_parameters(
        SimulationParameters,
        preset="quick",
        overrides=[
            "sample.box_voxels=[64, 128, 128]",
            "sample.particle_count=6",
            "sample.molecular_weight_kda=[500, 700]",  # two of the built-in structures
            "acquisition.tilt_count=21",
        ],
    )
    data = cd.simulate(folder / "data.zarr", structures="builtin", parameters=parameters, seed=1)
    print(data["model_000/truth/particles"].to_dataset().to_dataframe().to_string())

    tilt_series = data["model_000/tilt_series"].to_dataset().load()
    tomogram = cd.reconstruct(tilt_series)
    middle = tilt_series.sizes["tilt"] // 2
    panels = {
        "sample: mean potential along the beam": data["model_000/grand_model"]["electrostatic_v"].mean("z"),
        "truth: classes": data["model_000/truth"]["class_mask"].max("z"),
        f"image at {float(tilt_series.tilt_deg[middle]):.0f} degrees": tilt_series.counts[middle],
        "tomogram: mean of the middle slices": tomogram.image[12:20].mean("z"),
    }
    figure = Figure(figsize=(10, 10), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        axes.imshow(image.to_numpy(), cmap="gray", origin="lower")
        axes.set(title=title, xlabel="x / voxels", ylabel="y / voxels")
    figure.savefig(folder / "simulated.png")
    print(f"see {folder / 'simulated.png'}")


if __name__ == "__main__":
    output = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example_01")
    output.mkdir(parents=True, exist_ok=True)
    main(output)
