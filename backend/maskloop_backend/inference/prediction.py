"""What a model says of one image."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.samples import LabelSet


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The label map of one image and how sure the model is of each pixel.

    Attributes:
        label_map: uint8 (H, W), the channel with the highest probability: index into ``labels.classes``.
        confidence: uint8 (H, W), that highest softmax probability times 255, rounded.
        score: float in 0..1, never NaN, the image's score as Label Studio shows it and sorts by; see
            :func:`.score.image_score`.
    """

    label_map: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    score: float


# The predictions of some images, made in several steps.
Steps = Generator[None, None, list[Prediction]]


class Segmenter(Protocol):
    """A model version that is ready to predict. Thread-safe: the server calls it from several threads."""

    @property
    def version(self) -> str:
        """The model version's name ('fcn32s-vgg16-20261122-1a2b3c4d')."""
        ...

    @property
    def labels(self) -> LabelSet:
        """What the channels mean: channel k is ``labels.classes[k]``."""
        ...

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        """Return one prediction an image.

        Args:
            images: uint8 (H, W, 3) RGB arrays, sizes may differ.
        """
        ...


class Stepwise(Segmenter, Protocol):
    """A segmenter that can be paused between the parts of a large image."""

    def steps(self, images: Sequence[NDArray[Any]]) -> Steps:
        """Return what :meth:`predict` returns, as a generator that pauses every now and then."""
        ...


def in_steps(segmenter: Segmenter, images: Sequence[NDArray[Any]]) -> Steps:
    """Predict in steps, in one where the segmenter knows no others."""
    steps = getattr(segmenter, "steps", None)
    if steps is None:
        return segmenter.predict(images)
    predictions: list[Prediction] = yield from steps(images)
    return predictions


def finished(steps: Steps) -> list[Prediction]:
    """Take all steps and return the predictions."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            predictions: list[Prediction] = done.value
            return predictions
