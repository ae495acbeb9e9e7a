"""Masks to outlines that people can edit: few corners, a little beside the mask."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

#: Corners may leave the outline by this much, in pixels.
TOLERANCE = 0.75


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the outlines of a mask, one a connected part: float64 (N, 2) each, x and y in pixels, N >= 3.

    An outline has no holes: a hole is joined to it by a slit of no width. Corners are rounded by :data:`TOLERANCE`; what
    is lost is the price of editable corners.

    Args:
        mask: bool (H, W).
    """
    # Twice the size, so that an outline through pixel centres runs a quarter of a pixel inside the edge, not half.
    doubled: NDArray[np.uint8] = np.kron(mask.astype(np.uint8), np.ones((2, 2), np.uint8)).astype(np.uint8)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    out = []
    for index, contour in enumerate(contours):
        if hierarchy[0][index][3] >= 0:
            continue
        ring = _corners(contour)
        hole = hierarchy[0][index][2]
        while hole >= 0:
            ring = _with_hole(ring, _corners(contours[hole]))
            hole = hierarchy[0][hole][0]
        if len(ring) >= 3:
            out.append((ring + 0.5) / 2)
    return out


def _corners(contour: NDArray[Any]) -> NDArray[np.float64]:
    """Return a contour's corners (n, 2) as x, y, those left out that change little; at least 3 where there are 3."""
    simple = cv2.approxPolyDP(contour, 2 * TOLERANCE, True)
    chosen = simple if len(simple) >= 3 else contour
    if len(chosen) < 3:
        # one pixel wide: the box round it
        x, y, w, h = cv2.boundingRect(contour)
        return np.array([[x, y], [x + w - 1, y], [x + w - 1, y + h - 1], [x, y + h - 1]], np.float64)
    return np.asarray(chosen.reshape(-1, 2), np.float64)


def _with_hole(ring: NDArray[np.float64], hole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a ring that goes to the nearest corner of a hole, round it and back."""
    distance = ((ring[:, None] - hole[None]) ** 2).sum(-1)
    i, j = np.unravel_index(int(distance.argmin()), distance.shape)
    return np.concatenate((ring[: i + 1], hole[j:], hole[: j + 1], ring[i:]))
