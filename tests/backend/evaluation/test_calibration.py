"""Reliability bins and the calibration error, against a loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskloop_backend.evaluation.calibration import BINS, calibration_counts, calibration_error, reliability


@given(hnp.arrays(np.uint8, st.integers(1, 60)), st.integers(0, 2**32 - 1))
def test_bins_and_error_are_those_of_a_loop(confidence: np.ndarray, seed: int) -> None:
    right = np.random.default_rng(seed).random(len(confidence)) < 0.6
    counts = calibration_counts(confidence, right)
    edges = np.linspace(0, 1, BINS + 1)
    error = 0.0
    for k, found in enumerate(reliability(counts)):
        values = confidence / 255
        inside = (values >= edges[k] - 1e-12) & ((values < edges[k + 1] - 1e-12) | (k == BINS - 1))
        assert found.pixels == inside.sum()
        assert (found.low, found.high) == (pytest.approx(edges[k]), pytest.approx(edges[k + 1]))
        if inside.any():
            assert found.confidence == pytest.approx(values[inside].mean())
            assert found.accuracy == pytest.approx(right[inside].mean())
            error += inside.mean() * abs(values[inside].mean() - right[inside].mean())
        else:
            assert found.confidence is found.accuracy is None
    assert calibration_error(counts) == pytest.approx(error)


def test_a_drawn_case() -> None:
    # four pixels at 0.8, three of them right; one at 1, wrong
    counts = calibration_counts(np.array([204] * 4 + [255], np.uint8), np.array([True, True, True, False, False]))
    assert [level.pixels for level in reliability(counts) if level.pixels] == [4, 1]
    assert calibration_error(counts) == pytest.approx((4 * 0.05 + 1 * 1) / 5)


def test_no_pixel_no_error() -> None:
    assert calibration_error(calibration_counts(np.zeros(0, np.uint8), np.zeros(0, bool))) is None
