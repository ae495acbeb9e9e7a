"""Polygons and rectangles to runs of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...codecs.png import MAX_PIXELS
from ...errors import CodecError
from ...masks import RunList

_FARTHEST = 1e7  # pixels; beyond, a coordinate is a mistake
_MOST_CROSSINGS = 1 << 24


def polygon(corners: NDArray[np.float64], height: int, width: int) -> RunList:
    """Return one mask: the pixels whose centre lies inside a polygon, whatever way it turns (non-zero winding).

    A browser's canvas fills the same pixels by more than half.

    Args:
        corners: float64 (N, 2), x and y in pixels, N >= 3; the last corner is joined to the first. Parts outside the
            image are cut off.
        height: of the mask.
        width: of the mask.

    Raises:
        CodecError: fewer than three corners, a coordinate that is not finite or absurdly far outside.
    """
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise CodecError(f"a polygon has three corners or more, x and y each; this one is {corners.shape}")
    if not np.isfinite(corners).all() or np.abs(corners).max() > _FARTHEST:
        raise CodecError("a corner of the polygon is not finite, or absurdly far outside the image")
    x0, y0 = corners[:, 0], corners[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    low, high = np.minimum(y0, y1), np.maximum(y0, y1)
    # An edge crosses the middle of the rows first..last - 1.
    first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(high - 0.5), 0, height).astype(np.int64)
    rows = last - first
    if int(rows.sum()) > _MOST_CROSSINGS:
        raise CodecError(f"a polygon whose {len(corners)} edges cross {int(rows.sum())} rows is no outline")
    edge = np.arange(len(corners)).repeat(rows)
    y = np.arange(edge.size) - (rows.cumsum() - rows)[edge] + first[edge]
    x = x0[edge] + (y + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    turn = np.where((y1 > y0)[edge], 1, -1)
    order = (y * (width + 1) + column).argsort(kind="stable")
    depth = turn[order].cumsum()
    position = (y * width + column)[order]
    inside = depth != 0
    opens = inside & ~np.concatenate(([False], inside[:-1]))
    closes = ~inside & np.concatenate(([False], inside[:-1]))
    starts, ends = position[opens], position[closes]
    return RunList.from_intervals(starts, ends, np.zeros(starts.size, np.int64), count=1, height=height, width=width)


def polygon_percent(points: Any, height: int, width: int) -> RunList:
    """Return the mask of a PolygonLabels value: ``points`` are [x, y] in percent of the image."""
    try:
        corners = np.asarray(points, np.float64)
    except (TypeError, ValueError) as error:
        raise CodecError(f"the points of a polygon are pairs of numbers in percent: {error}") from error
    if corners.ndim != 2 or corners.shape[1] != 2:
        raise CodecError(f"the points of a polygon are pairs of numbers in percent, received {points!r:.80}")
    return polygon(corners * (width / 100, height / 100), height, width)


def rectangle_percent(value: Any, height: int, width: int) -> RunList:
    """Return the mask of a RectangleLabels value: x, y, width, height in percent, turned about its first corner.

    ``rotation`` is in degrees, clockwise.
    """
    try:
        x, y, w, h = (float(value[key]) for key in ("x", "y", "width", "height"))
        angle = np.deg2rad(float(value.get("rotation") or 0))
    except (KeyError, TypeError, ValueError) as error:
        raise CodecError(f"a rectangle has x, y, width and height in percent: {error!r}") from error
    across = np.array([np.cos(angle), np.sin(angle)]) * (w * width / 100)
    down = np.array([-np.sin(angle), np.cos(angle)]) * (h * height / 100)
    corner = np.array([x * width / 100, y * height / 100])
    return polygon(np.stack([corner, corner + across, corner + across + down, corner + down]), height, width)


def majority(parts: list[RunList]) -> RunList:
    """Return one mask: the pixels that more than half of the given masks (one each) cover."""
    joined = RunList.concatenate(parts)
    starts, ends, _ = joined.intervals()
    where = np.concatenate((starts, ends))
    order = where.argsort(kind="stable")
    votes = np.where(order < starts.size, 1, -1).cumsum()
    where = where[order]
    enough = np.flatnonzero(votes[:-1] * 2 > len(parts))
    rows = np.zeros(enough.size, np.int64)
    return RunList.from_intervals(
        where[enough], where[enough + 1], rows, count=1, height=joined.height, width=joined.width
    )


def strokes(touches: Any, height: int, width: int, start: NDArray[np.bool_] | None = None) -> RunList:
    """Return the mask of brush strokes, which is how drafts keep a region that was not submitted yet.

    Args:
        touches: Label Studio's list of strokes, ``type`` 'add' or 'eraser', ``relativePoints`` [x, y, x, y, ...] in
            percent of the image and ``relativeStrokeWidth`` in percent of its width; ends and joints are round.
        height: of the mask.
        width: of the mask.
        start: bool (height, width), what the strokes go over; nothing by default.
    """
    if height * width > MAX_PIXELS:
        raise CodecError(f"strokes on an image of {width} x {height} pixels; at most {MAX_PIXELS} pixels are drawn")
    mask = np.zeros((height, width), bool) if start is None else start.copy()
    if not isinstance(touches, list):
        raise CodecError(f"touches are a list of strokes, received {touches!r:.80}")
    for touch in touches:
        try:
            points = np.asarray(touch["relativePoints"], np.float64).reshape(-1, 2) * (width / 100, height / 100)
            radius = float(touch["relativeStrokeWidth"]) * width / 200
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError(f"a stroke has relativePoints and relativeStrokeWidth in percent: {error!r}") from error
        if not len(points) or not np.isfinite(points).all() or not 0 <= radius <= _FARTHEST:
            raise CodecError("a stroke has no points, or one that is not finite")
        for a, b in zip(points, points[1:] if len(points) > 1 else points, strict=False):
            _capsule(mask, a, b, radius, touch.get("type") != "eraser")
    return RunList.from_masks([mask], height=height, width=width)


def _capsule(
    mask: NDArray[np.bool_], a: NDArray[np.float64], b: NDArray[np.float64], radius: float, value: bool
) -> None:
    """Set the pixels whose centre is within ``radius`` of the segment from a to b, each (x, y)."""
    height, width = mask.shape
    low = np.clip(np.floor(np.minimum(a, b) - radius), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(np.maximum(a, b) + radius), 0, (width, height)).astype(int)
    x = np.arange(low[0], high[0]) + 0.5 - a[0]
    y = (np.arange(low[1], high[1]) + 0.5 - a[1])[:, None]
    along = b - a
    length = float(along @ along)
    t = np.clip((x * along[0] + y * along[1]) / length, 0, 1) if length else 0.0
    near = (x - t * along[0]) ** 2 + (y - t * along[1]) ** 2 <= radius * radius
    mask[low[1] : high[1], low[0] : high[0]][near] = value
