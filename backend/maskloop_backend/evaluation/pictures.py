"""Pictures for reports: overlays, mistakes, what changed between two versions; inline JPEG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskloop_converters.formats.labels import color_table
from maskloop_converters.overlay import OPACITY, UNKNOWN_COLOR, paint
from maskloop_converters.samples import Color, LabelSet

from ..inference.prediction import Segmenter
from ..training.dataset import Examples
from ..training.metrics import VOID
from .measurement import channel_map

# Blue and orange are told apart by every eye.
GOOD: Color = (30, 110, 255)
BAD: Color = (255, 90, 20)
BOTH: Color = (250, 205, 40)
# Longest side of a picture in a report, in pixels.
LONGEST = 480
_GREY = 0.35
_VOID_STRIPE = 8

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]


def class_colors(labels: LabelSet) -> list[Color]:
    """Return the colour of each class that measures; one more, for a class that the set lacks."""
    table = color_table(labels)
    return [*(table[label.id] for label in labels.classes), UNKNOWN_COLOR]


def overlay(image: Pixels, label_map: Pixels, colors: Sequence[Color]) -> Pixels:
    """Return an image with a map of channels drawn over it; void stays as it is."""
    return paint(image, [(label_map == k, colors[k]) for k in np.unique(label_map).tolist() if k != VOID])


def mistakes(image: Pixels, target: Pixels, predicted: Pixels) -> Pixels:
    """Return a grey image with the wrong pixels in orange and void striped."""
    wrong = (target != predicted) & (target != VOID)
    return _marked(image, target, [(wrong, BAD)])


def change(image: Pixels, target: Pixels, before: Pixels, after: Pixels) -> Pixels:
    """Return a grey image: what got right is blue, what got wrong orange, what stayed wrong yellow, void striped."""
    judged = target != VOID
    was, became = (before != target) & judged, (after != target) & judged
    return _marked(image, target, [(was & ~became, GOOD), (became & ~was, BAD), (was & became, BOTH)])


def framed(picture: Pixels, box: Box) -> Pixels:
    """Return the surroundings of a box, which is framed in white and black.

    Args:
        picture: uint8 (H, W, 3).
        box: left, top, width, height.
    """
    left, top, width, height = box
    canvas = boxed(picture, [box])
    around = max(32, width // 2, height // 2)
    return canvas[max(0, top - around) : top + height + around, max(0, left - around) : left + width + around]


def boxed(picture: Pixels, boxes: Sequence[Box]) -> Pixels:
    """Return a picture, uint8 (H, W, 3), with boxes (left, top, width, height) framed in white and black."""
    canvas = picture.copy()
    for box in boxes:
        _frame(canvas, box)
    return canvas


def _frame(canvas: Pixels, box: Box) -> None:
    left, top, width, height = box
    for margin, value in ((1, 255), (2, 0)):
        rows, columns = (top - margin, top + height - 1 + margin), (left - margin, left + width - 1 + margin)
        ys, xs = (
            np.arange(max(0, low), min(size, high + 1))
            for (low, high), size in zip((rows, columns), canvas.shape[:2], strict=True)
        )
        for row in rows:
            if 0 <= row < canvas.shape[0]:
                canvas[row, xs] = value
        for column in columns:
            if 0 <= column < canvas.shape[1]:
                canvas[ys, column] = value


def data_uri(picture: Pixels, longest: int = LONGEST) -> str:
    """Return a picture as an inline JPEG, shrunk where its longer side has more pixels."""
    small = Image.fromarray(picture)
    small.thumbnail((longest, longest))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def predictions(segmenter: Segmenter, examples: Examples, indices: Sequence[int]) -> dict[int, Pixels]:
    """Return what a version predicts for some of the images, in the examples' channels: uint8 (H, W) by index."""
    table = channel_map(segmenter, examples.labels)
    found = {}
    for index in sorted(set(indices)):
        # one by one: a report draws few images, and they may be large
        (prediction,) = segmenter.predict([examples[index][0]])
        found[index] = table[prediction.label_map]
    return found


def _marked(image: Pixels, target: Pixels, marks: Sequence[tuple[NDArray[np.bool_], Color]]) -> Pixels:
    grey = image.mean(axis=2, keepdims=True) * (1 - _GREY) + 255 * _GREY
    canvas = np.repeat(grey, 3, axis=2)
    rows, columns = np.indices(target.shape)
    canvas[(target == VOID) & ((rows + columns) % _VOID_STRIPE < 2)] *= 0.6
    for mask, color in marks:
        # more of the colour than an overlay has: single pixels are to be seen
        canvas[mask] += (np.array(color) - canvas[mask]) * (1 - OPACITY / 2)
    return canvas.round().astype(np.uint8)
