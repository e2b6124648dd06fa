"""A list of particles: the truth of a simulation, or the picks of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import xarray as xr

from cryodask.errors import DataError

Floats = npt.NDArray[np.float64]
Strings = npt.NDArray[np.object_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Particles:
    """``n`` particles of one or several tomograms, in a fixed order (the k-th of a truth has mask id k, from 1).

    Positions are relative to the centre ``(N - 1) / 2`` of the volume, so that they hold at any binning.
    """

    tomogram: Strings
    """(n,) name of the tomogram each particle lies in."""
    class_id: Strings
    """(n,) class identifier."""
    position_angstrom: Floats
    """(n, 3) centre as (z, y, x), relative to the volume's centre."""
    zxz_deg: Floats
    """(n, 3) intrinsic Euler angles (Z1, X, Z2) that turn the structure into the particle; NaN where unknown."""
    score: Floats
    """(n,) higher is better; NaN for a truth."""

    def __post_init__(self) -> None:
        n = len(self.class_id)
        shapes = {"tomogram": (n,), "class_id": (n,), "position_angstrom": (n, 3), "zxz_deg": (n, 3), "score": (n,)}
        for item in fields(self):
            shape = np.shape(getattr(self, item.name))
            if shape != shapes[item.name]:
                raise DataError(f"particles: {item.name} has shape {shape}, expected {shapes[item.name]}")
        if not np.all(np.isfinite(self.position_angstrom)):
            row = int(np.flatnonzero(~np.isfinite(self.position_angstrom).all(axis=1))[0])
            raise DataError(f"particles: position of particle {row} is not finite: {self.position_angstrom[row]}")

    def __len__(self) -> int:
        return len(self.class_id)

    @classmethod
    def create(
        cls,
        class_id: Sequence[str] | Strings,
        position_angstrom: npt.ArrayLike,
        *,
        tomogram: str | Sequence[str] | Strings = "",
        zxz_deg: npt.ArrayLike | None = None,
        score: npt.ArrayLike | None = None,
    ) -> Particles:
        """Particles from plain sequences; missing angles and scores become NaN, one name serves all particles."""
        n = len(class_id)
        names = [tomogram] * n if isinstance(tomogram, str) else list(tomogram)
        return cls(
            tomogram=np.array(names, dtype=object),
            class_id=np.array(list(class_id), dtype=object),
            position_angstrom=np.asarray(position_angstrom, dtype=np.float64).reshape(n, 3),
            zxz_deg=np.full((n, 3), np.nan) if zxz_deg is None else np.asarray(zxz_deg, np.float64).reshape(n, 3),
            score=np.full(n, np.nan) if score is None else np.asarray(score, np.float64).reshape(n),
        )

    def take(self, index: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Particles:
        """The particles at ``index`` (integers or a boolean mask), in that order."""
        return replace(self, **{item.name: getattr(self, item.name)[index] for item in fields(self)})

    def of_tomogram(self, name: str) -> Particles:
        """The particles of one tomogram, order kept."""
        return self.take(np.asarray(self.tomogram == name, dtype=bool))

    def voxels(self, shape: tuple[int, int, int], voxel_size_angstrom: float) -> Floats:
        """(n, 3) voxel coordinates (z, y, x), 0-based and fractional, in a volume of this shape and voxel size."""
        return self.position_angstrom / voxel_size_angstrom + (np.asarray(shape) - 1) / 2

    def to_dataset(self) -> xr.Dataset:
        """The table as it is stored: one variable a column, dimension ``particle``."""
        columns = {
            "tomogram": self.tomogram.astype(np.dtypes.StringDType()),
            "class_id": self.class_id.astype(np.dtypes.StringDType()),
            "z_angstrom": self.position_angstrom[:, 0],
            "y_angstrom": self.position_angstrom[:, 1],
            "x_angstrom": self.position_angstrom[:, 2],
            "z1_deg": self.zxz_deg[:, 0],
            "x_deg": self.zxz_deg[:, 1],
            "z2_deg": self.zxz_deg[:, 2],
            "score": self.score,
        }
        return xr.Dataset({name: ("particle", values) for name, values in columns.items()})

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Particles:
        """Inverse of ``to_dataset``."""
        missing = [name for name in ("class_id", "z_angstrom", "y_angstrom", "x_angstrom") if name not in dataset]
        if missing:
            found = ", ".join(map(str, dataset.variables))
            raise DataError(f"particle table lacks the columns {', '.join(missing)}; it has {found}")
        n = dataset.sizes["particle"]

        def column(name: str) -> Floats:
            return dataset[name].to_numpy().astype(np.float64) if name in dataset else np.full(n, np.nan)

        return cls.create(
            [str(value) for value in dataset["class_id"].to_numpy()],
            np.stack([column(f"{axis}_angstrom") for axis in "zyx"], axis=1),
            tomogram=[str(value) for value in dataset["tomogram"].to_numpy()] if "tomogram" in dataset else "",
            zxz_deg=np.stack([column(name) for name in ("z1_deg", "x_deg", "z2_deg")], axis=1),
            score=column("score"),
        )


def concatenate(parts: Sequence[Particles]) -> Particles:
    """One list after the other; none gives an empty list."""
    if not parts:
        return Particles.create([], np.empty((0, 3)))
    return Particles(
        **{item.name: np.concatenate([getattr(p, item.name) for p in parts]) for item in fields(Particles)}
    )
