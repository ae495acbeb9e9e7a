"""CVAT's shapes to masks: run lengths, polygons, boxes, ellipses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ...codecs import cvat_rle
from ...codecs.polygons import ellipse, filled
from ...errors import CodecError, FormatError
from ...masks import RunList
from ..coco.segmentation import Counts, masks_of, polygon_counts

#: Shapes that have an area.
AREAS = ("mask", "polygon", "box", "ellipse")
#: Shapes that have none, as masks go.
OTHERS = ("polyline", "points", "cuboid", "skeleton", "tag")
_LONGEST = 1 << 24


@dataclass(frozen=True, slots=True)
class Stored:
    """A shape that is a mask already: decoding all of an image at once takes a tenth of the time.

    Attributes:
        runs: int64 (n,).
        box: x, y, width, height.
    """

    runs: NDArray[np.int64]
    box: cvat_rle.Box

    @classmethod
    def of(cls, shape: Element, height: int, width: int, where: str) -> Stored:
        """Return what a ``<mask>`` says; FormatError says what is wrong with it."""
        left, top, wide, high = (_whole(shape, key, where) for key in ("left", "top", "width", "height"))
        found = cls(_runs(shape.get("rle"), where), (left, top, wide, high))
        if (reason := cvat_rle.fault(found.runs, found.box, height, width)) is not None:
            raise FormatError(f"{where}: {reason}")
        return found


def decoded(shapes: Sequence[Stored | bytes | RunList], height: int, width: int) -> RunList:
    """Return the masks of shapes, in their order; bytes are COCO counts."""
    kinds = [0 if isinstance(shape, Stored) else 1 if isinstance(shape, bytes) else 2 for shape in shapes]
    stored = [shape for shape in shapes if isinstance(shape, Stored)]
    counts: list[Counts] = [shape for shape in shapes if isinstance(shape, bytes)]
    masks = [
        cvat_rle.decode_checked([shape.runs for shape in stored], [shape.box for shape in stored], height, width),
        masks_of(counts, height, width),
        *(shape for shape in shapes if isinstance(shape, RunList)),
    ]
    place = [0, len(stored), len(stored) + len(counts)]
    order = []
    for kind in kinds:
        order.append(place[kind])
        place[kind] += 1
    return RunList.concatenate(masks).select(order)


def mask_of(shape: Element, height: int, width: int, where: str) -> bytes | RunList:
    """Return the mask of a polygon (as COCO counts), box or ellipse; FormatError says what is wrong with it."""
    try:
        if shape.tag == "polygon":
            return polygon_counts(_points(shape.get("points"), where), height, width, where)
        angle = math.radians(_number(shape, "rotation", where, 0.0))
        if shape.tag == "ellipse":
            cx, cy, rx, ry = (_number(shape, key, where) for key in ("cx", "cy", "rx", "ry"))
            return ellipse((cx, cy), (rx, ry), height, width, angle=angle)
        x0, y0, x1, y1 = (_number(shape, key, where) for key in ("xtl", "ytl", "xbr", "ybr"))
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        if angle:
            middle = corners.mean(axis=0)
            turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
            corners = (corners - middle) @ turn + middle
        return filled(corners, height, width)
    except CodecError as error:
        raise FormatError(f"{where}: {error}") from error


def _runs(text: str | None, where: str) -> NDArray[np.int64]:
    try:
        runs = np.array([int(number) for number in (text or "").split(",")], np.int64)
    except (ValueError, OverflowError):
        raise FormatError(f"{where}: rle is a list of whole numbers, received {text!r:.80}") from None
    if runs.size > _LONGEST:
        raise FormatError(f"{where}: {runs.size} runs are more than a mask has")
    return runs


def _points(text: str | None, where: str) -> list[float]:
    """Return x, y, x, y, ..."""
    pairs = (text or "").split(";")
    points: list[float] = []
    try:
        if len(pairs) > 2 and all(pair.count(",") == 1 for pair in pairs):
            points = [float(number) for pair in pairs for number in pair.split(",")]
    except ValueError:
        points = []
    if not points:
        raise FormatError(f"{where}: a polygon is three points or more, x,y;x,y;..., received {text!r:.80}")
    return points


def _whole(shape: Element, key: str, where: str) -> int:
    text = shape.get(key, "")
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise FormatError(f"{where}: {key} must be a whole number from 0, received {text!r:.80}")
    return int(text)


def _number(shape: Element, key: str, where: str, default: float | None = None) -> float:
    text = shape.get(key)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f"{where}: {key} must be a number, received {text!r:.80}")
    return value
