"""Segmentation scores from counts that add up over images: IoU, pixel accuracy, boundary F."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of one set of images, or of many sets at once (the leading axes).

    Means are over the classes that occur in the truth, so that two models on the same images are averaged over the same
    classes, whatever they predict. A class that is predicted where there is none costs the classes that are there.

    Attributes:
        iou: float64 (..., K), intersection over union; nan for a class that the truth does not have.
        miou: float64 (...), its mean; nan where the truth has no class.
        pixel_accuracy: float64 (...), share of judged pixels that are right; nan where none is judged.
        boundary: float64 (..., K), boundary F; nan for a class that has no outline in the truth.
        boundary_f: float64 (...), its mean; nan where the truth has no outline.
    """

    iou: NDArray[np.float64]
    miou: NDArray[np.float64]
    pixel_accuracy: NDArray[np.float64]
    boundary: NDArray[np.float64]
    boundary_f: NDArray[np.float64]

    @classmethod
    def of(cls, terms: NDArray[Any]) -> Scores:
        """Return the scores of summed :func:`terms_of`: (..., 7, K)."""
        hits, truth, predicted, found, ours, matched, theirs = np.moveaxis(terms.astype(np.float64), -2, 0)
        iou = _ratio(hits, np.where(truth > 0, truth + predicted - hits, 0))
        precision, recall = np.nan_to_num(_ratio(found, ours)), np.nan_to_num(_ratio(matched, theirs))
        boundary = np.nan_to_num(_ratio(2 * precision * recall, precision + recall))
        boundary = np.where(theirs > 0, boundary, np.nan)
        return cls(iou, _mean(iou), _ratio(hits.sum(-1), truth.sum(-1)), boundary, _mean(boundary))


def terms_of(confusion: NDArray[Any], boundary: NDArray[Any]) -> NDArray[np.int64]:
    """Return what the scores are made of; it adds up over images.

    Args:
        confusion: integer (..., K, K+1) pixels, rows truth, columns prediction, the last column no class of the truth's.
        boundary: integer (..., K, 4), see :func:`.boundary.boundary_counts`.

    Returns:
        int64 (..., 7, K): pixels right, true, predicted, then the four boundary counts.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    areas = np.stack([hits, confusion.sum(-1), confusion.sum(-2)[..., :-1]], axis=-2)
    terms: NDArray[np.int64] = np.concatenate([areas, np.swapaxes(boundary, -1, -2)], axis=-2, dtype=np.int64)
    return terms


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return ratio


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis of what is not nan."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(-1), known.sum(-1))
