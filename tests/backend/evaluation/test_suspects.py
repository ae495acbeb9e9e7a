"""Planted label errors are found, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maskloop_backend.evaluation.assessment import assess
from maskloop_backend.evaluation.suspects import SuspectFinder
from maskloop_backend.training.metrics import VOID

from .labelled import Told, examples_of

NAMES = ("sky", "road", "car")


def found(targets: Any, label_maps: Any, confidences: Any) -> Any:
    finder = SuspectFinder(NAMES, [f"{k:03}" for k in range(len(targets))])
    for index, arrays in enumerate(zip(targets, label_maps, confidences, strict=True)):
        finder(index, *(np.asarray(array, np.uint8) for array in arrays))
    return finder.ranked()


def scene(rows: int = 100, columns: int = 120) -> np.ndarray:
    """Sky above road, a car on it."""
    target = np.zeros((rows, columns), np.uint8)
    target[rows // 2 :] = 1
    target[60:80, 30:70] = 2
    return target


def test_planted_errors_lead_the_list_where_the_model_errs_too() -> None:
    random = np.random.default_rng(0)
    targets, label_maps, confidences = [], [], []
    planted = {3: 2, 7: 1, 11: 2}
    for k in range(16):
        truth = scene()
        target, predicted = truth.copy(), truth.copy()
        if k in planted:
            # the annotator gave the car another class
            target[60:80, 30:70] = 0 if planted[k] == 2 else 1
        confidence = random.integers(200, 250, truth.shape).astype(np.uint8)
        # the model errs too: outlines are off by a pixel, and now and then it is wrong and unsure
        predicted[49:50] = 1
        left = int(random.integers(80, 100))
        predicted[10:24, left : left + 14], confidence[10:24, left : left + 14] = 1, 150
        targets.append(target)
        label_maps.append(predicted)
        confidences.append(confidence)
    suspects = found(targets, label_maps, confidences)
    assert {suspect.index for suspect in suspects} == set(planted)
    assert len(suspects) == 3
    first = suspects[0]
    assert (first.predicted, first.box, first.pixels) == ("car", (30, 60, 40, 20), 800)
    assert first.score <= first.pixels
    assert {suspect.label for suspect in suspects} == {"sky", "road"}


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({}, 1),
        ({"confidence": 100}, 0),  # no majority
        ({"confidence": 199}, 0),  # less sure than elsewhere
        ({"target": VOID}, 0),
        ({"predicted": 3}, 0),  # a class that the label set lacks
        ({"rows": slice(60, 62)}, 0),  # an outline that is off
    ],
)
def test_what_is_a_suspect(change: dict[str, Any], count: int) -> None:
    area = change.get("rows", slice(60, 80)), slice(30, 70)
    target, predicted, confidence = scene(), scene(), np.full((100, 120), 200, np.uint8)
    target[60:80, 30:70] = predicted[60:80, 30:70] = 1
    predicted[area] = change.get("predicted", 2)
    target[area] = change.get("target", 1)
    confidence[area] = change.get("confidence", 220)
    # a second image, whose car the model finds
    assert len(found([target, scene()], [predicted, scene()], [confidence, np.full((100, 120), 200)])) == count


def test_a_class_that_the_model_never_finds_is_not_suspected() -> None:
    blind = np.where(scene() == 2, 1, scene())
    sure = np.full(blind.shape, 250)
    assert found([scene()] * 3, [blind] * 3, [sure] * 3) == []
    assert len(found([scene()] * 3, [blind, scene(), scene()], [sure] * 3)) == 1


def test_areas_that_do_not_touch_are_suspects_by_themselves() -> None:
    target = scene()
    target[60:80, 30:70] = target[85:99, 90:110] = 1
    predicted = target.copy()
    predicted[60:80, 30:70] = predicted[85:99, 90:110] = 2
    sure = np.full(target.shape, 250)
    suspects = found([target, scene()], [predicted, scene()], [sure, sure])
    assert [suspect.pixels for suspect in suspects] == [800, 280]


def test_an_assessment_finds_them_and_compares() -> None:
    target = scene()
    target[60:80, 30:70] = 1
    right = Told("new", NAMES, [scene(), scene()])
    poor = Told("old", ["sky"], [np.zeros((100, 120))] * 2)
    done: list[tuple[int, int]] = []
    assessment = assess(
        right, examples_of([target, scene()], NAMES), against=poor, each=lambda k, n: done.append((k, n))
    )
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    values = assessment.to_json()
    assert [suspect["image"] for suspect in values["suspects"]] == ["000"]
    assert values["against"]["serving"] == "old"
    assert values["against"]["iou"]["car"]["serving"] == 0
    assert values["by_image"][1] == {"image": "001", "miou": 1.0, "pixel_accuracy": 1.0}
    assert np.sum(values["confusion"]) == 2 * target.size
    assert sum(level["pixels"] for level in values["reliability"]) == 2 * target.size
