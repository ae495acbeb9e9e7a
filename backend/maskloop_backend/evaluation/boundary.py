"""Boundary F: how well the outlines of the classes agree, where IoU looks at their areas.

Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013: an outline's
pixel is found if the other outline passes within 0.75 % of the image's diagonal; F is the harmonic mean of the shares
found. Theirs is a mean over images; ours pools the pixels of all images, as IoU does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from ..training.metrics import VOID

# Share of the diagonal, from the paper.
TOLERANCE = 0.0075

# What boundary_counts counts, along its last axis.
COUNTS = ("predicted, near a true one", "predicted", "true, near a predicted one", "true")


def tolerance_of(height: int, width: int) -> int:
    """Return the distance in whole pixels within which an outline counts as found: 0.75 % of the diagonal, at least 1."""
    return max(1, round(TOLERANCE * math.hypot(height, width)))


def outline(mask: NDArray[np.bool_], judged: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask that share a side with a judged pixel outside it.

    The picture's border and void areas are no outside: nobody knows what goes on there.

    Args:
        mask: bool (H, W).
        judged: bool (H, W), False where the truth is void.

    Returns:
        bool (H, W).
    """
    outside = judged & ~mask
    beside = np.zeros_like(mask)
    beside[1:] |= outside[:-1]
    beside[:-1] |= outside[1:]
    beside[:, 1:] |= outside[:, :-1]
    beside[:, :-1] |= outside[:, 1:]
    found: NDArray[np.bool_] = mask & judged & beside
    return found


def boundary_counts(
    truth: NDArray[Any], predicted: NDArray[Any], classes: int, *, tolerance: int | None = None
) -> NDArray[np.int64]:
    """Count the outline pixels of each class, and those that have the other outline near.

    Args:
        truth: integer (H, W), 0..classes-1 or :data:`VOID`.
        predicted: integer (H, W); values from ``classes`` on are no class. What stands at void pixels does not matter.
        classes: K.
        tolerance: in pixels; by default :func:`tolerance_of` the image.

    Returns:
        int64 (K, 4) pixels, in the order of :data:`COUNTS`.
    """
    reach = tolerance_of(*truth.shape) if tolerance is None else tolerance
    judged = truth != VOID
    counts = np.zeros((classes, len(COUNTS)), np.int64)
    for k in np.union1d(np.unique(truth[judged]), np.unique(predicted[judged])).tolist():
        if k < classes:
            ours, theirs = outline(predicted == k, judged), outline(truth == k, judged)
            counts[k] = _near(ours, theirs, reach), ours.sum(), _near(theirs, ours, reach), theirs.sum()
    return counts


def _near(points: NDArray[np.bool_], others: NDArray[np.bool_], reach: int) -> int:
    """Return how many points have another within reach. Outlines are thin: a tree of them is small."""
    if not points.any() or not others.any():
        return 0
    # squares of distances are whole numbers: the bound lies between reach and what comes next
    bound = math.sqrt(reach**2 + 0.5)
    distance, _ = KDTree(np.argwhere(others)).query(np.argwhere(points), distance_upper_bound=bound)
    return int(np.isfinite(distance).sum())
