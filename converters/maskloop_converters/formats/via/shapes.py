"""VIA's shapes to masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...codecs.polygons import ellipse, filled
from ...errors import CodecError, FormatError
from ...masks import RunList
from ..coco.segmentation import counts_of, masks_of

#: Shapes that have an area.
AREAS = ("polygon", "rect", "circle", "ellipse")


def mask_of(shape: dict[str, Any], height: int, width: int, where: str) -> RunList:
    """Return the mask of a shape; FormatError says what is wrong with it."""
    kind = shape["name"]
    try:
        if kind == "polygon":
            counts, _ = counts_of([_outline(shape, where)], height, width, where)
            return masks_of([counts], height, width)
        if kind == "rect":
            x, y, wide, high = (_number(shape, key, where) for key in ("x", "y", "width", "height"))
            if wide < 0 or high < 0:
                raise FormatError(f"{where}: a rect of {wide:g} x {high:g} is none")
            corners = np.array([[x, y], [x + wide, y], [x + wide, y + high], [x, y + high]])
            return filled(corners, height, width)
        center = _number(shape, "cx", where), _number(shape, "cy", where)
        if kind == "circle":
            radius = _number(shape, "r", where)
            return ellipse(center, (radius, radius), height, width)
        radii = _number(shape, "rx", where), _number(shape, "ry", where)
        # Versions before 2.0.5 do not turn ellipses.
        angle = _number(shape, "theta", where) if "theta" in shape else 0.0
        return ellipse(center, radii, height, width, angle=angle)
    except CodecError as error:
        raise FormatError(f"{where}: {error}") from error


def _outline(shape: dict[str, Any], where: str) -> list[Any]:
    """Return x, y, x, y, ... of a polygon, whose coordinates are checked where it is drawn."""
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
        raise FormatError(
            f"{where}: a polygon has as many all_points_x as all_points_y, received {xs!r:.40}, {ys!r:.40}"
        )
    return [value for point in zip(xs, ys, strict=True) for value in point]


def _number(shape: dict[str, Any], key: str, where: str) -> float:
    value = shape.get(key)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(number := float(value)):
            return number
    except OverflowError:
        pass
    raise FormatError(f"{where}: {key} must be a number, received {value!r:.80}")
