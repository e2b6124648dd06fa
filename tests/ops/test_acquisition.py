"""Tilts, their order, and what is drawn for each image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cryodask.errors import ConfigError
from cryodask.ops.acquisition import draw_tilts, tilts_and_order
from cryodask.params.schema import AcquisitionParameters, MicroscopeParameters, SimulationParameters


def taken(**options: object) -> list[float]:
    """Tilts in the order they are taken."""
    angles, order = tilts_and_order(AcquisitionParameters(**options))  # type: ignore[arg-type]
    assert np.all(np.diff(angles) > 0)
    return [float(angle) for angle in angles[np.argsort(order)]]


def test_tilt_orders() -> None:
    five = {"tilt_min_deg": -60.0, "tilt_max_deg": 60.0, "tilt_count": 5}
    assert taken(**five) == [-60, -30, 0, 30, 60]
    assert taken(**five, tilt_order="bidirectional") == [0, 30, 60, -30, -60]
    assert taken(**five, tilt_order="dose-symmetric") == [0, 30, -30, 60, -60]
    # Off the middle: by turns as long as both sides last.
    uneven = {"tilt_min_deg": -20.0, "tilt_max_deg": 40.0, "tilt_count": 4}
    assert taken(**uneven, tilt_order="dose-symmetric") == [0, 20, -20, 40]
    other = {"tilt_min_deg": -40.0, "tilt_max_deg": 20.0, "tilt_count": 4}
    assert taken(**other, tilt_order="dose-symmetric") == [0, 20, -20, -40]
    assert taken(tilt_min_deg=0.0, tilt_max_deg=0.0, tilt_count=1, tilt_order="dose-symmetric") == [0]


@pytest.mark.parametrize("order", ["sequential", "bidirectional", "dose-symmetric"])
@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_every_tilt_is_taken_once(order: str, count: int) -> None:
    _, when = tilts_and_order(AcquisitionParameters(tilt_count=count, tilt_order=order))  # type: ignore[arg-type]
    assert sorted(when) == list(range(count))


def test_a_list_gives_the_order_itself() -> None:
    assert taken(tilt_deg=(0.0, 3.0, -3.0, 6.0, -6.5)) == [0, 3, -3, 6, -6.5]
    with pytest.raises(ConfigError, match="lists 3 degrees twice"):
        tilts_and_order(AcquisitionParameters(tilt_deg=(0.0, 3.0, 3.0)))


def test_the_dose_before_an_image_follows_the_order() -> None:
    acquisition = AcquisitionParameters(tilt_count=5, tilt_order="dose-symmetric", total_dose_e_per_a2=(100.0, 100.0))
    tilts = draw_tilts(SimulationParameters(acquisition=acquisition), 0, 0)
    assert [tilt.prior_dose_e_per_a2 for tilt in tilts] == pytest.approx([80, 40, 0, 20, 60])
    assert sum(tilt.dose_e_per_a2 for tilt in tilts) == pytest.approx(100)


def test_what_is_switched_on_moves_no_other_draw() -> None:
    plain = SimulationParameters(acquisition=AcquisitionParameters(shift_sigma_angstrom=(3.0, 10.0)))
    microscope = MicroscopeParameters(defocus_jitter_um=0.2, astigmatism_um=(0.1, 0.3))
    before, after = (draw_tilts(p, 5, 1) for p in (plain, replace(plain, microscope=microscope)))
    for one, other in zip(before, after, strict=True):
        assert one.shift_x_angstrom == other.shift_x_angstrom
        assert one.dose_e_per_a2 == other.dose_e_per_a2
        assert one.astigmatism_um == 0.0
        assert 0.1 <= other.astigmatism_um <= 0.3
        assert 0 <= other.astigmatism_deg < 180
    jitter = np.array([b.defocus_um - a.defocus_um for a, b in zip(before, after, strict=True)])
    assert jitter.std() == pytest.approx(0.2, rel=0.25)
    assert len({tilt.astigmatism_deg for tilt in after}) == 1
