"""Low-rank bases and their coefficients in the store: made once for a template and a filter, read by every tile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from cryodask.io.store import Store
from cryodask.kernels.low_rank_basis import LowRankBasis
from cryodask.kernels.low_rank_search import Bank, CoarseToFine
from cryodask.ops.low_rank import LowRankSettings, make_banks
from cryodask.ops.templates import SearchFilter, TemplateSource, fine_template

KIND = "low-rank-bank"


def bank_group(made_of: str) -> str:
    """Group of the bank with this token."""
    return f"banks/{made_of[:32]}"


def write_bank(
    store: Store,
    made_of: str,
    record: Mapping[str, Any],
    source: TemplateSource,
    search: SearchFilter,
    settings: LowRankSettings,
    own: npt.NDArray[np.float64] | None = None,
) -> None:
    """Make the bank of one template and write it, whole, unless it is there."""
    group = bank_group(made_of)
    if store.is_complete(group, made_of):
        return
    banks = make_banks(fine_template(source, search), settings, own)
    basis, coarse = banks.fine.basis, banks.coarse.basis
    dataset = xr.Dataset(
        {
            **basis.variables(),
            "fine": (("fine_rotation", "image"), banks.fine.coefficients),
            "coarse": (("coarse_rotation", "coarse_image"), banks.coarse.coefficients),
            "tried_flips": (("list",), np.full(1, len(banks.fine.tried.signs_zyx))),
        },
        attrs={
            "template": source.template_id,
            "keep": banks.keep,
            "components": len(basis.strength_rank),
            "coarse_components": len(coarse.strength_rank),
            "residual": float(basis.residual[-1]),
        },
    )
    store.write_table(group, dataset, kind=KIND, token=made_of, parameters=record)


def read_bank(store: Store, made_of: str) -> CoarseToFine:
    """The bank as a search takes it."""
    found = store.read_table(bank_group(made_of))
    values = {str(name): found[name].to_numpy() for name in found.variables}
    basis = LowRankBasis.of_variables(values)
    coarse = basis.first(int(found.attrs["coarse_components"]))
    # Banks of earlier versions try all of them.
    single = "tried_flips" in values and int(values["tried_flips"][0]) == 1
    tried = basis.flips.only_identity() if single else basis.flips
    return CoarseToFine(
        coarse=Bank(
            basis=coarse,
            coefficients=values["coarse"],
            first_id=len(values["fine"]) * len(tried.signs_zyx),
            flips=tried,
        ),
        fine=Bank(basis=basis, coefficients=values["fine"], flips=tried),
        keep=float(found.attrs["keep"]),
    )
