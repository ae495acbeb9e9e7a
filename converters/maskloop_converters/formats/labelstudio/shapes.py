"""Polygons, rectangles and ellipses as Label Studio stores them, in percent of the image, to masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...codecs.polygons import ellipse, filled
from ...errors import CodecError
from ...masks import RunList


def polygon_percent(points: Any, height: int, width: int) -> RunList:
    """Return the mask of a PolygonLabels value: ``points`` are [x, y] in percent of the image."""
    try:
        corners = np.asarray(points, np.float64)
    except (TypeError, ValueError) as error:
        raise CodecError(f"the points of a polygon are pairs of numbers in percent: {error}") from error
    if corners.ndim != 2 or corners.shape[1] != 2:
        raise CodecError(f"the points of a polygon are pairs of numbers in percent, received {points!r:.80}")
    return filled(corners * (width / 100, height / 100), height, width)


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
    return filled(np.stack([corner, corner + across, corner + across + down, corner + down]), height, width)


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
    return ellipse((x, y), (along, across), height, width, angle=angle)
