"""Polygons, rectangles and ellipses to runs of pixels."""

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


def ellipse_percent(value: Any, height: int, width: int) -> RunList:
    """Return the mask of an EllipseLabels value: the pixels whose centre lies inside.

    x and y are the centre, radiusX and radiusY the half axes, in percent of width and height; ``rotation`` is in degrees,
    clockwise about the centre.

    Raises:
        CodecError: one of them is missing, not finite, or absurd.
    """
    try:
        x, y, radius_x, radius_y = (float(value[key]) for key in ("x", "y", "radiusX", "radiusY"))
        angle = np.deg2rad(float(value.get("rotation") or 0))
    except (KeyError, TypeError, ValueError) as error:
        raise CodecError(f"an ellipse has x, y, radiusX and radiusY in percent: {error!r}") from error
    x, y, along, across = x * width / 100, y * height / 100, radius_x * width / 100, radius_y * height / 100
    sizes = np.array([x, y, along, across, angle])
    if not np.isfinite(sizes).all() or np.abs(sizes).max() > _FARTHEST or along < 0 or across < 0:
        raise CodecError("a number of the ellipse is not finite, negative, or absurdly large")
    if along == 0 or across == 0:
        return RunList.from_rows([np.array([height * width])], height=height, width=width)
    # (u / along)^2 + (v / across)^2 <= 1, with u and v turned by the angle: a dx^2 + b dx dy + c dy^2 <= 1
    sine, cosine = np.sin(angle), np.cos(angle)
    a = (cosine / along) ** 2 + (sine / across) ** 2
    b = 2 * sine * cosine * (1 / along**2 - 1 / across**2)
    c = (sine / along) ** 2 + (cosine / across) ** 2
    row = np.arange(height)
    dy = row + 0.5 - y
    inner = (b * dy) ** 2 - 4 * a * (c * dy**2 - 1)
    row, dy, inner = row[inner >= 0], dy[inner >= 0], inner[inner >= 0]
    reach = np.sqrt(inner)
    first = np.clip(np.ceil(x + (-b * dy - reach) / (2 * a) - 0.5), 0, width).astype(np.int64)
    last = np.clip(np.floor(x + (-b * dy + reach) / (2 * a) - 0.5) + 1, 0, width).astype(np.int64)
    last = np.maximum(last, first)
    rows = np.zeros(row.size, np.int64)
    return RunList.from_intervals(row * width + first, row * width + last, rows, count=1, height=height, width=width)
