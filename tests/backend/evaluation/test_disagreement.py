"""How much a version disagrees with labels: sure mistakes before hard images, and only where both can be compared."""

from __future__ import annotations

import numpy as np
import pytest

from maskloop_backend.evaluation.disagreement import comparable, disagreements
from maskloop_backend.training.metrics import VOID

from .labelled import Told, examples_of

NAMES = ("sky", "road", "car")


def scene() -> np.ndarray:
    """Sky above road, a car on it."""
    target = np.zeros((100, 120), np.uint8)
    target[50:] = 1
    target[60:80, 30:70] = 2
    return target


def test_a_label_that_is_surely_wrong_comes_before_a_hard_image() -> None:
    poisoned, hard = scene(), scene()
    poisoned[60:80, 30:70] = 1  # the car was given to the road: 800 of 12,000 pixels
    unsure = np.full(hard.shape, 230, np.uint8)
    guessed = hard.copy()
    guessed[:25], unsure[:25] = 1, 120  # 3,000 pixels, of which the model is not sure
    sure = np.full(hard.shape, 230, np.uint8)
    told = Told("v1", NAMES, [scene(), guessed, scene()], [sure, unsure, sure])
    seen: list[int] = []
    first, second, third = disagreements(told, examples_of([poisoned, hard, scene()], NAMES), each=seen.append)
    assert seen == [1, 2, 3]
    assert [one.image for one in (first, second, third)] == ["000", "001", "002"]
    assert first.score > 0.5 > second.score > third.score == 0
    assert first.score == pytest.approx(0.5 + sum(one.score for one in first.suspects) / 12000 / 2)
    (suspect,) = first.suspects
    assert suspect.said.startswith("road looks like car (90% sure, 800 pixels; left, top, width, height 30, 60, 40, 20")
    assert (first.share, second.share) == (pytest.approx(800 / 12000), pytest.approx(3000 / 12000))
    assert second.weighted == pytest.approx(3000 * 120 / (3000 * 120 + 9000 * 230))
    assert second.score == second.weighted / 2
    assert first.iou["car"] == 0
    assert first.iou["road"] == pytest.approx(5200 / 6000)
    assert third.iou == {"sky": 1, "road": 1, "car": 1}


def test_classes_that_one_side_lacks_are_no_disagreement() -> None:
    """The version is from before there were cars, and knows trees, which the labels do not."""
    predicted = np.where(scene() == 2, 1, scene())
    predicted[:10] = 2
    told = Told("old", ["sky", "road", "tree"], [predicted])
    (found,) = disagreements(told, examples_of([scene()], NAMES))
    assert (found.share, found.weighted, found.score, found.suspects) == (0, 0, 0, ())
    assert found.pixels == 12000 - 800 - 1200
    assert found.iou == {"sky": 1, "road": 1, "car": None}


def test_nothing_that_can_be_compared() -> None:
    told = Told("old", ["car", "tree"], [np.zeros((100, 120))])
    target = np.where(scene() == 2, VOID, scene())
    (found,) = disagreements(told, examples_of([target], NAMES))
    assert (found.pixels, found.score) == (0, 0)


def test_what_is_comparable() -> None:
    target = np.array([[0, 1, 2, VOID, 0]], np.uint8)
    predicted = np.array([[1, 1, 1, 1, 3]], np.uint8)
    judged = comparable(target, predicted, NAMES, ["sky", "car"])
    assert judged.tolist() == [[True, False, True, False, False]]
