"""CVAT's run lengths of masks: along the rows of a box round the mask, zeros first.

.##.      box x 1, y 0, 3 x 2
...#      0, 2, 3, 1
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import CodecError
from ..masks import RunList

Box = tuple[int, int, int, int]


def encode(masks: RunList) -> list[tuple[NDArray[np.int64], Box]]:
    """Return run lengths and box (x, y, width, height) of every mask, the box as tight as can be.

    An empty mask has one pixel that is off, as CVAT's own encoder has it.
    """
    if masks.order != "C":
        raise CodecError("runs must go along the rows")
    found = []
    for k, (x, y, width, height) in enumerate(masks.boxes().tolist()):
        if not width:
            found.append((np.array([1]), (0, 0, 1, 1)))
            continue
        row = masks.row(k)
        ends = row.cumsum()
        starts, ends = (ends - row)[1::2], ends[1::2]
        first, last = starts // masks.width, (ends - 1) // masks.width
        line, low, high = _by_line(starts, ends, first, last, masks.width)
        base = (line - y) * width - x
        zeros = np.zeros(line.size, np.int64)
        own = RunList.from_intervals(base + low, base + high, zeros, count=1, height=height, width=width)
        found.append((own.counts, (x, y, width, height)))
    return found


def decode(counts: Sequence[NDArray[np.int64]], boxes: Sequence[Box], height: int, width: int) -> RunList:
    """Return the masks of run lengths and boxes.

    Args:
        counts: int64 (n,) each, zeros first, as many pixels as the box has.
        boxes: x, y, width, height in pixels, within the image.
        height: of the image.
        width: of the image.

    Raises:
        CodecError: a box that reaches out of the image, or runs that do not fill it; names the mask by its place.
    """
    parts = []
    for k, (runs, (x, y, w, h)) in enumerate(zip(counts, boxes, strict=True)):
        if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
            raise CodecError(f"mask {k}: the box {x}, {y}, {w} x {h} reaches out of the {width} x {height} image")
        if runs.ndim != 1 or (runs < 0).any() or (runs > w * h).any() or int(runs.sum()) != w * h:
            raise CodecError(f"mask {k}: its runs cover {int(runs.sum())} pixels, its box has {w} x {h}")
        ends = runs.cumsum()
        starts, ends = (ends - runs)[1::2], ends[1::2]
        kept = ends > starts
        starts, ends = starts[kept], ends[kept]
        line, low, high = _by_line(starts, ends, starts // w, (ends - 1) // w, w)
        base = (line + y) * width + x
        parts.append((base + low, base + high, np.full(line.size, k)))
    if not parts:
        return RunList.empty(height, width)
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return RunList.from_intervals(*columns, count=len(parts), height=height, width=width)


def _by_line(
    starts: NDArray[np.int64], ends: NDArray[np.int64], first: NDArray[np.int64], last: NDArray[np.int64], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return runs that may reach over several lines as (line, first column, column after the last), a line each."""
    lines = last - first + 1
    run = np.arange(starts.size).repeat(lines)
    line = np.arange(run.size) - (lines.cumsum() - lines)[run] + first[run]
    low = np.maximum(starts[run] - line * width, 0)
    high = np.minimum(ends[run] - line * width, width)
    return line, low, high
