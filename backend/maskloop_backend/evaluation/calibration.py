"""Calibration: whether a model that is 80 % sure is right in 80 % of the pixels.

Expected calibration error with 15 bins of equal width: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """The pixels of which the model was about equally sure.

    Attributes:
        low: lower end of their confidence, 0..1.
        high: upper end.
        pixels: how many.
        confidence: mean, 0..1; None without pixels.
        accuracy: share that is right, 0..1; None without pixels.
    """

    low: float
    high: float
    pixels: int
    confidence: float | None
    accuracy: float | None


def calibration_counts(confidence: NDArray[np.uint8], right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count pixels by the model's confidence.

    Args:
        confidence: uint8 (n,), probability of the predicted class times 255, of judged pixels.
        right: bool (n,), the predicted class is the true one.

    Returns:
        int64 (BINS, 3): pixels, right pixels, sum of the confidences (times 255). A bin holds its lower end; the last
        one holds 1 too.
    """
    counts = np.zeros((256, 2), np.int64)
    counts[:, 0] = np.bincount(confidence, minlength=256)
    counts[:, 1] = np.bincount(confidence[right], minlength=256)
    levels = np.arange(256)
    bins = np.minimum(levels * BINS // 255, BINS - 1)
    out = np.zeros((BINS, 3), np.int64)
    np.add.at(out, bins, np.column_stack([counts, counts[:, 0] * levels]))
    return out


def reliability(counts: NDArray[Any]) -> tuple[Bin, ...]:
    """Return the bins of summed :func:`calibration_counts`, from unsure to sure."""
    bins = []
    for k, (pixels, right, total) in enumerate(counts.tolist()):
        mean, share = (total / pixels / 255, right / pixels) if pixels else (None, None)
        bins.append(Bin(k / BINS, (k + 1) / BINS, pixels, mean, share))
    return tuple(bins)


def calibration_error(counts: NDArray[Any]) -> float | None:
    """Return the expected calibration error of summed :func:`calibration_counts`, 0..1; None without a pixel."""
    pixels, right, total = counts.astype(np.float64).T
    everything = float(pixels.sum())
    return float(np.abs(right - total / 255).sum() / everything) if everything else None
