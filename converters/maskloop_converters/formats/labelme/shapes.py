"""labelme's shapes to masks, as labelme draws them: whole pixels, the outline belongs to the shape."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...codecs import cvat_rle, png
from ...errors import CodecError, FormatError
from ...masks import RunList

#: Shapes that have an area.
AREAS = ("polygon", "rectangle", "circle", "oriented_rectangle", "mask", None)
# Pillow looks at every edge for every row.
_MOST_STEPS = 1 << 28
_FARTHEST = 1e6
_POINTS = {"rectangle": 2, "circle": 2, "oriented_rectangle": 4, "mask": 2}

Box = tuple[int, int, int, int]


def mask_of(shape: dict[str, Any], height: int, width: int, where: str) -> RunList:
    """Return the mask of a shape; FormatError says what is wrong with it."""
    kind = shape.get("shape_type")
    if kind not in AREAS:
        raise FormatError(f"{where}: shape_type {kind!r:.80} is no area")
    points = _points(shape.get("points"), where)
    needed = _POINTS.get(kind or "")
    if needed is not None and len(points) != needed:
        raise FormatError(f"{where}: a {kind} has {needed} points, it has {len(points)}")
    if kind == "mask":
        return _stored(shape.get("mask"), points, height, width, where)
    if kind == "circle":
        (cx, cy), reach = points[0], math.dist(points[0], points[1])
        ends = np.array([[cx - reach, cy - reach], [cx + reach, cy + reach]])
        return _drawn(ends, height, width, lambda draw, xy: draw.ellipse(xy, outline=1, fill=1))
    if kind == "rectangle":
        ends = np.array([points.min(axis=0), points.max(axis=0)])
        return _drawn(ends, height, width, lambda draw, xy: draw.rectangle(xy, outline=1, fill=1))
    if len(points) < 3:
        raise FormatError(f"{where}: a polygon has three points or more, it has {len(points)}")
    rows = min(height, math.ceil(np.ptp(points[:, 1])) + 1)
    if len(points) * rows > _MOST_STEPS:
        raise FormatError(f"{where}: a polygon of {len(points)} points over {rows} rows is no outline")
    return _drawn(np.trunc(points), height, width, lambda draw, xy: draw.polygon(xy, outline=1, fill=1))


def _points(value: Any, where: str) -> NDArray[np.float64]:
    try:
        points = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise FormatError(f"{where}: points are pairs of numbers [x, y], received {value!r:.80}")
    if np.abs(points).max() > _FARTHEST:
        raise FormatError(f"{where}: the coordinate {np.abs(points).max():g} is far outside any image")
    return points


def _drawn(
    points: NDArray[np.float64],
    height: int,
    width: int,
    paint: Callable[[ImageDraw.ImageDraw, list[tuple[float, float]]], object],
) -> RunList:
    """Return what is painted, on a canvas no larger than it has to be.

    It begins at the image's corner: Pillow rounds numbers below zero otherwise than those above.
    """
    low = np.clip(np.floor(points.min(axis=0)), 0, [width, height]).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + 2, 0, [width, height]).astype(int)
    (x, y), (w, h) = low.tolist(), (high - low).tolist()
    if w < 1 or h < 1:
        return RunList.from_rows([np.array([height * width])], height=height, width=width)
    canvas = Image.new("L", (x + w, y + h))
    paint(ImageDraw.Draw(canvas), [(float(px), float(py)) for px, py in points])
    return _placed(np.asarray(canvas)[y:, x:] > 0, (x, y, w, h), height, width)


def _stored(text: Any, points: NDArray[np.float64], height: int, width: int, where: str) -> RunList:
    """Return a mask that stands in a file as PNG; its box's corners are its first and last pixel."""
    if not isinstance(text, str):
        raise FormatError(f"{where}: mask must be a PNG in base64, received {text!r:.80}")
    (x0, y0), (x1, y1) = points.astype(int).tolist()
    try:
        pixels = png.read(base64.b64decode(text, validate=True), max_pixels=height * width).pixels
        on = pixels.any(axis=2) if pixels.ndim == 3 else pixels > 0
        if on.shape != (y1 - y0 + 1, x1 - x0 + 1):
            raise CodecError(f"it is {on.shape[1]} x {on.shape[0]} pixels, its box is {x1 - x0 + 1} x {y1 - y0 + 1}")
        return _placed(on, (x0, y0, on.shape[1], on.shape[0]), height, width)
    except (CodecError, binascii.Error, ValueError) as error:
        raise FormatError(f"{where}: mask: {error}") from error


def _placed(on: NDArray[np.bool_], box: Box, height: int, width: int) -> RunList:
    """Return the mask of the pixels of a box."""
    runs = RunList.from_masks([on], height=on.shape[0], width=on.shape[1])
    return cvat_rle.decode([runs.counts], [box], height, width)


def to_stored(masks: RunList) -> list[tuple[str, list[list[float]]]]:
    """Return the base64 PNG and the points of every mask; none may be empty."""
    found = []
    for counts, (x, y, w, h) in cvat_rle.encode(masks):
        own = RunList(h, w, counts, np.array([0, counts.size]))
        data = base64.b64encode(png.write_masks(own)[0]).decode("ascii")
        found.append((data, [[float(x), float(y)], [float(x + w - 1), float(y + h - 1)]]))
    return found
