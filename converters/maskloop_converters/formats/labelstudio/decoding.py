"""The values of results decoded: brushes, bitmasks, drafts and outlines to masks."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...codecs import brush_strokes, png, studio_rle
from ...errors import CodecError, DataError, FormatError
from ...masks import RunList
from ...samples import SoftEdge
from .results import Geometry, Shape
from .shapes import ellipse_percent, polygon_percent, rectangle_percent

_HALF = 127
# A tenth: what is fainter is not seen in the editor, and nobody can have meant it.
_VISIBLE = 26
# What is left of a stroke where the eraser went past is a line; a region is wider than so many pixels somewhere.
_LINE = 2


@dataclass(slots=True)
class Decoded:
    """The masks of K regions.

    Attributes:
        masks: K masks, empty where one is wrong.
        faults: what is wrong, by row.
        faint: rows drawn with one opacity of at most a half throughout, which are masks all the same.
        lost: rows that have opacity somewhere, and nowhere enough to be a mask.
    """

    masks: RunList
    faults: dict[int, DataError] = field(default_factory=dict)
    faint: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)


def decode(found: Sequence[Shape], height: int, width: int) -> Decoded:
    """Return the masks of regions; all brushes are decoded together.

    Args:
        found: K regions.
        height: of their image, upright.
        width: likewise.
    """
    values = [shape.item["value"] for shape in found]
    if all(map(_is_stream, values)):
        try:
            masks = studio_rle.decode([value["rle"] for value in values], height, width)
        except CodecError:
            pass  # one of them is wrong: read one by one below, to know which
        else:
            if masks.areas().all():
                return Decoded(masks)
    decoded = Decoded(RunList.empty(height, width))
    rows: list[RunList] = []
    for row, (shape, value) in enumerate(zip(found, values, strict=True)):
        try:
            rows.append(_mask(value, shape.geometry, height, width, row, decoded))
        except DataError as error:
            decoded.faults[row] = error
            rows.append(RunList.from_rows([np.array([height * width])], height=height, width=width))
    if rows:
        decoded.masks = RunList.concatenate(rows)
    return decoded


def soft_edge(value: dict[str, Any], height: int, width: int) -> SoftEdge | None:
    """Return the pixels of a brush or bitmask that are neither off nor fully on, None where there are none."""
    alpha = _opacity(value, height, width)
    if alpha is None or _faint(alpha) is not None:
        return None
    flat = alpha.ravel()
    positions = np.flatnonzero((flat > 0) & (flat < 255))
    return SoftEdge(positions, flat[positions]) if positions.size else None


def image_of_data_url(url: Any, where: str) -> bytes:
    """Return the encoded image of a data URL."""
    head, _, body = url.partition(",") if isinstance(url, str) else ("", "", "")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise FormatError(f"{where}: expected 'data:image/...;base64,...', received {url!r:.60}")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"{where}: the data URL is no base64: {error}") from error


def _is_stream(value: Mapping[str, Any]) -> bool:
    return "rle" in value and "touches" not in value and "imageDataURL" not in value


def _mask(value: dict[str, Any], geometry: Geometry, height: int, width: int, row: int, decoded: Decoded) -> RunList:
    """Return the mask of one result's value; that it is faint, or lost, is noted for its row."""
    if geometry == "polygon":
        return polygon_percent(value.get("points"), height, width)
    if geometry == "rectangle":
        return rectangle_percent(value, height, width)
    if geometry == "ellipse":
        return ellipse_percent(value, height, width)
    if _is_stream(value):
        mask = studio_rle.decode([value["rle"]], height, width)
        if mask.areas()[0]:
            return mask
    alpha = _opacity(value, height, width)
    pixels = alpha > _HALF
    faint = _faint(alpha)
    if faint is not None:
        pixels = faint
        decoded.faint.append(row)
    elif alpha.any() and not pixels.any():
        decoded.lost.append(row)
    return RunList.from_masks([pixels], height=height, width=width)


def _faint(alpha: NDArray[np.uint8] | None) -> NDArray[np.bool_] | None:
    """Return the pixels of a mask that was drawn with one opacity of at most a half, None where it was not.

    The SDK draws contours with opacity 100 throughout, and the editor shows them. What its eraser leaves at an edge is
    faint too, but a line or of many opacities: no mask. Nor are masks of 0 and 1 that somebody took for 0 and 255, which
    the editor does not show.

    Args:
        alpha: uint8 (H, W).
    """
    if alpha is None:
        return None
    strongest = int(alpha.max())
    if not _VISIBLE <= strongest <= _HALF:
        return None
    on = alpha == strongest
    if int(np.count_nonzero(alpha)) != int(on.sum()):
        return None
    inside = on
    for axis in (0, 1):
        if inside.shape[axis] <= _LINE:
            return None
        parts = [np.take(inside, range(k, inside.shape[axis] - _LINE + k), axis) for k in range(_LINE + 1)]
        inside = np.logical_and.reduce(parts)
    return on if inside.any() else None


def _opacity(value: dict[str, Any], height: int, width: int) -> Any:
    """Return the opacity of a brush, bitmask or draft: uint8 (height, width); None for outlines."""
    if "imageDataURL" in value:
        return _png_alpha(value["imageDataURL"], height, width)
    below = studio_rle.decode_alpha(value["rle"], height, width) if value.get("rle") or _is_stream(value) else None
    if "touches" not in value:
        return below
    touches = value["touches"]
    if (
        height * width > png.MAX_PIXELS
        or not isinstance(touches, list)
        or not all(isinstance(t, dict) for t in touches)
    ):
        raise CodecError(f"touches are a list of strokes on at most {png.MAX_PIXELS} pixels, received {touches!r:.80}")
    return brush_strokes.rasterise(touches, height, width, below)


def _png_alpha(url: Any, height: int, width: int) -> NDArray[np.uint8]:
    """Return the opacity of a BitmaskLabels value: uint8 (height, width)."""
    image = png.read(image_of_data_url(url, "imageDataURL"), max_pixels=height * width)
    if image.pixels.shape[:2] != (height, width):
        raise CodecError(
            f"the bitmask is {image.pixels.shape[1]} x {image.pixels.shape[0]}, expected {width} x {height}"
        )
    if image.kind in ("rgba", "grey-alpha") or image.palette_alpha is not None:
        return image.alpha()
    raise CodecError(f"the bitmask is a {image.kind} PNG without opacity; its opacity is the mask")
