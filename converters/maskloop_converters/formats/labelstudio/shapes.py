"""Polygons and rectangles to runs of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
