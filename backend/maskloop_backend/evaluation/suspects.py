"""Labels that may be wrong: where a model that is sure of itself disagrees with them, away from every outline.

After confident learning (Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021):
the model counts as sure where its confidence is no more than a standard deviation below what it has where it agrees with
the labels of that class. A model that often errs is no witness: what it says counts by how often the labels agree when
it says so, and by how often it recognises the class that it denies. A class that it never finds is never suspected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..training.metrics import VOID
from .boundary import tolerance_of

# Nobody calls a model sure that gives every fourth chance to other classes: mean confidence, of 255.
_FLOOR = 0.75 * 255


@dataclass(frozen=True, slots=True)
class Suspect:
    """A connected area with one label, of which the model is sure that it is another class.

    Attributes:
        index: of the image in the examples.
        image: its id.
        label: name of the class that the dataset gives.
        predicted: name of the class that the model gives.
        box: left, top, width, height in pixels.
        pixels: of the area.
        confidence: the model's mean, 0..1.
        score: pixels x confidence x precision of the predicted class x recall of the labelled one, both as the labels
            have it; about the number of pixels that are labelled wrongly.
    """

    index: int
    image: str
    label: str
    predicted: str
    box: tuple[int, int, int, int]
    pixels: int
    confidence: float
    score: float

    @property
    def said(self) -> str:
        """What people are told of it, without the image."""
        box = ", ".join(map(str, self.box))
        return (
            f"{self.label} looks like {self.predicted} ({self.confidence:.0%} sure, {self.pixels:,} pixels; left, top, "
            f"width, height {box})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "image": self.image,
            "label": self.label,
            "predicted": self.predicted,
            "box": list(self.box),
            "pixels": self.pixels,
            "confidence": self.confidence,
            "score": self.score,
        }


class SuspectFinder:
    """Gathers suspicious labels while a version is measured: a :class:`~.measurement.Watcher`.

    Args:
        labels: names of the K classes that measure.
        ids: of the images, by index.
    """

    def __init__(self, labels: Sequence[str], ids: Sequence[str]) -> None:
        self._labels = labels
        self._ids = ids
        self._found: list[tuple[int, int, int, tuple[int, int, int, int], int, float]] = []
        # by class: pixels predicted, pixels labelled, pixels that are both; of those the sums of the confidences and of
        # their squares
        self._agreement = np.zeros((len(labels), 5), np.int64)

    def __call__(
        self, index: int, target: NDArray[np.uint8], predicted: NDArray[np.uint8], confidence: NDArray[np.uint8]
    ) -> None:
        """Look at one image."""
        classes = len(self._labels)
        comparable = (target != VOID) & (predicted < classes)
        right = comparable & (target == predicted)
        self._agreement[:, 0] += np.bincount(predicted[comparable], minlength=classes)
        self._agreement[:, 1] += np.bincount(target[target != VOID], minlength=classes)
        self._agreement[:, 2] += np.bincount(predicted[right], minlength=classes)
        sure = confidence[right].astype(np.int64)
        self._agreement[:, 3] += np.bincount(predicted[right], sure, classes).astype(np.int64)
        self._agreement[:, 4] += np.bincount(predicted[right], sure**2, classes).astype(np.int64)
        reach = tolerance_of(*target.shape)
        # agreement is the last number
        pairs = np.where(comparable & ~right, target.astype(np.int32) * classes + predicted, classes**2)
        sizes = np.bincount(pairs.ravel(), minlength=classes**2 + 1)[: classes**2]
        for pair in np.flatnonzero(sizes >= (2 * reach + 1) ** 2).tolist():
            self._components(index, pair, (pairs == pair).astype(np.uint8), confidence, reach)

    def ranked(self, limit: int | None = None) -> list[Suspect]:
        """Return the suspects, most wrongly labelled pixels first."""
        predictions, labels, agreed, total, squares = self._agreement.astype(np.float64).T
        mean, square = (values / np.maximum(agreed, 1) for values in (total, squares))
        sure = mean - np.sqrt(np.maximum(square - mean**2, 0))
        precision, recall = agreed / np.maximum(predictions, 1), agreed / np.maximum(labels, 1)
        suspects = [
            Suspect(
                index,
                self._ids[index],
                self._labels[label],
                self._labels[predicted],
                box,
                area,
                level / 255,
                area * level / 255 * float(precision[predicted] * recall[label]),
            )
            for index, label, predicted, box, area, level in self._found
            if level >= sure[predicted] and precision[predicted] * recall[label] > 0
        ]
        return sorted(suspects, key=lambda suspect: -suspect.score)[:limit]

    def _components(
        self, index: int, pair: int, mask: NDArray[np.uint8], confidence: NDArray[np.uint8], reach: int
    ) -> None:
        """Keep the connected parts of a mask into which a square fits that reaches over an outline's tolerance."""
        # the picture's border is no edge of an area
        deep = cv2.erode(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
        if not deep.any():
            return
        _, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        label, predicted = divmod(pair, len(self._labels))
        for part in np.unique(parts[deep > 0]).tolist():
            left, top, width, height, area = stats[part].tolist()
            inside = parts[top : top + height, left : left + width] == part
            mean = float(confidence[top : top + height, left : left + width][inside].mean())
            if mean >= _FLOOR:
                self._found.append((index, label, predicted, (left, top, width, height), area, mean))
