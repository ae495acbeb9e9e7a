"""Labelled images in memory, segmenters that answer what they are told, and measurements that are made up."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskloop_backend.evaluation.measurement import Measurement
from maskloop_backend.inference.prediction import Prediction
from maskloop_backend.training.dataset import Examples
from maskloop_backend.training.metrics import VOID
from maskloop_converters.masks import RunList
from maskloop_converters.samples import ImageRef, LabelSet, Region, Sample


class Told:
    """A segmenter that knows the answer for each image: by the number in its first pixel, see :func:`examples_of`."""

    def __init__(
        self,
        version: str,
        names: Sequence[str],
        label_maps: Sequence[NDArray[Any]],
        confidences: Sequence[NDArray[Any]] | None = None,
    ) -> None:
        self.version = version
        self.labels = LabelSet.from_names(list(names))
        self._label_maps = [np.asarray(label_map, np.uint8) for label_map in label_maps]
        self._confidences = confidences or [np.full(label_map.shape, 200, np.uint8) for label_map in self._label_maps]
        self.asked: list[int] = []

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        """Answer."""
        numbers = [int(image[0, 0, 0]) for image in images]
        self.asked += numbers
        return [Prediction(self._label_maps[k], self._confidences[k], 0.5) for k in numbers]


def samples_of(targets: Sequence[NDArray[Any]], labels: LabelSet) -> list[Sample]:
    """Return samples '000', '001', ... with the given channels (VOID is uncovered); all of image k's pixels are k."""
    samples = []
    for k, target in enumerate(np.asarray(target, np.uint8) for target in targets):
        pixels = io.BytesIO()
        Image.fromarray(np.full((*target.shape, 3), k, np.uint8)).save(pixels, "PNG")
        channels = [channel for channel in np.unique(target).tolist() if channel != VOID]
        height, width = target.shape
        masks = RunList.from_masks([target == channel for channel in channels], height=height, width=width)
        regions = tuple(Region(labels.classes[channel].id) for channel in channels)
        samples.append(Sample(f"{k:03}", ImageRef(f"{k:03}.png", pixels.getvalue()), masks, regions))
    return samples


def examples_of(targets: Sequence[NDArray[Any]], names: Sequence[str]) -> Examples:
    """Return :func:`samples_of` channels as examples."""
    labels = LabelSet.from_names(list(names))
    return Examples(samples_of(targets, labels), labels)


def measured(confusion: Any, version: str = "v", labels: tuple[str, ...] = ("sky", "road")) -> Measurement:
    """Return a measurement with confusion matrices (N, K, K), outlines as long as the areas are large."""
    square = np.asarray(confusion, np.int64)
    images, classes = square.shape[:2]
    hits, truth, predicted = np.diagonal(square, axis1=1, axis2=2), square.sum(2), square.sum(1)
    return Measurement(
        version,
        labels[:classes],
        tuple(f"{k:04}" for k in range(images)),
        np.concatenate([square, np.zeros((images, classes, 1), np.int64)], axis=2),
        np.stack([hits, predicted, hits, truth], axis=2),
        np.zeros((images, 15, 3), np.int64),
    )


def two_classes(right: NDArray[Any]) -> NDArray[np.int64]:
    """Return (N, 2, 2): of 1000 pixels of each class of image n, right[n] are right."""
    hits = np.rint(np.clip(right, 0, 1) * 1000).astype(np.int64)
    return np.stack([np.stack([hits, 1000 - hits], -1), np.stack([1000 - hits, hits], -1)], -2)
