"""A label that stands for several classes is learned, and the classes stay apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from maskloop_backend.training.merging import Merging, Resolver
from maskloop_backend.training.metrics import VOID
from maskloop_converters.samples import LabelSet

CLASSES = LabelSet.from_names(["car", "road", "truck", "tram"])
LABELS = LabelSet.from_names(["road", "Auto", "tram"])
AUTO = Merging(CLASSES, LABELS, (1, 0, 1, 2))


def test_predicted_classes_are_drawn_as_their_labels() -> None:
    assert AUTO.table[np.array([0, 1, 2, 3])].tolist() == [1, 0, 1, 2]
    assert AUTO.several == {"Auto": ["car", "truck"]}
    assert AUTO.learned(frozenset({"Auto"})) == {"car", "truck"}
    assert AUTO.learned(frozenset({"road", "gone"})) == {"road"}
    assert not AUTO.trivial
    assert Merging(LABELS, LABELS, (0, 1, 2)).trivial


@pytest.mark.parametrize("into", [(0, 1, 2), (0, 0, 0, 0), (1, 0, 3, 2)])
def test_every_class_is_one_label_and_no_label_is_empty(into: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="4 classes are drawn as"):
        Merging(CLASSES, LABELS, into)


@dataclass
class Start:
    """A version with the classes road, truck, car: its logits are the image's channels."""

    calls: list[Any] = field(default_factory=list)

    @property
    def model(self) -> Any:
        return self

    @property
    def labels(self) -> LabelSet:
        return LabelSet.from_names(["road", "truck", "car"])

    def predict_on_batch(self, images: Any) -> Any:
        self.calls.append(images.shape)
        return images


def test_a_pixel_has_the_class_of_its_label_that_the_start_finds_most_likely() -> None:
    road, truck, car, unsure = (250, 40, 30), (10, 90, 80), (10, 80, 90), (200, 60, 50)
    image = np.array([[road, truck, car, unsure], [car, car, car, car]], np.uint8)
    target = np.array([[1, 1, 1, 1], [VOID, 0, 2, 1]], np.uint8)
    start: Any = Start()
    resolved = Resolver(AUTO, start)(image, target)
    # where the start says road, people know better; of what they drew it is a truck
    assert resolved.tolist() == [[2, 2, 0, 2], [VOID, 1, 3, 0]]
    assert start.calls == [(1, 2, 4, 3)]
    # nothing is asked where every label is one class
    assert Resolver(AUTO, start)(image, np.full((2, 4), 2, np.uint8)).tolist() == [[3] * 4] * 2
    assert len(start.calls) == 1
