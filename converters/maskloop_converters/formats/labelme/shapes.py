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
from ...codecs.boxed import Boxes
from ...errors import CodecError, FormatError
from ...masks import RunList

#: Shapes that have an area.
AREAS = ("polygon", "rectangle", "circle", "oriented_rectangle", "mask", None)
# Pillow looks at every edge for every row.
_MOST_STEPS = 1 << 28
_FARTHEST = 1e6
# Pillow draws a circle of this radius in milliseconds, and one of ten times that in half a minute.
_WIDEST = 1e5
_POINTS = {"rectangle": 2, "circle": 2, "oriented_rectangle": 4, "mask": 2}


def add_mask(masks: Boxes, shape: dict[str, Any], height: int, width: int, where: str) -> None:
    """Add the mask of a shape to those of an image; FormatError says what is wrong with it."""
    kind = shape.get("shape_type")
    if kind not in AREAS:
        raise FormatError(f"{where}: shape_type {kind!r:.80} is no area")
    points = _points(shape.get("points"), where)
    needed = _POINTS.get(kind or "")
    if needed is not None and len(points) != needed:
        raise FormatError(f"{where}: a {kind} has {needed} points, it has {len(points)}")
    if kind == "mask":
        _add_stored(masks, shape.get("mask"), points, height * width, where)
        return
    if kind == "circle":
        (cx, cy), reach = points[0], math.dist(points[0], points[1])
        if reach > _WIDEST:
            raise FormatError(f"{where}: a radius of {reach:g} pixels is larger than any image")
        ends = np.array([[cx - reach, cy - reach], [cx + reach, cy + reach]])
        _add_drawn(masks, ends, height, width, lambda draw, xy: draw.ellipse(xy, outline=1, fill=1))
        return
    if kind == "rectangle":
        ends = np.array([points.min(axis=0), points.max(axis=0)])
        _add_drawn(masks, ends, height, width, lambda draw, xy: draw.rectangle(xy, outline=1, fill=1))
        return
    if len(points) < 3:
        raise FormatError(f"{where}: a polygon has three points or more, it has {len(points)}")
    rows = min(height, math.ceil(points[:, 1].max() - points[:, 1].min()) + 1)
    if len(points) * rows > _MOST_STEPS:
        raise FormatError(f"{where}: a polygon of {len(points)} points over {rows} rows is no outline")
    _add_drawn(masks, np.trunc(points), height, width, lambda draw, xy: draw.polygon(xy, outline=1, fill=1))


def _points(value: Any, where: str) -> NDArray[np.float64]:
    try:
        points = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise FormatError(f"{where}: points are pairs of numbers [x, y], received {value!r:.80}")
    if (farthest := np.abs(points).max()) > _FARTHEST:
        raise FormatError(f"{where}: the coordinate {farthest:g} is far outside any image")
    return points


def _add_drawn(
    masks: Boxes,
    points: NDArray[np.float64],
    height: int,
    width: int,
    paint: Callable[[ImageDraw.ImageDraw, list[float]], object],
) -> None:
    """Add what is painted, on a canvas no larger than it has to be.

    It begins at the image's corner: Pillow rounds numbers below zero otherwise than those above.
    """
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    x, y = (min(max(math.floor(v), 0), side) for v, side in ((x0, width), (y0, height)))
    right, bottom = (min(max(math.ceil(v) + 2, 0), side) for v, side in ((x1, width), (y1, height)))
    if right <= x or bottom <= y:
        masks.add(np.zeros((0, 0), bool), 0, 0)
        return
    canvas = Image.new("L", (right, bottom))
    paint(ImageDraw.Draw(canvas), points.ravel().tolist())
    masks.add(np.asarray(canvas.crop((x, y, right, bottom))), x, y)


def _add_stored(masks: Boxes, text: Any, points: NDArray[np.float64], most: int, where: str) -> None:
    """Add a mask that stands in a file as PNG; its box's corners are its first and last pixel."""
    if not isinstance(text, str):
        raise FormatError(f"{where}: mask must be a PNG in base64, received {text!r:.80}")
    (x0, y0), (x1, y1) = points.astype(int).tolist()
    try:
        pixels = png.read(base64.b64decode(text, validate=True), max_pixels=most).pixels
        on = pixels.any(axis=2) if pixels.ndim == 3 else pixels
        if on.shape != (y1 - y0 + 1, x1 - x0 + 1):
            raise CodecError(f"it is {on.shape[1]} x {on.shape[0]} pixels, its box is {x1 - x0 + 1} x {y1 - y0 + 1}")
        masks.add(on, x0, y0)
    except (CodecError, binascii.Error, ValueError) as error:
        raise FormatError(f"{where}: mask: {error}") from error


def to_stored(masks: RunList) -> list[tuple[str, list[list[float]]]]:
    """Return the base64 PNG and the points of every mask; none may be empty."""
    found = []
    for counts, (x, y, w, h) in cvat_rle.encode(masks):
        own = RunList(h, w, counts, np.array([0, counts.size]))
        data = base64.b64encode(png.write_masks(own)[0]).decode("ascii")
        found.append((data, [[float(x), float(y)], [float(x + w - 1), float(y + h - 1)]]))
    return found
