"""Which pixels are left unlabelled, to the step of confidence."""

from __future__ import annotations

import numpy as np
import pytest

from maskloop_backend.inference import doubt
from maskloop_backend.inference.prediction import Prediction
from maskloop_converters.errors import DataError


def prediction(*confidence: int) -> Prediction:
    row = np.array([confidence], np.uint8)
    return Prediction(np.zeros_like(row), row, 0.5)


@pytest.mark.parametrize(
    ("below", "left"),
    [(0.5, [True, True, False, False]), (128 / 255, [True, True, False, False]), (0.99, [True, True, True, False])],
)
def test_less_confidence_than_the_threshold_is_left(below: float, left: list[bool]) -> None:
    found = doubt.doubtful(prediction(0, 127, 128, 255), below)
    assert found is not None
    assert found.tolist() == [left]
    assert doubt.share(found) == pytest.approx(sum(left) / 4)


def test_nothing_is_left_without_a_threshold_or_where_all_is_sure() -> None:
    assert doubt.doubtful(prediction(0, 255), 0.0) is None
    assert doubt.doubtful(prediction(200, 255), 0.5) is None
    assert doubt.share(None) == 0


@pytest.mark.parametrize("below", [-0.1, 1.0, float("nan"), float("inf")])
def test_other_thresholds_are_refused(below: float) -> None:
    with pytest.raises(DataError, match="--confidence-below"):
        doubt.check_threshold(below)
