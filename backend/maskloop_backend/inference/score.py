"""One figure for an image: how sure the model is where it matters.

A mean over all pixels is diluted by large, easy areas. So an image is judged by its least sure tenth, among the pixels
of predicted foreground and those near its borders.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# Share of the pixels that stand for an image.
TOP_SHARE = 0.1
# Pixels around predicted foreground that are looked at, too: half a cell of the last feature map.
BAND = 16
# Pixels that OpenCV counts exactly, as it gives the counts in float32. NumPy would copy each pixel to 64 bits.
_EXACT = 1 << 24


def region_of_interest(label_map: NDArray[np.uint8], background: int | None) -> NDArray[np.bool_] | None:
    """Return the pixels of predicted foreground and those near it.

    Args:
        label_map: uint8 (H, W), predicted channels.
        background: channel that is no foreground, None where all are.

    Returns:
        bool (H, W); None where all pixels count: every class is foreground, or nothing is predicted but background.
    """
    if background is None:
        return None
    foreground = (label_map != background).view(np.uint8)
    if not foreground.any():
        return None
    side = 2 * BAND + 1
    return cv2.dilate(foreground, np.ones((side, side), np.uint8)).view(np.bool_)


def image_score(label_map: NDArray[np.uint8], confidence: NDArray[np.uint8], background: int | None = None) -> float:
    """Return an image's score: the mean confidence of its least sure tenth.

    It is what Label Studio shows, and what its "Uncertainty sampling" sorts by, lowest first.

    Args:
        label_map: uint8 (H, W), predicted channels.
        confidence: uint8 (H, W), probability of the predicted class times 255.
        background: channel that is no foreground, None where all are.

    Returns:
        0 (unsure) .. 1, never NaN.
    """
    interesting = region_of_interest(label_map, background)
    counts = np.zeros(256, np.int64)
    rows = max(1, _EXACT // confidence.shape[1])
    for first in range(0, len(confidence), rows):
        band = slice(first, first + rows)
        mask = None if interesting is None else interesting[band].view(np.uint8)
        counts += cv2.calcHist([confidence[band]], [0], mask, [256], [0, 256]).ravel().astype(np.int64)
    wanted = max(1, round(TOP_SHARE * int(counts.sum())))
    taken = np.diff(np.minimum(np.cumsum(counts), wanted), prepend=0)
    return float((taken * np.arange(256)).sum() / (255 * wanted))
