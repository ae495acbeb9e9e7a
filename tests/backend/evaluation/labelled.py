"""Labelled images in memory, and segmenters that answer what they are told."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
