"""Masks that come as the pixels of a box, to runs: all masks of an image in one go, and each in the time that its box takes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _runs
from ..errors import CodecError
from ..masks import RunList

# So many pixels are held at once.
_HELD = 1 << 22


class Boxes:
    """The masks of one image, added one by one.

    Args:
        height: of the image, in pixels.
        width: likewise.
    """

    def __init__(self, height: int, width: int) -> None:
        self._height, self._width = height, width
        self._count = self._held = 0
        self._waiting: list[tuple[int, int, int, NDArray[Any]]] = []
        self._found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []

    def __len__(self) -> int:
        """Return how many were added."""
        return self._count

    def add(self, pixels: NDArray[Any], x: int, y: int) -> None:
        """Add a mask.

        Args:
            pixels: (h, w) of bool or uint8, on where it is not 0; h or w may be 0.
            x: column of its first pixel in the image.
            y: row of it.

        Raises:
            CodecError: it reaches out of the image.
        """
        high, wide = pixels.shape
        if min(x, y) < 0 or x + wide > self._width or y + high > self._height:
            raise CodecError(
                f"the box {x}, {y}, {wide} x {high} reaches out of the {self._width} x {self._height} image"
            )
        if pixels.size:
            self._waiting.append((self._count, x, y, pixels))
            self._held += pixels.size
        self._count += 1
        if self._held > _HELD:
            self._scan()

    def masks(self, groups: Sequence[int] | None = None, count: int | None = None) -> RunList:
        """Return a mask each, or ``count`` masks: mask g covers all that were added k-th with ``groups[k] == g``."""
        self._scan()
        starts, ends, rows = (
            np.concatenate([part[k] for part in self._found]) if self._found else np.zeros(0, np.int64)
            for k in range(3)
        )
        if groups is not None:
            rows = np.asarray(groups, np.int64)[rows]
        return RunList.from_intervals(
            starts,
            ends,
            rows,
            count=self._count if count is None else count,
            height=self._height,
            width=self._width,
        )

    def _scan(self) -> None:
        """Find the runs of what waits: one scan over all boxes, a pixel that is off behind each of their lines."""
        if not self._waiting:
            return
        owner, x, y, size, wide = np.array(
            [(k, x, y, p.shape[0] * (p.shape[1] + 1), p.shape[1] + 1) for k, x, y, p in self._waiting]
        ).T
        stops = np.concatenate(([1], 1 + size.cumsum()))
        flat = np.zeros(int(stops[-1]), np.uint8)
        for (_, _, _, pixels), (start, stop) in zip(self._waiting, pairwise(stops.tolist()), strict=True):
            lines = flat[start:stop].reshape(pixels.shape[0], -1)[:, :-1]
            np.not_equal(pixels, 0, out=lines.view(bool))
        at = _runs.changes(flat, 1) + 1
        starts, ends = at[0::2], at[1::2]
        box = stops.searchsorted(starts, "right") - 1
        # Where a line of the box begins in the image, less where it begins in the buffer.
        begin = stops[:-1].take(box)
        line = (starts - begin) // wide.take(box)
        move = (line + y.take(box)) * self._width + x.take(box) - line * wide.take(box) - begin
        self._found.append((starts + move, ends + move, owner.take(box)))
        self._waiting.clear()
        self._held = 0
