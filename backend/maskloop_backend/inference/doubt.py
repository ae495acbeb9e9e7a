"""Where a model is unsure, nothing is claimed: the pixels whose confidence lies below a threshold."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.errors import DataError

from .prediction import Prediction


def check_threshold(below: float) -> float:
    """Return a threshold of confidence after checking it.

    Raises:
        DataError: it is no number from 0 up to, but not including, 1.
    """
    if not (math.isfinite(below) and 0 <= below < 1):
        raise DataError(
            f"--confidence-below is a probability from 0 to less than 1 (0 claims every pixel), got {below!r}"
        )
    return below


def doubtful(prediction: Prediction, below: float) -> NDArray[np.bool_] | None:
    """Return the pixels that are left unlabelled.

    Args:
        prediction: of one image.
        below: a probability; pixels of less confidence are left out. Confidences are kept in steps of 1/255, so that 0.5
            is met by those from 128/255 on.

    Returns:
        bool (H, W); None where none is left out.
    """
    if below <= 0:
        return None
    unsure = prediction.confidence < math.ceil(below * 255)
    return unsure if unsure.any() else None


def share(unsure: NDArray[np.bool_] | None) -> float:
    """Return the share of an image's pixels that are left unlabelled, 0..1, to four digits."""
    return 0.0 if unsure is None else round(float(unsure.mean()), 4)
