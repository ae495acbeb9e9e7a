"""A model over examples at their full size: the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import cv2
import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .dataset import Examples
from .merging import Merging
from .metrics import ConfusionMatrix


def evaluate(
    model: keras.Model,
    examples: Examples,
    *,
    batch_size: int = 4,
    zoom: float = 1.0,
    merging: Merging | None = None,
    check: Callable[[], None] = lambda: None,
) -> ConfusionMatrix:
    """Return the confusion matrix of a model over examples, at their full size.

    Args:
        model: images (B, H, W, 3) -> logits (B, H, W, K).
        examples: images of one size in a row are predicted together.
        batch_size: at most so many together.
        zoom: the model is shown the images so many times as large; its logits are interpolated to their size.
        merging: how the model's classes are drawn in the examples, where they are not the same.
        check: called between batches; what it raises ends the evaluation.
    """
    matrix = ConfusionMatrix(len(examples.labels.classes))
    for batch in _same_size(examples.shapes, batch_size):
        check()
        pairs = [examples[index] for index in batch]
        images = np.stack([image for image, _ in pairs])
        logits = _zoomed(model, images, zoom) if zoom != 1 else model.predict_on_batch(images.astype(np.float32))
        decided = np.argmax(logits, axis=-1)
        drawn = decided if merging is None else merging.table[decided]
        matrix.add(np.stack([target for _, target in pairs]), drawn)
    return matrix


def _zoomed(model: keras.Model, images: NDArray[np.uint8], zoom: float) -> NDArray[np.float32]:
    """Return logits float32 (B, H, W, K) of images (B, H, W, 3) that are shown to the model in another size."""
    height, width = images.shape[1:3]
    size = round(width * zoom), round(height * zoom)
    seen = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)) for image in images]
    logits = np.asarray(model.predict_on_batch(np.stack(seen).astype(np.float32)))
    # a plane at a time: OpenCV resizes up to four channels together
    planes = [[cv2.resize(one[..., k], (width, height)) for k in range(one.shape[-1])] for one in logits]
    return np.stack([np.stack(one, axis=-1) for one in planes])


def _same_size(shapes: Sequence[tuple[int, int]], most: int) -> Iterator[list[int]]:
    """Yield lists of indices of neighbours with the same shape, at most so many."""
    batch: list[int] = []
    for index, shape in enumerate(shapes):
        if batch and (len(batch) == most or shapes[batch[0]] != shape):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
