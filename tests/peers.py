"""Independent programs that results and speed are compared with: how to call them."""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Floats = npt.NDArray[Any]


def pytme_scores(
    volume: Floats, template: Floats, mask: Floats, matrices_xyz: Floats
) -> tuple[npt.NDArray[np.float32], float]:
    """Best score over rotations by pyTME on one thread, and the median of the processor seconds of one rotation.

    ``matrices_xyz`` turn the template into the particle, as everywhere here; the correlation is periodic.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("tme", reason="the extra `peers` is not installed")
        from tme.analyzer import MaxScoreOverRotations
        from tme.backends import backend
        from tme.matching_data import MatchingData
        from tme.matching_exhaustive import match_exhaustive
        from tme.matching_scores import MATCHING_EXHAUSTIVE_REGISTER

        backend.change_backend("numpyfftw")
        stamps: list[float] = []

        class Stamped(MaxScoreOverRotations):  # type: ignore[misc]
            def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
                result = super().__call__(*args, **kwargs)
                stamps.append(time.process_time())
                return result

        setup, scoring = MATCHING_EXHAUSTIVE_REGISTER["FLCSphericalMask"]
        # It samples the template at R x of every voxel x, in the order of the axes.
        pull = np.ascontiguousarray(matrices_xyz.transpose(0, 2, 1)[:, ::-1, ::-1], dtype=np.float32)
        data = MatchingData(
            target=volume.astype(np.float32).copy(),
            template=template.astype(np.float32).copy(),
            template_mask=mask.astype(np.float32).copy(),
            rotations=pull,
        )
        result = match_exhaustive(
            matching_data=data,
            matching_setup=setup,
            matching_score=scoring,
            callback_class=Stamped,
            callback_class_args={},
            job_schedule=(1, 1),
            interpolation_order=3,
            backend_name="numpyfftw",
        )
    return np.asarray(result[0], dtype=np.float32), statistics.median(np.diff(stamps)) if len(stamps) > 1 else np.nan
