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
        _, line, low, high = _by_line(starts, ends, masks.width)
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
    for k, (runs, box) in enumerate(zip(counts, boxes, strict=True)):
        if (reason := fault(runs, box, height, width)) is not None:
            raise CodecError(f"mask {k}: {reason}")
    return decode_checked(counts, boxes, height, width)


def decode_checked(counts: Sequence[NDArray[np.int64]], boxes: Sequence[Box], height: int, width: int) -> RunList:
    """Do :func:`decode` for run lengths and boxes in which :func:`fault` found nothing."""
    if not boxes:
        return RunList.empty(height, width)
    sizes = np.array([runs.size for runs in counts])
    owner = np.arange(sizes.size).repeat(sizes)
    flat = np.concatenate(counts)
    ends = flat.cumsum()
    ends -= np.concatenate(([0], ends[sizes.cumsum() - 1][:-1]))[owner]
    # every other run of a mask is of ones; runs of nothing may be anywhere
    place = np.arange(flat.size) - (sizes.cumsum() - sizes)[owner]
    ones = (place & 1 == 1) & (flat > 0)
    owner, ends = owner[ones], ends[ones]
    starts = ends - flat[ones]
    x, y, w, _ = np.array(boxes, np.int64)[owner].T
    run, line, low, high = _by_line(starts, ends, w)
    base = (line + y[run]) * width + x[run]
    return RunList.from_intervals(base + low, base + high, owner[run], count=len(boxes), height=height, width=width)


def fault(runs: NDArray[np.int64], box: Box, height: int, width: int) -> str | None:
    """Return what is wrong with a mask's run lengths and box, None where nothing is."""
    x, y, w, h = box
    if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
        return f"the box {x}, {y}, {w} x {h} reaches out of the {width} x {height} image"
    # bounded one by one first: a sum of numbers without bounds may come out right by overflow
    if runs.ndim != 1 or not runs.size or runs.min() < 0 or runs.max() > w * h or int(runs.sum()) != w * h:
        return f"its runs cover {int(runs.sum())} pixels, its box has {w} x {h}"
    return None


def _by_line(
    starts: NDArray[np.int64], ends: NDArray[np.int64], width: NDArray[np.int64] | int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return runs that may reach over several lines as (run, line, first column, column after the last), a line each."""
    first, last = starts // width, (ends - 1) // width
    lines = last - first + 1
    run = np.arange(starts.size).repeat(lines)
    line = np.arange(run.size) - (lines.cumsum() - lines)[run] + first[run]
    wide = width if isinstance(width, int) else width[run]
    low = np.maximum(starts[run] - line * wide, 0)
    high = np.minimum(ends[run] - line * wide, wide)
    return run, line, low, high
