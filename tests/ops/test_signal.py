"""The signal-to-noise ratio as sums that can be added in any order."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest

from cryodask.model.source import ArraySource
from cryodask.ops.signal import SignalSums, signal_sums

SHAPE = (6, 20, 10)
GENERATOR = np.random.default_rng(0)
SIGNAL = GENERATOR.normal(2.0, 1.5, SHAPE).astype(np.float32)
NOISY = SIGNAL + GENERATOR.normal(-1.0, 0.7, SHAPE).astype(np.float32)
MASK = (GENERATOR.random(SHAPE) < 0.3).astype(np.uint8) * 3


def sums(low: int, high: int) -> SignalSums:
    return signal_sums(ArraySource(NOISY), ArraySource(SIGNAL), ArraySource(MASK), (low, high))


def test_ratio_is_that_of_the_variances_within_the_mask() -> None:
    noisy = NOISY[MASK > 0].astype(np.float64)
    noise = noisy - SIGNAL[MASK > 0]
    expected = (noisy.var() - noise.var()) / noise.var()
    assert sums(0, 20).snr() == pytest.approx(expected, rel=1e-9)
    # Close to what the generator was told.
    assert expected == pytest.approx((1.5 / 0.7) ** 2, rel=0.3)


def test_slabs_add_up_in_any_order() -> None:
    whole = sums(0, 20)
    parts = [sums(0, 7), sums(7, 8), sums(8, 20)]
    for order in (parts, parts[::-1]):
        merged = reduce(SignalSums.merge, order, SignalSums())
        assert merged.count == whole.count == int((MASK > 0).sum())
        assert merged.noisy_squared == pytest.approx(whole.noisy_squared, rel=1e-12)
        assert merged.snr() == pytest.approx(whole.snr(), rel=1e-10)


def test_a_fixed_order_gives_the_same_bits() -> None:
    parts = [sums(start, start + 4) for start in range(0, 20, 4)]
    assert reduce(SignalSums.merge, parts, SignalSums()) == reduce(SignalSums.merge, parts, SignalSums())
    assert SignalSums().merge(parts[0]) == parts[0]


def test_no_protein_or_no_noise_has_no_ratio() -> None:
    assert SignalSums().snr() is None
    empty = ArraySource(np.zeros(SHAPE, np.uint8))
    assert signal_sums(ArraySource(NOISY), ArraySource(SIGNAL), empty, (0, 20)).snr() is None
    clean = signal_sums(ArraySource(SIGNAL), ArraySource(SIGNAL), ArraySource(MASK), (0, 20))
    assert clean.snr() is None


def test_classes_behind_the_proteins_do_not_count() -> None:
    labelled = np.where(MASK > 0, 2, 0).astype(np.uint8)
    labelled[:, :10] //= 2
    sources = ArraySource(NOISY), ArraySource(SIGNAL), ArraySource(labelled)
    every = signal_sums(*sources, (0, 20))
    proteins = signal_sums(*sources, (0, 20), labels=1)
    assert proteins.count == int((labelled == 1).sum())
    assert 0 < proteins.count < every.count
