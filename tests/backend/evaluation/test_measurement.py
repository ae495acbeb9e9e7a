"""Counts and scores against Keras' own metrics, and classes matched by name."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskloop_backend.evaluation import measurement as module
from maskloop_backend.evaluation.boundary import boundary_counts
from maskloop_backend.evaluation.calibration import calibration_counts
from maskloop_backend.evaluation.measurement import MeasurementError, measure
from maskloop_backend.training.metrics import VOID
from maskloop_converters.samples import Label, LabelSet

from .labelled import Told, examples_of

NAMES = ("sky", "road", "tree", "car")


def drawn(seed: int, count: int, classes: int = 4, void: bool = True) -> tuple[list[Any], list[Any]]:
    """Return targets and label maps of sizes that differ, half of the pixels right."""
    random = np.random.default_rng(seed)
    targets, label_maps = [], []
    for _ in range(count):
        shape = tuple(random.integers(4, 12, 2).tolist())
        # the last class is in no truth
        target = random.integers(0, classes - 1, shape).astype(np.uint8)
        label_map = np.where(random.random(shape) < 0.5, target, random.integers(0, classes, shape)).astype(np.uint8)
        if void:
            target[random.random(shape) < 0.2] = VOID
        targets.append(target)
        label_maps.append(label_map)
    return targets, label_maps


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=15)
def test_scores_are_those_of_keras(seed: int, count: int) -> None:
    targets, label_maps = drawn(seed, count)
    scores = measure(Told("v", NAMES, label_maps), examples_of(targets, NAMES)).scores
    truth, guess = (np.concatenate([x.ravel() for x in arrays]).astype(np.int32) for arrays in (targets, label_maps))
    judged = truth != VOID
    truth, guess = truth[judged], guess[judged]
    for k in range(4):
        metric = keras.metrics.IoU(4, [k])
        metric.update_state(truth, guess)
        if (truth == k).any():
            assert scores.iou[k] == pytest.approx(float(metric.result()), rel=1e-5)
        else:
            assert np.isnan(scores.iou[k])
    mean = keras.metrics.IoU(4, sorted(set(truth.tolist())))
    mean.update_state(truth, guess)
    assert float(scores.miou) == pytest.approx(float(mean.result()), rel=1e-5)
    assert float(scores.pixel_accuracy) == pytest.approx(float((truth == guess).mean()))


def test_counts_are_those_of_each_image_by_itself() -> None:
    targets, label_maps = drawn(3, 5)
    confidences = [np.random.default_rng(k).integers(0, 256, x.shape).astype(np.uint8) for k, x in enumerate(targets)]
    done: list[int] = []
    found = measure(Told("v", NAMES, label_maps, confidences), examples_of(targets, NAMES), each=done.append)
    assert (found.version, found.labels, found.ids) == ("v", NAMES, ("000", "001", "002", "003", "004"))
    assert done == [1, 2, 3, 4, 5]
    for k, (target, label_map, confidence) in enumerate(zip(targets, label_maps, confidences, strict=True)):
        judged = target != VOID
        pairs = list(zip(target[judged].tolist(), label_map[judged].tolist(), strict=True))
        assert found.confusion[k].tolist() == [[pairs.count((t, p)) for p in range(5)] for t in range(4)]
        np.testing.assert_array_equal(found.boundary[k], boundary_counts(target, label_map, 4))
        right = (target == label_map)[judged]
        np.testing.assert_array_equal(found.calibration[k], calibration_counts(confidence[judged], right))
    part = found.of(["003", "001"])
    assert part.ids == ("001", "003")
    np.testing.assert_array_equal(part.confusion, found.confusion[[1, 3]])
    with pytest.raises(ValueError, match="'900' is none of the 5 images"):
        found.of(["900"])


def test_classes_are_matched_by_name() -> None:
    target = np.array([[0, 0, 1, 1, 2, VOID]])
    # an old version: other order, 'tree' was not known, 'dog' was dropped since
    told = Told("old", ["dog", "road", "sky"], [np.array([[2, 0, 1, 0, 1, 0]])])
    seen: list[Any] = []
    found = measure(
        told,
        examples_of([target], ["sky", "road", "tree"]),
        watch=lambda index, target, predicted, confidence: seen.append((index, predicted.tolist())),
    )
    assert found.confusion[0].tolist() == [[1, 0, 0, 1], [0, 1, 0, 1], [0, 1, 0, 0]]
    assert (found.missing, found.foreign) == (("tree",), ("dog",))
    assert seen == [(0, [[0, 3, 1, 3, 1, 3]])]
    assert found.scores.iou.tolist() == [1 / 2, 1 / 3, 0]
    assert found.scores.miou == pytest.approx(5 / 18)
    assert found.scores.pixel_accuracy == pytest.approx(2 / 5)


def test_a_class_that_is_predicted_where_there_is_none_costs_those_that_are_there() -> None:
    scores = measure(Told("v", NAMES, [np.array([[0, 3]])]), examples_of([np.array([[0, 0]])], NAMES)).scores
    assert scores.miou == 0.5
    assert np.isnan(scores.iou[1:]).all()


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        (["Sky", "road2"], ["sky", "car"], r"no class of v \(Sky, road2\) .* \(sky, car\).*\(--map sky=Sky\?\)"),
        (["a"], ["sky"], r"renames$"),
        ([f"a{k}" for k in range(20)], ["sky"], r"a11 and 8 more"),
    ],
)
def test_nothing_in_common_is_an_error_with_its_fix(theirs: list[str], ours: list[str], message: str) -> None:
    target = np.zeros((2, 2), np.uint8)
    told = Told("v", theirs, [target])
    with pytest.raises(MeasurementError, match=message):
        measure(told, examples_of([target], ours))
    assert told.asked == []


def test_the_ignored_label_is_no_channel() -> None:
    told = Told("v", ["a", "b"], [np.array([[0, 1]])])
    told.labels = LabelSet((Label(0, "void"), Label(1, "a"), Label(2, "b")), ignore_id=0)
    assert measure(told, examples_of([np.array([[0, 1]])], ["a", "b"])).scores.miou == 1


@pytest.mark.parametrize(
    ("together", "pixels", "sizes"), [(2, 1 << 22, [2, 2, 1]), (16, 130, [2, 2, 1]), (16, 1, [1] * 5)]
)
def test_images_go_through_in_batches(
    monkeypatch: pytest.MonkeyPatch, together: int, pixels: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(module, "_TOGETHER", together)
    monkeypatch.setattr(module, "_PIXELS", pixels)
    targets = [np.zeros((8, 8), np.uint8)] * 5
    batches: list[int] = []

    class Counting(Told):
        def predict(self, images: Any) -> Any:
            batches.append(len(images))
            return super().predict(images)

    measure(Counting("v", NAMES, targets), examples_of(targets, NAMES))
    assert batches == sizes
