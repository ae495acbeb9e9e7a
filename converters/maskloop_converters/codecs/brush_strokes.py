"""Brush strokes of Label Studio's drafts (``touches``) drawn as its editor draws them, antialiased.

A draft that was never submitted holds no brush RLE but the strokes themselves: polylines with round caps and joins, in
percent of the image, that paint or erase. Opacity is computed from the distance of each pixel's centre to the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CodecError

_MOST_STROKE_PIXELS = 1 << 29  # a draft that asks for more drawing than this is no drawing by hand
_FARTHEST = 10_000  # percent; strokes may leave the image, not by this much
_BAND_PIXELS = 1 << 20  # computed at once, in several float64 arrays


def rasterise(
    touches: Sequence[Mapping[str, Any]], height: int, width: int, base: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return the opacity of strokes drawn one after another: uint8 (height, width), 0..255.

    Args:
        touches: as drafts hold them: ``type`` ('add' or 'eraser'), ``relativePoints`` (x, y, x, y, ... in percent of
            width and height) and ``relativeStrokeWidth`` (percent of the width).
        height: of the image in pixels, after EXIF rotation.
        width: of the image in pixels, after EXIF rotation.
        base: uint8 (height, width), the opacity that the strokes are drawn on; a region that was drawn before and
            changed in the draft has one. None: nothing.

    Raises:
        CodecError: names the stroke (its index) and what is wrong with it: a type that is neither, points or a width
            that are missing, not finite, or too many to have been drawn by hand.
    """
    if base is not None and (base.shape != (height, width) or base.dtype != np.uint8):
        raise CodecError(f"base opacity is uint8 ({height}, {width}), not {base.dtype} {base.shape}")
    canvas: NDArray[Any] = np.zeros((height, width), np.float32)
    if base is not None:
        canvas += base.astype(np.float32) / np.float32(255)
    work = 0
    for index, touch in enumerate(touches):
        points, radius, erases = _stroke(touch, index, height, width)
        covered = np.zeros_like(canvas)
        for a, b in zip(points, points[1:] if len(points) > 1 else points, strict=False):
            box = _box(a, b, radius, height, width)
            work += (box[1] - box[0]) * (box[3] - box[2])
            if work > _MOST_STROKE_PIXELS:
                raise CodecError(f"stroke {index}: {len(points)} points this wide are more than anyone draws")
            for band in _bands(*box):
                part = covered[band[0] : band[1], band[2] : band[3]]
                np.maximum(part, _coverage(a, b, radius, band), out=part)
        if erases:
            canvas *= 1 - covered
        else:
            canvas += covered * (1 - canvas)
    opacity: NDArray[np.uint8] = np.rint(canvas * 255).astype(np.uint8)
    return opacity


def _stroke(touch: Mapping[str, Any], index: int, height: int, width: int) -> tuple[NDArray[np.float64], float, bool]:
    """Return a stroke's points in pixels (n, 2), its radius in pixels and whether it erases."""
    kind = touch.get("type")
    if kind not in ("add", "eraser"):
        raise CodecError(f"stroke {index}: type is 'add' or 'eraser', not {kind!r}")
    try:
        flat = np.asarray(touch["relativePoints"], np.float64)
        thick = float(touch["relativeStrokeWidth"])
    except KeyError as error:
        raise CodecError(f"stroke {index}: has no {error.args[0]}; strokes of old drafts cannot be placed") from None
    except (TypeError, ValueError) as error:
        raise CodecError(f"stroke {index}: relativePoints and relativeStrokeWidth are numbers: {error}") from None
    if flat.ndim != 1 or flat.size < 2 or flat.size % 2 or not (np.abs(flat) <= _FARTHEST).all():
        raise CodecError(f"stroke {index}: relativePoints are pairs of x and y in percent, not {flat.tolist()!r:.100}")
    if not 0 < thick <= _FARTHEST:
        raise CodecError(f"stroke {index}: relativeStrokeWidth is a positive number of percent, not {thick}")
    return flat.reshape(-1, 2) * (width / 100, height / 100), thick * width / 200, kind == "eraser"


def _box(
    a: NDArray[np.float64], b: NDArray[np.float64], radius: float, height: int, width: int
) -> tuple[int, int, int, int]:
    """Return the rows and columns (top, bottom, left, right; half open) that a segment may touch."""
    low, high = np.minimum(a, b) - radius - 1, np.maximum(a, b) + radius + 1
    left, top = np.clip(np.floor(low), 0, (width, height)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high), 0, (width, height)).astype(int).tolist()
    return top, bottom, left, right


def _bands(top: int, bottom: int, left: int, right: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield a box in bands of rows, each of about ``_BAND_PIXELS`` at most."""
    step = max(1, _BAND_PIXELS // max(1, right - left))
    for y in range(top, bottom, step):
        yield y, min(y + step, bottom), left, right


def _coverage(
    a: NDArray[np.float64], b: NDArray[np.float64], radius: float, box: tuple[int, int, int, int]
) -> NDArray[np.float32]:
    """Return how much of each pixel of a box a segment with round ends covers, from its centre's distance: 0..1."""
    y = np.arange(box[0], box[1])[:, None] + 0.5 - a[1]
    x = np.arange(box[2], box[3])[None, :] + 0.5 - a[0]
    dx, dy = (b - a).tolist()
    square = dx * dx + dy * dy
    if square > 0:
        along = np.clip((x * dx + y * dy) / square, 0, 1)
        x, y = x - along * dx, y - along * dy
    covered: NDArray[np.float32] = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return covered
