"""The confusion matrix against a count pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskloop_backend.training.metrics import VOID, ConfusionMatrix, Evaluation


def by_hand(target: np.ndarray, predicted: np.ndarray, k: int) -> float:
    """IoU of class k from sets of pixels."""
    pairs = [(t, p) for t, p in zip(target.ravel().tolist(), predicted.ravel().tolist(), strict=True) if t != VOID]
    both = sum(t == k and p == k for t, p in pairs)
    either = sum(k in (t, p) for t, p in pairs)
    return both / either if any(t == k for t, _ in pairs) else float("nan")


@given(
    hnp.arrays(np.uint8, (2, 5, 6), elements=st.sampled_from([0, 1, 2, 3, VOID])),
    hnp.arrays(np.uint8, (2, 5, 6), elements=st.integers(0, 3)),
)
def test_iou_is_that_of_sets_of_pixels(target: np.ndarray, predicted: np.ndarray) -> None:
    matrix = ConfusionMatrix(4)
    for one, other in zip(target, predicted, strict=True):
        matrix.add(one, other)
    wanted = [by_hand(target, predicted, k) for k in range(4)]
    np.testing.assert_allclose(matrix.iou(), wanted)
    judged = target != VOID
    known = [value for value in wanted if value == value]
    assert matrix.miou() == pytest.approx(np.mean(known) if known else 0)
    right = (target == predicted)[judged]
    assert matrix.pixel_accuracy() == pytest.approx(right.mean() if right.size else 0)


def test_predictions_at_void_pixels_do_not_matter() -> None:
    matrix = ConfusionMatrix(2)
    matrix.add(np.array([0, VOID, 1]), np.array([0, 77, 1]))
    assert matrix.miou() == 1


@pytest.mark.parametrize(
    ("target", "predicted", "message"),
    [
        ([0, 1], [0], "shape"),
        ([0, 2], [0, 1], "target holds 0..2, expected 0..1"),
        ([0, 1], [0, 5], "prediction holds 0..5, expected 0..1"),
    ],
)
def test_values_that_are_no_channel_are_refused(target: list[int], predicted: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(2).add(np.array(target), np.array(predicted))


def test_a_class_that_the_target_does_not_have_has_no_iou() -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(np.array([0, 0, 1]), np.array([0, 2, 1]))
    evaluation = Evaluation.of(matrix, ["sky", "road", "tree"], epoch=3)
    assert evaluation.iou == {"sky": 0.5, "road": 1.0, "tree": None}
    assert evaluation.miou == 0.75
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
